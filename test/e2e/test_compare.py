#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Self-test of compare.py: a fake quant-run, which is the reference with a fault of our choice, must pass or fail as it deserves."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from compare import Golden, Settings, clear_prompt, compare
import toys  # compare puts test/reference on the path
from checkpoint import Checkpoint
from deepseek import Model

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden" / "v2"

FAKE_QUANT_RUN = f"""#!{sys.executable}
import argparse, json, os, sys
sys.path.insert(0, {str(HERE.parent / "reference")!r})
from pathlib import Path
import numpy as np
from checkpoint import Checkpoint, write_safetensors
from deepseek import Model
parser = argparse.ArgumentParser()
parser.add_argument("module")
for option in ("weights", "tokens", "logits", "isa"):
    parser.add_argument("--" + option)
parser.add_argument("--max-new-tokens", type=int)
parser.add_argument("--chunk", type=int)
parser.add_argument("--json", action="store_true", required=True)
arguments = parser.parse_args()
fault = os.environ.get("FAULT", "")
prompt = [int(token) for token in arguments.tokens.split(",")]
model = Model(Checkpoint(arguments.weights), mla="naive")
if fault == "softmax scale":
    model.scale = (model.nope + model.rope) ** -0.5
if fault == "chunked cache" and arguments.chunk:
    model.rope_factor *= 1.01
output, tokens = model.generate(prompt, arguments.max_new_tokens, arguments.chunk)
logits = output.logits[: len(prompt)].astype(np.float32)
if fault.startswith("noise"):
    noise = np.random.default_rng(0).standard_normal(logits.shape)
    logits = (logits * (1 + float(fault[5:]) * noise)).astype(np.float32)
if fault == "last row":
    logits[-1] *= 1.05
if fault == "nan":
    logits[3, 4] = np.nan
if fault == "last position only":
    logits = logits[-1:]
if fault == "wrong token":
    tokens[3] = (tokens[3] + 1) % 64
if fault == "too few tokens":
    tokens.pop()
if fault == "talkative":
    print("hello")
if fault == "crash":
    sys.exit("no kernel for this")
if fault != "no logits":
    write_safetensors(Path(arguments.logits), {{"logits": ("F32", logits)}})
print(json.dumps({{"prompt": prompt, "tokens": tokens, "isa": "avx2" if fault == "other isa" else arguments.isa}}))
"""


class Harness(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="compare-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.fake = self.folder / "quant-run"
        self.fake.write_text(FAKE_QUANT_RUN)
        self.fake.chmod(0o755)

    def problems(self, fault: str, modes: tuple[str, ...] = ("prefill",), checkpoint: Path = GOLDEN) -> str:
        golden = Golden.load(GOLDEN) if checkpoint == GOLDEN else None
        prompt = golden.prompt if golden else clear_prompt(Model(Checkpoint(checkpoint)), 12, 1)
        settings = Settings(checkpoint, self.folder / "m.qmod", self.fake, prompt, 6, golden, modes=modes, isa="avx512")
        with unittest.mock.patch.dict(os.environ, {"FAULT": fault}), contextlib.redirect_stdout(io.StringIO()) as table:
            found = compare(settings)
        self.assertIn("rel. error", table.getvalue())
        return "\n".join(found)

    def test_a_right_program_passes_in_every_mode(self) -> None:
        self.assertEqual(self.problems("", ("prefill", "chunks", "tokenwise")), "")
        self.assertEqual(self.problems("noise5e-3"), "")

    def test_a_right_program_passes_on_fp8(self) -> None:
        toys.write(self.folder / "toy", toys.v3(), seed=3)
        self.assertEqual(self.problems("", ("prefill", "tokenwise"), self.folder / "toy"), "")

    def test_faults_are_found(self) -> None:
        expected = {
            "noise2e-2": "is more than 1.0e-02",
            "softmax scale": "against transformers: relative error",
            "last row": "at position 39",
            "nan": "relative error nan",
            "last position only": "have shape [1, 256], not [40, 256]",
            "wrong token": "generated token 3 is",
            "too few tokens": "5 tokens were generated, not 6",
            "talkative": "cannot read the answer",
            "crash": "no kernel for this",
            "no logits": "cannot read the answer",
            "other isa": "asked for avx512, avx2 ran",
        }
        for fault, message in expected.items():
            with self.subTest(fault):
                self.assertIn(message, self.problems(fault))

    def test_modes_must_agree_more_closely_than_with_the_reference(self) -> None:
        self.assertIn("chunks: against the first mode", self.problems("chunked cache", ("prefill", "chunks")))


if __name__ == "__main__":
    unittest.main()
