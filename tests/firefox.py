"""Opens pages in headless Firefox, over WebDriver BiDi, with the methods of `browser.Browser`."""

import base64
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from browser import Browser

FIREFOX = shutil.which("firefox") or shutil.which("firefox-esr")
EVENTS = ["log.entryAdded", "network.beforeRequestSent"]
KEYS = {"ArrowLeft": "\ue012", "ArrowRight": "\ue014", "Enter": "\ue007", "Escape": "\ue00c"}
"""WebDriver's own characters for keys without one."""


class Firefox(Browser):
    """A page in a Firefox of its own; a context manager."""

    def __enter__(self) -> "Firefox":
        from websockets.sync.client import connect

        assert not self.dark, "Firefox takes the reader's colours from its preferences"
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        options = ["--headless", "--remote-debugging-port", "0", "--profile", self.profile.name]
        self.process = subprocess.Popen(
            [str(FIREFOX), *options, "about:blank"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            env=os.environ | {"MOZ_DISABLE_CONTENT_SANDBOX": "1", "HOME": self.profile.name},
        )
        assert self.process.stderr is not None
        said = (re.search(r"BiDi listening on (ws://\S+)", line) for line in self.process.stderr)
        address = next(found.group(1) for found in said if found)
        self.closing = contextlib.ExitStack()
        self.numbers = itertools.count(1)
        self.socket = self.closing.enter_context(connect(f"{address}/session", max_size=None))
        self.send("session.new", capabilities={})
        (page,) = self.send("browsingContext.getTree")["contexts"]
        self.context = page["context"]
        self.send("session.subscribe", events=EVENTS)
        width, height = self.size
        self.send(
            "browsingContext.setViewport",
            context=self.context,
            viewport={"width": width, "height": height},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.profile.cleanup()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and wait for its answer; events that come meanwhile are kept."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv(timeout=60))
            if answer.get("id") == number:
                if answer["type"] == "error":
                    raise RuntimeError(f"{method}: {answer['error']}: {answer['message']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, address: str) -> float:
        """Go to ``address``; return the seconds until the page says that it has painted."""
        self.send("browsingContext.navigate", context=self.context, url=address, wait="none")
        return self.wait("Number(document.documentElement?.dataset.painted ?? 0)") / 1000

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page, which JSON can hold."""
        done = self.send(
            "script.evaluate",
            expression=f"JSON.stringify({{ value: ({expression}) }})",
            target={"context": self.context},
            awaitPromise=False,
        )
        if done["type"] == "exception":
            raise RuntimeError(done["exceptionDetails"]["text"])
        return json.loads(done["result"]["value"]).get("value")

    def press(self, key: str) -> None:
        """Press and release a key (``ArrowRight``, ``Enter``, ``h``)."""
        moves = [{"type": kind, "value": KEYS.get(key, key)} for kind in ("keyDown", "keyUp")]
        self.send(
            "input.performActions",
            context=self.context,
            actions=[{"type": "key", "id": "keyboard", "actions": moves}],
        )

    def requests(self) -> set[str]:
        """Schemes of all addresses that were asked for (``file``, ``data``)."""
        asked = [e["params"] for e in self.events if e.get("method") == EVENTS[1]]
        return {params["request"]["url"].partition(":")[0] for params in asked}

    def failures(self) -> list[str]:
        """Errors that the page logged or didn't catch."""
        said = [e["params"] for e in self.events if e.get("method") == EVENTS[0]]
        return [entry["text"] for entry in said if entry["level"] == "error"]

    def screenshot(self, path: str | Path) -> None:
        """Save what the window shows as PNG."""
        taken = self.send("browsingContext.captureScreenshot", context=self.context)
        Path(path).write_bytes(base64.b64decode(taken["data"]))
