"""Makes a board fit to measure on: cool, not throttled, fed with enough voltage, its clock held if it may be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from profiler.errors import BoardError, SessionError
from profiler.hardware import SshDevice
from profiler.throttling import UNDER_VOLTAGE, advice, meanwhile, named
from profiler.transports import Channel, Transport

COOL_S = 600.0
"""The longest a board is waited for."""

_LOOK_S, _SAY_S = 5.0, 30.0
_GOVERNOR = Path(__file__).with_name("governor.py")
_ANSWER_S = 20.0

Facts = Mapping[str, Any]


class Readiness:
    """Waits, before a session is used, until its board is cool; remembers what it was at first."""

    def __init__(
        self,
        device: SshDevice,
        say: Callable[[str], None],
        cool_s: float = COOL_S,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._device, self._say, self._now, self._sleep = device, say, now, sleep
        self._cool_s = cool_s
        self._first_bits: int | None = None

    def wait(self, facts: Callable[[], Facts]) -> None:
        """Until it is not throttled and below ``start_below_celsius``; ``facts`` looks at it anew.

        Raises :class:`BoardError` for under-voltage (now, or newly since the first look), and if it is still throttled
        after :data:`COOL_S`. One that is only hot then is measured as it is, and not waited for again.
        """
        began = said = self._now()
        while why := self._not_ready(seen := facts()):
            waited_s = self._now() - began
            if waited_s >= self._cool_s:
                self._give_up(seen, why, waited_s)
                return
            if waited_s == 0 or self._now() - said >= _SAY_S:
                said = self._now()
                self._say(
                    f"{self._device.name}: {why}; letting it cool ({waited_s:.0f} of at most {self._cool_s:.0f} s)"
                )
            self._sleep(_LOOK_S)

    def _not_ready(self, facts: Facts) -> str | None:
        bits = facts.get("throttled_bits") or 0
        if self._first_bits is None:
            self._first_bits = bits
        if meanwhile([self._first_bits, bits]) & UNDER_VOLTAGE:
            raise BoardError(
                f"{self._device.name}: under-voltage (throttled={bits:#x}): {advice(UNDER_VOLTAGE)};"
                " then run the same command again, what was taken is kept"
            )
        if names := named(bits):
            return f"{', '.join(names)} (throttled={bits:#x})"
        hot = hottest(facts)
        limit = self._device.start_below_celsius
        return None if hot is None or hot < limit else f"it has {hot:.0f} °C, and starts below {limit:g} °C"

    def _give_up(self, facts: Facts, why: str, waited_s: float) -> None:
        bits = facts.get("throttled_bits") or 0
        if named(bits):
            raise BoardError(
                f"{self._device.name}: {why}, for {waited_s:.0f} s without any work: {advice(bits)};"
                " then run the same command again, what was taken is kept"
            )
        self._say(f"{self._device.name}: {why}, also after {waited_s:.0f} s; measuring as it is (start_below_celsius)")
        self._cool_s = 0.0


def hottest(facts: Facts) -> float | None:
    """The highest temperature a machine tells in degrees Celsius; None if it tells none."""
    zones = [value / 1000 for value in (facts.get("temperature_millidegrees") or {}).values() if value]
    return max((degrees for degrees in zones if 0 < degrees < 150), default=None)


def hold_governor(device: SshDevice, transport: Transport, folder: str) -> Channel:
    """Set the governor ``performance`` until the channel is closed, or this side is gone.

    Tried as the user who logs in, then by ``sudo -n``. Raises :class:`BoardError` if neither may.
    """
    command = [transport.python, transport.put(_GOVERNOR), folder]
    answer: dict[str, Any] = {}
    for argv in (command, ["sudo", "-n", *command]):
        channel = transport.start(argv)
        try:
            line = channel.read_line(_ANSWER_S)
            answer = {"error": channel.stderr_tail() or "it said nothing"} if line is None else json.loads(line)
        except (TimeoutError, ValueError) as exc:
            channel.close()
            raise SessionError(f"{device.name}: set_governor: {exc}") from exc
        if "error" not in answer:
            return channel
        channel.close()
        if not answer.get("permission"):
            break
    raise BoardError(
        f"{device.name}: cannot set the governor: {answer['error'].strip()}; let {device.user or 'the user'} use sudo"
        f" there without a password, or take set_governor out of {device.name} in devices.yaml"
    )
