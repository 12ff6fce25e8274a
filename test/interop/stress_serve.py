#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Many clients of quant-serve for a while, with random lengths, some of which go away in the middle: no answer may be lost or wrong.

    python3 test/interop/stress_serve.py --bin build/bin [--serve build-sanitize/bin/quant-serve] [--minutes 5] [--clients 64]

Each whole or streamed answer must be the begin of what the same prompt alone gave. With --serve of the preset `sanitize` a leak or a bad access
fails it, too. Memory at the start and at the end is printed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from test_serve import Running  # noqa: E402
from tiny import ROOT, Tiny  # noqa: E402

PROMPTS = ["Moses said unto", "Emma was", "The whale", "Psalm 151", "Lady Catherine was not", "And it came to pass", "Call me", "1 2 3"]
LONGEST = 60


class Clients:
    def __init__(self, server: Running) -> None:
        self.server = server
        self.expected = {prompt: self.whole(prompt, LONGEST)[1] for prompt in PROMPTS}
        self.counts = {"whole": 0, "streamed": 0, "went away": 0}
        self.wrong: list[object] = []
        self.lock = threading.Lock()

    @staticmethod
    def body(prompt: str, tokens: int) -> dict:
        return {"prompt": prompt, "temperature": 0, "max_tokens": tokens}

    def whole(self, prompt: str, tokens: int) -> tuple[int, str]:
        status, answer = self.server.post("/v1/completions", self.body(prompt, tokens))
        return status, answer["choices"][0]["text"] if status == 200 else json.dumps(answer)

    def streamed(self, prompt: str, tokens: int) -> tuple[int, str]:
        events = self.server.events("/v1/completions", self.body(prompt, tokens))
        return 200, "".join(event["choices"][0]["text"] for event in events)

    def go_away(self, prompt: str, draw: random.Random) -> None:
        connection = self.server.connection()
        connection.request("POST", "/v1/completions", json.dumps(self.body(prompt, LONGEST) | {"stream": draw.random() < 0.8}), {"Content-Type": "application/json"})
        time.sleep(draw.random() * 0.3)
        connection.sock.close()

    def run(self, number: int, until: float) -> None:
        draw = random.Random(number)
        while time.monotonic() < until:
            prompt, tokens, kind = draw.choice(PROMPTS), draw.randint(1, LONGEST), draw.choice(list(self.counts))
            try:
                status, text = 200, ""
                if kind == "went away":
                    self.go_away(prompt, draw)
                else:
                    status, text = getattr(self, kind)(prompt, tokens)
            except Exception as error:  # a lost answer
                status, text = 0, repr(error)
            with self.lock:
                self.counts[kind] += 1
                if status != 200 or not self.expected[prompt].startswith(text) or (kind != "went away" and tokens == LONGEST and text != self.expected[prompt]):
                    self.wrong.append((kind, prompt, tokens, status, text))


def resident(server: Running) -> float:
    text = server.call("GET", "/metrics")[1].decode()
    return float(re.search(r"process_resident_memory_bytes (\d+)", text)[1]) / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "bin")
    parser.add_argument("--serve", type=Path, help="default: quant-serve of --bin")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--mtp", action="store_true", help="speculative decoding")
    arguments = parser.parse_args()
    mtp = ["--mtp"] if arguments.mtp else []
    tiny = Tiny(arguments.bin, *mtp)
    if arguments.serve:
        tiny.binaries = arguments.serve.resolve().parent
    server = Running(tiny, "--sequences", arguments.sequences, "--max-clients", 4 * arguments.clients, *mtp)
    clients = Clients(server)
    before = resident(server)
    until = time.monotonic() + 60 * arguments.minutes
    threads = [threading.Thread(target=clients.run, args=(number, until)) for number in range(arguments.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{clients.counts}, {len(clients.wrong)} wrong or lost; memory {before:.0f} MB at the start, {resident(server):.0f} MB at the end")
    for one in clients.wrong[:5]:
        print(f"  {one}")
    status = server.end()
    if status != 0:
        print(f"quant-serve ended with {status}: {server.said[-3000:]}")
    return 1 if clients.wrong or status else 0


if __name__ == "__main__":
    sys.exit(main())
