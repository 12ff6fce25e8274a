#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Formats of the KV cache: checkpoint -> quant-compile --kv-cache -> quant-run, on the host and on sm_90a in the simulator.

    python3 test/e2e/test_kv_cache.py --bin build/bin [--seed N] [unittest arguments]

The float64 reference rounds what it writes to its cache in the same way. A difference of 1e-7 before that rounding flips a code now and
then, which is worth more than 1e-5 in all that follows it, and may choose another expert. So short prompts are run one by one: in one
call, token by token and in chunks a third of them at least must agree to rounding, which a wrong kernel never does. NumPy only.
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
from deepseek import Model, softmax
from kv_cache import FORMATS, encode, stored
from test_toys import CONFIGS, Context, call, cpu_units, runnable_isas
import toys

ROUNDING = 1e-5
#: Bounds on the relative error of a prompt's logits: what another expert costs, and what the format costs the best of the prompts.
FLIPPED = 5e-1
FORMAT_ERROR = {"bf16": 2e-2, "fp8": 1e-1, "int8": 5e-2, "int4": 5e-1}


class KvCache(unittest.TestCase):
    PROMPTS, LENGTH, MUST_AGREE = 6, 3, 2
    CHUNKS = (3, 1, 2)  # of which the last is smaller

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

    def check_errors(self, what: str, errors: list[float], must_agree: int) -> None:
        agree = sum(error < ROUNDING for error in errors)
        print(f"{what}: {agree} of {len(errors)} prompts agree, errors {min(errors):.1e} to {max(errors):.1e}")
        self.assertGreaterEqual(agree, must_agree)
        self.assertLess(max(errors), FLIPPED)

    def check_host(self, config: str, kv_cache: str) -> None:
        checkpoint, module = self.folder / config, self.folder / f"{config}.qmod"
        call("quant-convert", "random", "--config", CONFIGS / f"{config}.json", "--output", checkpoint, "--seed", str(Context.seed))
        call("quant-compile", checkpoint, cpu_units(), f"--kv-cache={kv_cache}", "-o", module)
        exact, model = Model(Checkpoint(checkpoint)), Model(Checkpoint(checkpoint), kv_cache=kv_cache)
        prompts = [clear_prompt(model, self.LENGTH, Context.seed + number) for number in range(self.PROMPTS)]
        wanted = [model.forward(prompt).logits for prompt in prompts]
        cost = [relative_error(want, exact.forward(prompt).logits) for prompt, want in zip(prompts, wanted)]
        print(f"{config} {kv_cache}: the format costs {min(cost):.1e} to {max(cost):.1e} of the logits")
        self.assertGreater(min(cost), ROUNDING)
        self.assertLess(min(cost), FORMAT_ERROR[kv_cache])
        for isa in runnable_isas(module):
            for chunk in self.CHUNKS:
                runs = [self.logits(module, checkpoint, prompt, "--isa", isa, "--chunk", str(chunk)) for prompt in prompts]
                errors = [relative_error(got, want) for got, want in zip(runs, wanted)]
                self.check_errors(f"{config} {kv_cache} {isa}, {chunk} tokens a call", errors, self.MUST_AGREE)

    def check_sim(self, kv_cache: str) -> None:
        checkpoint, module, errors = self.folder / "checkpoint", self.folder / "sim.qmod", []
        model = Model(toys.write(checkpoint, toys.v3(), Context.seed), kv_cache=kv_cache)
        call("quant-compile", checkpoint, "--target=sm_90a", "--activations=f32", "--max-tokens=7", f"--kv-cache={kv_cache}", "-o", module)
        for number, chunk in enumerate(self.CHUNKS):
            prompt = clear_prompt(model, self.LENGTH, Context.seed + number)
            got = self.logits(module, checkpoint, prompt, "--device", "sim", "--chunk", str(chunk))
            errors.append(relative_error(got, model.forward(prompt).logits))
        self.check_errors(f"{kv_cache} on sm_90a", errors, 1)

    def test_error_of_the_attention_output(self) -> None:
        """Of 16 heads over 2048 positions of 512 + 64 normal numbers, against an exact cache: what docs/kv-cache.md says."""
        rng = np.random.default_rng(Context.seed)
        latent, rope_key, query = (rng.standard_normal(shape) for shape in ((2048, 512), (2048, 64), (16, 576)))

        def attended(latent: np.ndarray, rope_key: np.ndarray) -> np.ndarray:
            return softmax(query @ np.concatenate([latent, rope_key], axis=1).T / 24) @ latent

        for kv_cache, low, high in (("bf16", 1e-3, 3e-3), ("fp8", 1.5e-2, 4e-2), ("int8", 4e-3, 1.2e-2), ("int4", 6e-2, 1.4e-1)):
            error = relative_error(attended(*stored(kv_cache, latent, rope_key)), attended(latent, rope_key))
            print(f"{kv_cache}: the attention's output errs by {error:.1e}")
            self.assertTrue(low < error < high, f"{kv_cache}: {error}")

    def test_bytes_a_token(self) -> None:
        """quant-run says how many bytes a token takes."""
        checkpoint, module = self.folder / "checkpoint", self.folder / "model.qmod"
        config = toys.v3() | {"kv_lora_rank": 512, "qk_rope_head_dim": 64}
        toys.write(checkpoint, config, Context.seed)
        for kv_cache, want in {"f32": 2304, "bf16": 1152, "fp8": 656, "int8": 642, "int4": 416}.items():
            self.assertEqual(encode(kv_cache, np.zeros((1, 512)), np.zeros((1, 64))).nbytes, want)
            call("quant-compile", checkpoint, "--host-isa=native", f"--kv-cache={kv_cache}", "-o", module)
            answer = self.run_json(module, "--weights", checkpoint, "--tokens", "1,2,3", "--max-new-tokens", "2")
            self.assertEqual(answer["kv_cache"], {"bytes_per_token": want, "layers": config["num_hidden_layers"]})


def add_format(kv_cache: str) -> None:
    for config in ("toy_v3", "toy_v2"):
        setattr(KvCache, f"test_{kv_cache}_{config}", lambda self, config=config: self.check_host(config, kv_cache))
    setattr(KvCache, f"test_{kv_cache}_on_sm_90a", lambda self: self.check_sim(kv_cache))


for kv_cache in FORMATS[1:]:
    add_format(kv_cache)

if __name__ == "__main__":
    test_toys.main()
