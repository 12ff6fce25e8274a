#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quant-run --perplexity on models/tiny, against its golden logits (torch) and against quant-run's own logits, scored by NumPy.

    python3 test/e2e/test_perplexity.py --bin build/bin [unittest arguments]
"""

from __future__ import annotations

import json
import subprocess
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import test_toys
from checkpoint import SafetensorsFile
from compare import quant_run
from test_toys import Context, call

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny"
BOS = 0


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


class Perplexity(unittest.TestCase):
    setUp = test_toys.Toys.setUp

    def compile(self, name: str = "model", checkpoint: Path = TINY, *options: str) -> Path:
        module = self.folder / f"{name}.qmod"
        call("quant-compile", checkpoint, "--host-isa=native", "-o", module, *options)
        return module

    def text(self, tokens: Any, **more: Any) -> Path:
        path = self.folder / "text.json"
        path.write_text(json.dumps({"tokens": tokens, **more} if more or not isinstance(tokens, list) else tokens))
        return path

    def run_tool(self, module: Path, text: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
        weights = [] if "--weights" in options else ["--weights", TINY]
        command = [Context.binaries / "quant-run", module, *weights, "--perplexity", text, "--threads", "2", *options]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)

    def measure(self, module: Path, text: Path, *options: str | Path) -> dict[str, Any]:
        done = self.run_tool(module, text, "--json", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def error(self, module: Path, text: Path, *options: str | Path) -> str:
        done = self.run_tool(module, text, *options)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def test_golden_logits(self) -> None:
        """One piece: BOS and 63 tokens of the text go in, 64 are scored."""
        golden = SafetensorsFile(TINY / "golden.safetensors")
        tokens = json.loads((TINY / "eval.tokens.json").read_text())["tokens"][:64]
        self.assertEqual([BOS, *tokens[:63]], golden.raw("tokens").tolist())
        loss = -log_softmax(golden.raw("logits"))[np.arange(64), tokens].mean()
        got = self.measure(self.compile("exact", TINY, "--kv-cache=f32"), self.text(tokens, bytes=200), "--context", "65")
        self.assertAlmostEqual(got["loss"], loss, delta=1e-5)
        self.assertAlmostEqual(got["perplexity"], np.exp(loss), delta=1e-3)
        self.assertAlmostEqual(got["bits_per_byte"], loss * 64 / np.log(2) / 200, delta=1e-5)
        self.assertEqual((got["tokens"], got["bytes"], got["context"], got["bos"]), (64, 200, 65, BOS))

    def logits(self, module: Path, weights: Path, tokens: list[int], context: int) -> np.ndarray:
        """Of the pieces, one after the other."""
        rows = []
        for begin in range(0, len(tokens), context - 1):
            piece = tokens[begin : begin + context - 1]
            rows.append(quant_run(Context.binaries / "quant-run", module, weights, [BOS, *piece[:-1]], 0).logits)
        return np.concatenate(rows)

    def test_pieces_against_another_module(self) -> None:
        """Two pieces of more than a pass, and a short one, FP8 against bf16."""
        fp8, context = self.folder / "fp8", 300
        call("quant-convert", "cast-fp8", "--input-bf16-hf-path", TINY, "--output-fp8-hf-path", fp8)
        modules = self.compile("bf16"), self.compile("fp8", fp8)
        tokens = json.loads((TINY / "eval.tokens.json").read_text())["tokens"][1000 : 1000 + 2 * (context - 1) + 1]
        want, have = (log_softmax(self.logits(m, w, tokens, context)) for m, w in zip(modules, (TINY, fp8), strict=True))
        losses, base = (-scores[np.arange(len(tokens)), tokens] for scores in (have, want))
        kl = (np.exp(want) * (want - have)).sum(axis=1)
        got = self.measure(modules[1], self.text(tokens), "--weights", fp8, "--context", str(context),
                           "--against", modules[0], "--against-weights", TINY)  # fmt: skip
        against = got["against"]
        self.assertNotIn("bits_per_byte", got)
        self.assertAlmostEqual(got["loss"], losses.mean(), delta=1e-6)
        self.assertAlmostEqual(against["loss"], base.mean(), delta=1e-6)
        self.assertAlmostEqual(against["loss_difference"], (losses - base).mean(), delta=1e-6)
        self.assertAlmostEqual(against["loss_difference_standard_error"], (losses - base).std() / len(tokens) ** 0.5, delta=1e-6)
        self.assertAlmostEqual(against["kl_mean"], kl.mean(), delta=1e-6)
        self.assertAlmostEqual(against["kl_99th_percentile"], np.sort(kl)[int(np.ceil(0.99 * len(kl))) - 1], delta=1e-6)
        self.assertAlmostEqual(against["same_first_choice"], (want.argmax(1) == have.argmax(1)).mean(), delta=1e-9)

    def test_against_itself(self) -> None:
        module = self.compile()
        got = self.measure(module, self.text([5, 7, 11, 13]), "--against", module)
        self.assertEqual(got["context"], 1024)  # the module's limit
        against = got["against"]
        self.assertEqual((against["loss_difference"], against["kl_mean"], against["same_first_choice"]), (0, 0, 1))
        words = self.run_tool(module, self.text([5, 7, 11, 13]), "--against", module).stdout
        self.assertIn(f"perplexity {got['perplexity']:.4f}", words)
        self.assertIn("the same first choice at 100.00 % of the positions", words)

    def test_bad_input(self) -> None:
        module = self.compile()
        for tokens, options, message in (
            ([], (), "holds no tokens"),
            ({"a": 1}, (), "holds no tokens"),
            ([1, "x"], (), 'token 1 is "x", no integer of 32 bits'),
            ([1, 1 << 40], (), "token 1 is 1099511627776, no integer"),
            ([3, 4, 1536], (), "token 2 is 1536, the vocabulary has 0 to 1535"),
            ([3, -1], (), "token 1 is -1"),
            ([3], ("--bos", "4000"), "--bos 4000: the vocabulary has 0 to 1535"),
            ([3], ("--context", "1"), "--context 1: a piece is BOS and at least one token"),
            ([3], ("--context", "1025"), "was compiled for at most 1024"),
            ([3], ("--against", "nothing.qmod"), "nothing.qmod"),
        ):
            self.assertIn(message, self.error(module, self.text(tokens), *options))
        self.assertIn('"bytes" is 0', self.error(module, self.text([3], bytes=0)))
        self.assertIn("cannot", self.error(module, self.folder / "missing.json"))
        self.assertIn("--tokens excludes --perplexity", self.error(module, self.text([3]), "--tokens", "1"))
        self.assertIn("--prompt excludes --perplexity", self.error(module, self.text([3]), "--prompt", "a"))
        self.assertIn("--chat excludes --perplexity", self.error(module, self.text([3]), "--chat"))
        self.assertIn("--against-weights requires --against", self.error(module, self.text([3]), "--against-weights", TINY))

    def test_no_bos_and_another_vocabulary(self) -> None:
        toy, plain = self.folder / "toy", self.folder / "config"
        config = json.loads((test_toys.CONFIGS / "toy_v3.json").read_text())
        for key in ("bos_token_id", "eos_token_id"):
            config.pop(key, None)
        plain.write_text(json.dumps(config))
        call("quant-convert", "random", "--config", plain, "--output", toy)
        module, text = self.compile("toy", toy), self.text([3, 4])
        self.assertIn("no bos_token_id", self.error(module, text, "--weights", toy))
        self.assertIn("perplexity", self.measure(module, text, "--weights", toy, "--bos", "1"))
        error = self.error(self.compile(), text, "--against", module, "--against-weights", toy)
        self.assertIn("their logits cannot be compared", error)


if __name__ == "__main__":
    test_toys.main()
