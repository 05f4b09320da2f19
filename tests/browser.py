"""Opens pages in headless Chromium, over its debugging pipe: what a person would see, and type."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


class Browser:
    """A page in a Chromium of its own; a context manager.

    Args:
        width, height: of the window, in CSS pixels.
        dark: whether the page is told that the reader prefers dark colours.
    """

    def __init__(self, width: int = 1440, height: int = 900, dark: bool = False) -> None:
        self.size, self.dark, self.last = (width, height), dark, 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Browser":
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        for end in (theirs_in, theirs_out):
            os.set_inheritable(end, True)
        options = [*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={self.profile.name}"]
        # Chromium reads commands from descriptor 3 and answers on 4.
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", str(CHROMIUM), *options, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.reader, self.writer = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self.session = None
        pages = self.send("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=self.size[0],
            height=self.size[1],
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.close()
        self.writer.close()
        self.profile.cleanup()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and wait for its answer; events that come meanwhile are kept."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.writer.write(json.dumps(message).encode() + b"\0")
        self.writer.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self.reader.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("Chromium has ended")
            text += byte
        return json.loads(text)

    def open(self, address: str) -> float:
        """Go to ``address``; return the seconds until the page says that it has painted."""
        self.send("Page.navigate", url=address)
        return self.wait("Number(document.documentElement?.dataset.painted ?? 0)") / 1000

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        done = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(done["exceptionDetails"])
        return done["result"].get("value")

    def wait(self, expression: str, seconds: float = 30.0) -> Any:
        """Wait until an expression is true; return its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(expression)
            if value:
                return value
            time.sleep(0.02)
        raise TimeoutError(f"never true: {expression}")

    def press(self, key: str) -> None:
        """Press and release a key (``ArrowRight``, ``Enter``, ``h``)."""
        codes = {"ArrowLeft": 37, "ArrowRight": 39, "Enter": 13, "Escape": 27}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes.get(key, ord(key[0].upper())),
                **({"text": "\r"} if key == "Enter" and kind == "keyDown" else {}),
            )

    def requests(self) -> set[str]:
        """Schemes of all addresses that were asked for (``file``, ``data``)."""
        asked = [e["params"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return {params["request"]["url"].partition(":")[0] for params in asked}

    def screenshot(self, path: str | Path) -> None:
        """Save what the window shows as PNG."""
        import base64

        self.run("document.fonts.ready.then(() => 0)")
        Path(path).write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))
