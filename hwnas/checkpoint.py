"""Training checkpoints: written whole or not at all, and refused if they belong to something else."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from hwnas.errors import CheckpointError

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training run after ``update`` updates.

    ``identity`` says what was trained on what and how; a run only goes on from a checkpoint whose
    identity is its own. ``losses`` has one training loss per update, nats per token.
    """

    identity: Mapping[str, str | int | float | bool]
    update: int
    model: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, Any]
    losses: tuple[float, ...]

    def save(self, path: Path) -> None:
        """Replace ``path`` in one step; if that fails, what was there before stays.

        Raises :class:`CheckpointError` (no space, no permission).
        """
        partial = path.with_name(path.name + ".partial")
        payload = {
            "schema": SCHEMA,
            "identity": dict(self.identity),
            "update": self.update,
            "model": dict(self.model),
            "optimizer": dict(self.optimizer),
            "losses": list(self.losses),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                torch.save(payload, stream)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        except (OSError, RuntimeError) as exc:
            reason = _os_reason(exc)
            raise CheckpointError(f"checkpoint {path} cannot be written: {reason}") from exc
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Raises :class:`CheckpointError` if there is none, or it is truncated or of another schema."""
        try:
            payload = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise CheckpointError(f"{path} does not exist; make it with `hwnas train`") from None
        except IsADirectoryError:
            raise CheckpointError(f"{path} is a folder, not a checkpoint; give a file") from None
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.PickleError, BadZipFile) as exc:
            raise CheckpointError(
                f"{path} is damaged or not a checkpoint; give another file, or remove this one to start anew"
            ) from exc
        if not isinstance(payload, dict) or payload.get("schema") != SCHEMA:
            found = payload.get("schema") if isinstance(payload, dict) else None
            raise CheckpointError(f"{path} has checkpoint schema {found!r}, not {SCHEMA}; remove it to start anew")
        try:
            return cls(
                payload["identity"], payload["update"], payload["model"], payload["optimizer"],
                tuple(payload["losses"]),
            )  # fmt: skip
        except (KeyError, TypeError) as exc:
            raise CheckpointError(f"{path} lacks {exc}; remove it to start anew") from exc

    def require(self, identity: Mapping[str, object], path: Path) -> None:
        """Raises :class:`CheckpointError`, naming what differs, unless every entry of ``identity`` agrees."""
        differing = [
            f"{name} is {self.identity.get(name)!r} there and {value!r} here"
            for name, value in identity.items()
            if self.identity.get(name) != value
        ]
        if differing:
            told = "; ".join(differing)
            raise CheckpointError(
                f"{path} belongs to another run: {told}; give another file, or remove this one to start anew"
            )


def _os_reason(exc: BaseException) -> str:
    """torch wraps the system's error; the system's own words are the ones to show."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or str(cause)
        cause = cause.__cause__ or cause.__context__
    return str(exc).splitlines()[0]
