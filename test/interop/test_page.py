#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quant-serve's page in a headless Chromium: a message is typed, the answer comes, a screenshot is written to look at.

    python test/interop/test_page.py --bin build/bin [--screenshot page.png]

Needs Debian's package chromium and the PyPI package websockets.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from websockets.sync.client import connect

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from test_serve import Running  # noqa: E402
from tiny import ROOT, Tiny  # noqa: E402


class Page:
    """A tab, driven by Chromium's DevTools protocol."""

    def __init__(self, address: str, folder: str) -> None:
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--remote-debugging-port=0",
                   "--window-size=900,700", address]  # fmt: skip
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        port_file = Path(folder) / "DevToolsActivePort"
        self.wait(lambda: port_file.exists() and "\n" in port_file.read_text(), "Chromium's port")
        port = port_file.read_text().split("\n")[0]
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        self.socket = connect(next(tab for tab in tabs if tab["type"] == "page")["webSocketDebuggerUrl"], max_size=None)
        self.number = 0

    @staticmethod
    def wait(ready, what: str) -> None:
        deadline = time.monotonic() + 60
        while not ready():
            assert time.monotonic() < deadline, f"{what} did not come"
            time.sleep(0.1)

    def call(self, method: str, **parameters: object) -> dict:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.number:
            pass
        return answer["result"]

    def evaluate(self, script: str) -> object:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def say(self, text: str) -> None:
        self.evaluate(f"document.getElementById('text').value = {json.dumps(text)}; document.getElementById('form').requestSubmit()")

    def end(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "bin")
    parser.add_argument("--screenshot", type=Path, default=Path("page.png"))
    arguments = parser.parse_args()
    server = Running(Tiny(arguments.bin), "--model-name", "tiny")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page = Page(f"http://127.0.0.1:{server.port}/", folder)
        page.wait(lambda: page.evaluate("document.getElementById('model').textContent") == "tiny", "the model's name")
        for number, text in enumerate(("The captain looked out upon the sea", "And <b>then</b>?"), 1):
            page.say(text)
            page.wait(lambda: "per second" in str(page.evaluate("document.getElementById('status').textContent")), "the answer's end")
            page.evaluate("document.getElementById('status').textContent = 'checked'") if number == 1 else None
            boxes = page.evaluate("[...document.querySelectorAll('.message')].map((box) => box.textContent)")
            assert len(boxes) == 2 * number and boxes[-2] == text and boxes[-1].strip(), boxes
        assert page.evaluate("document.querySelectorAll('.message b').length") == 0  # text stays text
        arguments.screenshot.write_bytes(base64.b64decode(page.call("Page.captureScreenshot")["data"]))
        page.evaluate("document.getElementById('reset').click()")
        assert page.evaluate("document.querySelectorAll('.message').length") == 0
        page.end()
    assert server.end() == 0, server.said
    print(f"the page answers; look at {arguments.screenshot}")


if __name__ == "__main__":
    main()
