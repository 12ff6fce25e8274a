#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Published models: each compiles at full size from its config.json, and runs cut down to the float64 reference's logits.

    python3 test/e2e/test_published.py --bin build/bin [--seed N] [--max-rel-error 1e-5] [unittest arguments]

One model a core at a time; the best instruction set of this CPU, prefill. NumPy only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import test_toys
from compare import Settings, clear_prompt, compare
from checkpoint import Checkpoint
from deepseek import Model
from published import Published, cut_down, published
from schemes import quantize
from test_toys import Context, call

MAX_MODULE_BYTES, MAX_MEMORY_BYTES = 20_000_000, 2 << 30
PROMPT, TRIES = 12, 20  # on each prompt tried the reference runs once
LEAST_MODELS = 10


class PublishedModels(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="published-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.models = published()

    def folder_of(self, model: Published) -> Path:
        folder = self.folder / re.sub(r"\W+", "-", model.name)
        folder.mkdir()
        return folder

    def for_each(self, work: Callable[[Published], Any], check: Callable[[Published, Any], None]) -> None:
        """Works on a model a core, and checks what came of each on its own."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            running = [(model, pool.submit(work, model)) for model in self.models]
            for model, future in running:
                with self.subTest(model=model.name):
                    check(model, future.result())

    def test_names(self) -> None:
        names = [model.name for model in self.models]
        self.assertEqual(len(names), len(set(names)))
        self.assertGreaterEqual(len(names), LEAST_MODELS)

    def test_full_size(self) -> None:
        self.for_each(self.compile_full_size, self.check_full_size)

    def compile_full_size(self, model: Published) -> dict[str, Any]:
        """The compiler's own summary, for the host."""
        folder = self.folder_of(model)
        (folder / "config.json").write_text(json.dumps(model.config))
        command = [Context.binaries / "quant-compile", folder / "config.json", "--target=host", "-o", folder / "model.qmod", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stderr)
        summary = json.loads(done.stdout)
        self.assertEqual(summary["bytes"], (folder / "model.qmod").stat().st_size)
        return summary

    def check_full_size(self, model: Published, summary: dict[str, Any]) -> None:
        print(f"{model.name}: {summary['kernels']} kernels, {summary['dispatches']} dispatches, {summary['bytes'] / 1e6:.1f} MB")
        self.assertLess(summary["bytes"], MAX_MODULE_BYTES)
        self.assertLess(summary["peak_memory_bytes"], MAX_MEMORY_BYTES)
        self.assertEqual(summary["unsupported"], [])

    def test_cut_down(self) -> None:
        self.for_each(self.compile_cut_down, self.check_cut_down)

    def compile_cut_down(self, model: Published) -> Path:
        """A folder with a random checkpoint under the config.json as it is spelled, and model.qmod."""
        folder, config = self.folder_of(model), cut_down(model.config)
        checkpoint, made = folder / "checkpoint", folder / "made"
        plain = {key: value for key, value in config.items() if not (model.scheme and key == "quantization_config")}
        (folder / "config.json").write_text(json.dumps(plain))
        call("quant-convert", "random", "--config", folder / "config.json", "--output", made, "--seed", str(Context.seed))
        if model.scheme:
            quantize(made, checkpoint, model.scheme)
        else:
            made.rename(checkpoint)
        (checkpoint / "config.json").write_text(json.dumps(config))
        call("quant-compile", checkpoint, "--target=host", "--host-isa=native", "--kv-cache=f32", "-o", folder / "model.qmod")
        return folder

    def check_cut_down(self, model: Published, folder: Path) -> None:
        checkpoint = folder / "checkpoint"
        prompt = clear_prompt(Model(Checkpoint(checkpoint)), PROMPT, Context.seed, TRIES)
        run, module = Context.binaries / "quant-run", folder / "model.qmod"
        print(f"{model.name}:", end=" ")
        problems = compare(Settings(checkpoint, module, run, prompt, 0, None, Context.max_error, ("prefill",)))
        self.assertFalse(problems, "\n".join(problems))


if __name__ == "__main__":
    test_toys.main()
