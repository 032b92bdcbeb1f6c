"""A headless Chromium that tests look at pages with: the DevTools protocol over a pair of pipes.

With ``--remote-debugging-pipe`` Chromium reads commands from file 3 and writes answers and events
to file 4, as JSON with a NUL after each. So no port is opened and no websocket is needed.

    PYTHONPATH=tests python -m history.chromium PAGE.html OUT.png [WIDTH HEIGHT [dark [SCRIPT]]]
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ANSWER_S = 60.0
PROGRAMS = ("chromium", "chromium-headless-shell")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """Return the path of a Chromium, if there is one."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Chromium:
    """One browser process."""

    def __init__(self, program: str, home: Path) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # Out of the way of 0 to 4, so that no redirection below closes what a later one needs.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (theirs_in, theirs_out)]
        null = os.open(os.devnull, os.O_RDWR)
        spare = fcntl.fcntl(null, fcntl.F_DUPFD, 10)
        targets = [*((spare, fd) for fd in range(3)), (theirs[0], 3), (theirs[1], 4)]
        self._pid = os.posix_spawn(
            program,
            [program, *OPTIONS, f"--user-data-dir={home}"],
            {**os.environ, "HOME": str(home)},
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in targets],
            setpgroup=0,
        )
        for fd in (theirs_in, theirs_out, *theirs, null, spare):
            os.close(fd)
        self._in, self._out = ours_in, ours_out
        self._left = b""
        self._last = 0
        self.events: list[dict[str, Any]] = []

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            self.call("Browser.close")
        ends = time.monotonic() + 5
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > ends:
                os.killpg(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                break
            time.sleep(0.02)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Give a command and return its answer; events that come before it are kept."""
        self._last += 1
        command: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if session is not None:
            command["sessionId"] = session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        ends = time.monotonic() + ANSWER_S
        while True:
            found = self._read(ends - time.monotonic())
            if found.get("id") == self._last:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']}")
                return found["result"]

    def wait(self, seconds: float) -> None:
        """Take in the events of some time."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                self._read(left)

    def _read(self, timeout: float) -> dict[str, Any]:
        ends = time.monotonic() + timeout
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._in], [], [], max(0.0, ends - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._in, 1 << 20)
            if not piece:
                raise RuntimeError("the browser has gone")
            self._left += piece
        line, _, self._left = self._left.partition(b"\0")
        found = json.loads(line)
        if "method" in found:
            self.events.append(found)
        return found

    def page(self, width: int = 1440, height: int = 1000) -> Page:
        """Open an empty page."""
        return Page(self, width, height)


class Page:
    """One page: what it logs, what it asks the network for, what it holds."""

    def __init__(self, browser: Chromium, width: int, height: int) -> None:
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._target = target
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Give this page a command."""
        return self.browser.call(method, self._session, **params)

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Make the window this large."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def scheme(self, name: str) -> None:
        """Prefer ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, path: Path, anchor: str = "") -> float:
        """Open a file and return how many seconds it took until it had drawn."""
        self.browser.events.clear()
        begun = time.monotonic()
        self.call("Page.navigate", url=path.resolve().as_uri() + anchor)
        ends = begun + ANSWER_S
        while not self.value("document.readyState === 'complete' && location.protocol === 'file:'"):
            assert time.monotonic() < ends
            self.browser.wait(0.02)
        self.frame()
        return time.monotonic() - begun

    def frame(self) -> None:
        """Wait until what was asked for is drawn."""
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def value(self, script: str) -> Any:
        """Return what an expression gives, as JSON."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def click(self, x: float, y: float) -> None:
        """Click somewhere with the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.frame()

    def drag(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """Press, move and let go."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        button = {"button": "left", "buttons": 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **button)
        for part in (0.3, 0.7, 1.0):
            self.call(
                "Input.dispatchMouseEvent",
                type="mouseMoved",
                x=x + (to_x - x) * part,
                y=y + (to_y - y) * part,
                **button,
            )
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=to_x, y=to_y, **button)
        self.frame()

    def wheel(
        self, x: float, y: float, *, by_x: float = 0, by_y: float = 0, ctrl: bool = False
    ) -> None:
        """Turn the wheel."""
        self.call(
            "Input.dispatchMouseEvent",
            type="mouseWheel",
            x=x,
            y=y,
            deltaX=by_x,
            deltaY=by_y,
            modifiers=2 if ctrl else 0,
        )
        self.frame()

    def press(self, key: str, code: str = "", text: str = "") -> None:
        """Press a key."""
        names = {"key": key, "code": code or key}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **names)
        self.call("Input.dispatchKeyEvent", type="keyUp", **names)
        self.frame()

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.call("Input.insertText", text=text)
        self.browser.wait(0.25)
        self.frame()

    def picture(self, *, whole: bool = False) -> bytes:
        """Return what is in sight, or all of the page, as PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])

    def mistakes(self) -> list[str]:
        """Return what the page has logged as an error or warning, and its uncaught exceptions."""
        found = []
        for event in self.browser.events:
            params = event["params"]
            match event["method"]:
                case "Runtime.exceptionThrown":
                    found.append(json.dumps(params["exceptionDetails"])[:500])
                case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                    found.append(json.dumps(params["args"])[:500])
                case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                    found.append(params["entry"]["text"])
        # Said of a test that reads pixels, not of the page.
        return [text for text in found if not text.startswith("Canvas2D: Multiple readback")]

    def requests(self) -> list[str]:
        """Return every address that was asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.browser.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        """Close the page."""
        self.browser.call("Target.closeTarget", targetId=self._target)


@contextlib.contextmanager
def run_chromium() -> Iterator[Chromium]:
    """Run a browser with a fresh profile."""
    program = find_chromium()
    assert program is not None, "scripts/chromium install"
    with tempfile.TemporaryDirectory(prefix="tclog-chromium-", ignore_cleanup_errors=True) as home:
        browser = Chromium(program, Path(home))
        try:
            yield browser
        finally:
            browser.close()


def main(words: list[str]) -> None:
    """Take a picture of a page."""
    page_file, out = Path(words[0]), Path(words[1])
    width, height = (int(word) for word in (words[2:4] or ["1440", "1000"]))
    with run_chromium() as browser:
        page = browser.page(width, height)
        page.scheme("dark" if "dark" in words[4:5] else "light")
        print(f"{page.open(page_file):.2f} s")
        for script in words[5:]:
            print(page.value(script))
            page.frame()
        out.write_bytes(page.picture())
        print(page.mistakes(), [url[:60] for url in page.requests()])


if __name__ == "__main__":
    main(sys.argv[1:])
