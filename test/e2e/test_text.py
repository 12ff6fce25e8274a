#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quant-run with texts, on the small trained model: prompts, chats, stop strings, sampling, log-probabilities.

    python3 test/e2e/test_text.py --bin build/bin [unittest arguments]
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from tiny import CHECKPOINT, ROOT, Tiny

PROMPT = "The captain looked out upon the sea, and"


class Text(unittest.TestCase):
    tiny: Tiny

    def run_tool(self, *arguments: object, given: str | None = None, status: int = 0, weights: Path = CHECKPOINT) -> subprocess.CompletedProcess:
        done = subprocess.run(self.tiny.command("quant-run", *arguments, weights=weights), input=given, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def answer(self, *arguments: object) -> dict:
        return json.loads(self.run_tool(*arguments, "--json").stdout)

    def test_prompt_is_its_tokens(self) -> None:
        text = self.answer("--prompt", PROMPT, "--max-new-tokens", 12)
        self.assertEqual(text["prompt"][0], 0)  # BOS
        ids = self.answer("--tokens", ",".join(map(str, text["prompt"])), "--max-new-tokens", 12)
        self.assertEqual(text["tokens"], ids["tokens"])
        self.assertNotIn("text", ids)
        printed = self.run_tool("--prompt", PROMPT, "--max-new-tokens", 12)
        self.assertEqual(printed.stdout, text["text"] + "\n")
        self.assertRegex(printed.stderr, r"tokens/s.*\nKV cache: 288 bytes a token.*\nmemory: [0-9.]+ MB at most")

    def test_prompt_from_stdin_and_file(self) -> None:
        expected = self.run_tool("--prompt", PROMPT).stdout
        self.assertEqual(self.run_tool("--prompt", "-", given=PROMPT).stdout, expected)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(PROMPT)
            file.flush()
            self.assertEqual(self.run_tool("--prompt", f"@{file.name}").stdout, expected)
        self.assertIn("cannot read '/nonexistent'", self.run_tool("--prompt", "@/nonexistent", status=2).stderr)

    def test_stop_strings_cut_the_text(self) -> None:
        whole = self.answer("--prompt", PROMPT, "--max-new-tokens", 40)["text"]
        stop = whole[25:29]
        cut = self.run_tool("--prompt", PROMPT, "--max-new-tokens", 40, "--stop", "never there", "--stop", stop).stdout
        self.assertEqual(cut, whole[: whole.index(stop)] + "\n")
        ids = self.run_tool("--tokens", "0,965", "--max-new-tokens", 40, "--stop", "e").stdout
        self.assertLess(len(ids.split()), 40)

    def test_sampling(self) -> None:
        greedy = self.answer("--prompt", PROMPT)["tokens"]
        hot = ("--prompt", PROMPT, "--temperature", 3, "--seed", 5)
        self.assertEqual(self.answer(*hot, "--top-k", 1)["tokens"], greedy)
        self.assertEqual(self.answer(*hot, "--min-p", 1)["tokens"], greedy)
        self.assertNotEqual(self.answer(*hot)["tokens"], greedy)
        self.assertEqual(self.answer(*hot)["tokens"], self.answer(*hot)["tokens"])
        penalized = self.answer("--prompt", PROMPT, "--repetition-penalty", 1000, "--max-new-tokens", 30)
        self.assertEqual(len(set(penalized["tokens"])), 30)  # no token comes twice

    def test_logprobs(self) -> None:
        answer = self.answer("--prompt", PROMPT, "--logprobs", 5, "--max-new-tokens", 4)
        self.assertEqual([one["token"] for one in answer["logprobs"]], answer["tokens"])
        for one in answer["logprobs"]:
            self.assertEqual(one["top"][0], {name: one[name] for name in ("token", "logprob", "text")})
            values = [other["logprob"] for other in one["top"]]
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertEqual(len(values), 5)
            self.assertLess(sum(map(math.exp, values)), 1)
        self.assertEqual("".join(one["text"] for one in answer["logprobs"]), answer["text"])

    def test_chat_remembers_and_forgets(self) -> None:
        said = self.run_tool("--chat", "--max-new-tokens", 12, given="Hello\nAnd you?\n/reset\nHello\n/nonsense\n/exit\nnot read\n")
        once = self.run_tool("--chat", "--max-new-tokens", 12, given="Hello").stdout
        self.assertTrue(said.stdout.startswith(once))
        self.assertTrue(said.stdout.endswith(once))
        self.assertGreater(len(said.stdout), 2 * len(once) + 1)
        self.assertIn("known are /reset and /exit", said.stderr)
        self.assertEqual(said.stderr.count("prompt: "), 3)
        system = self.run_tool("--chat", "--max-new-tokens", 12, "--system", "Psalm 151", given="Hello").stdout
        self.assertNotEqual(system, once)

    def test_chat_says_when_the_context_is_full(self) -> None:
        said = self.run_tool("--chat", "--context", 40, "--ignore-eos", given="Hello\n" + "word " * 60 + "\nHi\n/exit\n")
        self.assertIn("the context is full", said.stderr)
        self.assertIn("overflows the context of 40 rows; /reset begins a new one", said.stderr)

    def test_interrupt_stops_the_answer_alone(self) -> None:
        command = self.tiny.command("quant-run", "--chat", "--ignore-eos")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdin.write("Hello\n")
            process.stdin.flush()
            first = process.stdout.read(1)  # the answer has begun
            process.send_signal(signal.SIGINT)
            rest = process.stdout.readline()
            self.assertLess(len(first + rest), 4000)
            process.stdin.write("/reset\nHello\n")
            process.stdin.flush()
            self.assertTrue(process.stdout.read(1))
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)  # while it waits for a line
            time.sleep(0.2)
            process.stdin.write("/exit\n")
            process.stdin.close()
            self.assertEqual(process.wait(60), 0)
            process.stdout.read(), process.stderr.read()

    def test_tiktoken_is_read_where_there_is_no_tokenizer_json(self) -> None:
        golden = ROOT / "test" / "tools" / "text" / "golden" / "tiktoken"
        document = json.loads((golden / "documents.json").read_text())[-4]
        with tempfile.TemporaryDirectory() as folder:
            for file in (CHECKPOINT / "model.safetensors", golden / "tiktoken.model", golden / "tokenizer_config.json"):
                shutil.copy(file, folder)
            options = ("--prompt", bytes.fromhex(document["hex"]).decode(), "--max-new-tokens", 4, "--json")
            self.assertEqual(json.loads(self.run_tool(*options, weights=Path(folder)).stdout)["prompt"], document["tokens"])

    def test_refusals(self) -> None:
        self.assertIn("only one of them can be given", self.run_tool("--prompt", "x", "--chat", status=2).stderr)
        self.assertIn("--logprobs: needs --json", self.run_tool("--prompt", "x", "--logprobs", 1, status=2).stderr)
        self.assertIn("--system: needs --chat", self.run_tool("--prompt", "x", "--system", "y", status=2).stderr)
        self.assertIn("overflow the context", self.run_tool("--prompt", "x", "--max-new-tokens", 2000, status=1).stderr)
        with tempfile.TemporaryDirectory() as folder:
            for name in ("config.json", "model.safetensors"):
                shutil.copy(CHECKPOINT / name, folder)
            weights = Path(folder)
            self.assertIn("tokenizer.json: is missing", self.run_tool("--prompt", "x", weights=weights, status=1).stderr)
            (weights / "tiktoken.model").touch()
            self.assertIn("tokenizer_config.json: ", self.run_tool("--prompt", "x", weights=weights, status=1).stderr)
            shutil.copy(CHECKPOINT / "tokenizer.json", folder)
            self.assertIn("has no chat template", self.run_tool("--chat", given="", weights=weights, status=1).stderr)
            self.run_tool("--prompt", "x", weights=weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other arguments go to unittest.")
    parser.add_argument("--bin", type=Path, required=True, help="the build's bin directory")
    arguments, rest = parser.parse_known_args()
    Text.tiny = Tiny(arguments.bin)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
