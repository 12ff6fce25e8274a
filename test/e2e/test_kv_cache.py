#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Formats of the KV cache: checkpoint -> quant-compile --kv-cache -> quant-run, on the host and on sm_90a in the simulator.

    python3 test/e2e/test_kv_cache.py --bin build/bin [--seed N] [unittest arguments]

The float64 reference rounds what it writes to its cache in the same way. A difference of 1e-7 before that rounding flips a code now and
then, which is worth more than 1e-5 in all that follows it. So short prompts are run one by one: those without a flip must agree to
rounding, and each within what a flip costs. NumPy only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np

import test_toys
from compare import clear_prompt, quant_run, relative_error
from checkpoint import Checkpoint
from deepseek import Model
from test_toys import CONFIGS, Context, call, runnable_isas
import toys

ROUNDING = 1e-5
#: Bounds on the relative error of a prompt's logits: where codes flip, and against the reference with an exact cache.
FLIPPED = {"bf16": 2e-3}
FORMAT_ERROR = {"bf16": 2e-2}
SIM_LENGTH = 3


def row_bytes(kv_cache: str, config: dict) -> int:
    """Of a token in the cache of one layer."""
    latent, rope = config["kv_lora_rank"], config["qk_rope_head_dim"]
    return {"f32": 4 * (latent + rope), "bf16": 2 * (latent + rope)}[kv_cache]


class KvCache(unittest.TestCase):
    PROMPTS, LENGTH, MUST_AGREE = 6, 5, 3

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kv-cache-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def run_json(self, *arguments: str | Path) -> dict:
        done = subprocess.run([str(Context.binaries / "quant-run"), *map(str, arguments), "--json"], capture_output=True, text=True,
                              timeout=300, stdin=subprocess.DEVNULL)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def logits(self, module: Path, checkpoint: Path, prompt: list[int], *options: str) -> np.ndarray:
        return quant_run(Context.binaries / "quant-run", module, checkpoint, prompt, 1, *options).logits.astype(np.float64)

    def check_errors(self, what: str, kv_cache: str, errors: list[float], must_agree: int) -> None:
        agree = sum(error < ROUNDING for error in errors)
        print(f"{what} {kv_cache}: {agree} of {len(errors)} runs agree, errors {min(errors):.1e} to {max(errors):.1e}")
        self.assertGreaterEqual(agree, must_agree)
        self.assertLess(max(errors), FLIPPED[kv_cache])

    def check_host(self, config: str, kv_cache: str) -> None:
        checkpoint, module = self.folder / config, self.folder / f"{config}.qmod"
        call("quant-convert", "random", "--config", CONFIGS / f"{config}.json", "--output", checkpoint, "--seed", str(Context.seed))
        call("quant-compile", checkpoint, f"--kv-cache={kv_cache}", "-o", module)
        exact, model = Model(Checkpoint(checkpoint)), Model(Checkpoint(checkpoint), kv_cache=kv_cache)
        prompts = [clear_prompt(model, self.LENGTH, Context.seed + number) for number in range(self.PROMPTS)]
        wanted = [model.forward(prompt).logits for prompt in prompts]
        cost = [relative_error(want, exact.forward(prompt).logits) for prompt, want in zip(prompts, wanted)]
        print(f"{config} {kv_cache}: the format costs {min(cost):.1e} to {max(cost):.1e} of the logits")
        self.assertGreater(max(cost), ROUNDING)
        self.assertLess(max(cost), FORMAT_ERROR[kv_cache])
        for isa in runnable_isas(module):
            errors = []
            for prompt, want in zip(prompts, wanted):
                # In one call, token by token, and in chunks of which the last is smaller: matmuls of another M sum in another order.
                runs = [self.logits(module, checkpoint, prompt, "--isa", isa, "--chunk", str(chunk)) for chunk in (self.LENGTH, 1, 2)]
                errors += [relative_error(got, want) for got in runs]
                for got in runs[1:]:
                    self.assertLess(relative_error(got, runs[0]), FLIPPED[kv_cache])
            self.check_errors(f"{config} {isa}", kv_cache, errors, self.MUST_AGREE)

    def test_bf16_v3(self) -> None:
        self.check_host("toy_v3", "bf16")

    def test_bf16_v2(self) -> None:
        self.check_host("toy_v2", "bf16")

    def check_sim(self, kv_cache: str) -> None:
        checkpoint, module, prompts, errors = self.folder / "checkpoint", self.folder / "sim.qmod", 4, []
        model = Model(toys.write(checkpoint, toys.v3(), Context.seed), kv_cache=kv_cache)
        call("quant-compile", checkpoint, "--target=sm_90a", "--activations=bf16", "--max-tokens=7", f"--kv-cache={kv_cache}", "-o", module)
        for number in range(prompts):
            prompt = clear_prompt(model, SIM_LENGTH, Context.seed + number)
            chunk = ["1", "2", str(SIM_LENGTH)][number % 3]
            got = self.logits(module, checkpoint, prompt, "--device", "sim", "--chunk", chunk)
            errors.append(relative_error(got, model.forward(prompt).logits))
        self.check_errors("sm_90a", kv_cache, errors, 1)

    def test_bf16_on_sm_90a(self) -> None:
        self.check_sim("bf16")

    def test_bytes_a_token(self) -> None:
        """quant-run says how many bytes a token takes; of 512 latents and 64 rope columns: 2304 (f32), 1152 (bf16)."""
        checkpoint, module = self.folder / "checkpoint", self.folder / "model.qmod"
        config = toys.v3() | {"kv_lora_rank": 512, "qk_rope_head_dim": 64}
        toys.write(checkpoint, config, Context.seed)
        for kv_cache, want in {"f32": 2304, "bf16": 1152}.items():
            self.assertEqual(row_bytes(kv_cache, config), want)
            call("quant-compile", checkpoint, f"--kv-cache={kv_cache}", "-o", module)
            answer = self.run_json(module, "--weights", checkpoint, "--tokens", "1,2,3", "--max-new-tokens", "2")
            self.assertEqual(answer["kv_cache"], {"bytes_per_token": want, "layers": config["num_hidden_layers"]})


if __name__ == "__main__":
    test_toys.main()
