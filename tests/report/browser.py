"""A headless Chromium, spoken to over a pipe: the page at a width, what it logs, loads and measures, its picture."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DEADLINE_S = 60


def chromium():
    """Its program; ``None`` if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """Commands of the DevTools protocol and their events, as messages that end with a zero byte."""

    def __init__(self, read, write):
        self._read, self._write = read, write
        self._rest, self._number, self._session = b"", 0, None
        self.events = []

    def __call__(self, method, **params):
        """Send a command and give back its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self):
        until = time.monotonic() + DEADLINE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0, until - time.monotonic()))
            content = os.read(self._read, 1 << 20) if ready else b""
            assert content, "the browser said nothing more"
            self._rest += content
        whole, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(whole)
        if "method" in message:
            self.events.append((message["method"], message.get("params", {})))
        return message

    def open_page(self):
        """A page of its own, whose events are kept."""
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def show(self, path, width, height, *, dark=False, scale=1):
        """Load a file at a width, light or dark, and wait until it is there."""
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = "dark" if dark else "light"
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self("Page.navigate", url=Path(path).resolve().as_uri())
        while not any(name == "Page.loadEventFired" for name, _ in self.events):
            self._next()

    def value(self, expression):
        """What a script comes to."""
        found = self("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def complaints(self):
        """Errors and warnings that the page or the browser logged."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [params for name, params in self.events if name in kinds]

    def requests(self):
        """Addresses that were asked for."""
        return [params["request"]["url"] for name, params in self.events if name == "Network.requestWillBeSent"]

    def picture(self, path, *, height=None):
        """Write a PNG of the page, from its top to ``height`` (its end for ``None``)."""
        size = self("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        shot = self("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, path):
        """Print it."""
        printed = self("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        Path(path).write_bytes(base64.b64decode(printed["data"]))


@contextmanager
def browser(folder):
    """A browser with nothing but a page; ``folder`` takes what it writes."""
    its_input, our_output = os.pipe()
    our_input, its_output = os.pipe()
    options = (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
        "--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--hide-scrollbars",
        "--font-render-hinting=none", f"--user-data-dir={folder}",
    )  # fmt: skip
    there = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4)"
    command = f"{there}; os.execvp(sys.argv[3], sys.argv[3:])"
    with (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", command, str(its_input), str(its_output), chromium(), *options],
            pass_fds=(its_input, its_output),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        os.close(its_input)
        os.close(its_output)
        try:
            found = Browser(our_input, our_output)
            found.open_page()
            yield found
        finally:
            process.terminate()
            process.wait(DEADLINE_S)
            os.close(our_input)
            os.close(our_output)
