#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every scheme that is compiled: a toy in its exact layout -> quant-compile -> quant-run, against the float64 reference.

    python3 test/e2e/test_schemes.py --bin build/bin [--seed N] [unittest arguments]

The reference (test/reference/checkpoint.py) reads the same bytes on its own. NumPy only.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np
import test_toys
from compare import clear_prompt
from checkpoint import Checkpoint, SafetensorsFile, write_safetensors
from deepseek import Model
from schemes import SCHEMES, quantize
from test_toys import CONFIGS, Context, call

PROMPT = 21


class Schemes(unittest.TestCase):
    setUp = test_toys.Toys.setUp
    check = test_toys.Toys.check

    def make(self, name: str, config: str = "toy_v3") -> Path:
        plain, coded = self.folder / "plain", self.folder / name
        call("quant-convert", "random", "--config", CONFIGS / f"{config}.json", "--dtype", "bf16", "--output", plain, "--seed",
             str(Context.seed))  # fmt: skip
        self.assertGreater(quantize(plain, coded, name), 0)
        return coded

    def compile_error(self, checkpoint: Path) -> str:
        done = subprocess.run([Context.binaries / "quant-compile", checkpoint, "-o", self.folder / "model.qmod"], capture_output=True,
                              text=True, timeout=600)  # fmt: skip
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stderr

    def change(self, checkpoint: Path, replace: dict[str, tuple | None]) -> None:
        """Tensors to put in the place of others, or to leave out."""
        file = SafetensorsFile(checkpoint / "model.safetensors")
        tensors = {name: (file.dtype(name), file.raw(name)) for name in file.header}
        tensors |= {name: tensor for name, tensor in replace.items() if tensor}
        write_safetensors(checkpoint / "model.safetensors", {n: t for n, t in tensors.items() if replace.get(n, t)})

    def test_packed_words_of_another_shape(self) -> None:
        checkpoint = self.make("ct-w4a16-group32")
        name = "model.layers.0.mlp.up_proj.weight_packed"
        words = SafetensorsFile(checkpoint / "model.safetensors").raw(name)
        self.change(checkpoint, {name: ("I32", words[:, :-1].copy())})
        self.assertIn(f"weight_shape' in {checkpoint}/model.safetensors says 448x320, and '{name}' is 448x39", self.compile_error(checkpoint))

    def run_error(self, module: Path, checkpoint: Path) -> str:
        done = subprocess.run([Context.binaries / "quant-run", module, "--weights", checkpoint, "--tokens", "1"], capture_output=True,
                              text=True, timeout=600)  # fmt: skip
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stderr

    def test_groups_of_columns_that_are_none(self) -> None:
        for scheme, name in (("ct-w4a16-group32", "weight_g_idx"), ("gptq", "g_idx")):
            checkpoint, module = self.make(scheme), self.folder / "model.qmod"
            name = "model.layers.0.mlp.up_proj." + name
            columns = 320
            groups = np.arange(columns) // 32
            self.change(checkpoint, {name: ("I32", groups)})
            call("quant-compile", checkpoint, "--host-isa=native", "-o", module)
            self.change(checkpoint, {name: ("I32", groups // 2)})
            self.assertIn(f"tensor '{name}' in {checkpoint}/model.safetensors names 5 groups, the scales are of 10", self.compile_error(checkpoint))
            for wrong, text in ((np.where(groups == 3, 4, groups), "group 3 has 0 columns, not 32"),
                                (np.where(np.arange(columns) == 40, -1, groups), "column 40 is of group -1, there are 10"),
                                (np.where(np.arange(columns) == 50, 10, groups), "column 50 is of group 10, there are 10"),
                                (np.where(np.arange(columns) == 64, 1, groups), "group 1 has 33 columns, not 32")):  # fmt: skip
                self.change(checkpoint, {name: ("I32", wrong)})
                error = self.compile_error(checkpoint)
                self.assertIn(f"tensor '{name}'", error)
                self.assertIn(text, error)
            self.change(checkpoint, {name: ("I64", groups)})
            self.assertIn(f"tensor '{name}'", self.compile_error(checkpoint))
            self.change(checkpoint, {name: ("I32", groups[:-1])})
            self.assertIn(f"tensor '{name}'", self.compile_error(checkpoint))
            # A module for columns in order, and one for another order.
            self.change(checkpoint, {name: ("I32", groups[::-1])})
            self.assertIn(f"tensor '{name}' in {checkpoint}/model.safetensors: column 0 is of group 9: the module was compiled for columns in "
                          "the order of their groups", self.run_error(module, checkpoint))  # fmt: skip
            call("quant-compile", checkpoint, "--host-isa=native", "-o", module)
            self.change(checkpoint, {name: ("I32", np.where(groups == 3, 4, groups))})
            self.assertIn("group 3 has 0 columns, not 32", self.run_error(module, checkpoint))
            for folder in (self.folder / "plain", checkpoint):
                shutil.rmtree(folder)

    def test_projections_that_must_have_one_order(self) -> None:
        checkpoint, module = self.make("gptq-act-order"), self.folder / "model.qmod"
        call("quant-compile", checkpoint, "--host-isa=native", "-o", module)
        name = "model.layers.0.mlp.up_proj.g_idx"
        self.change(checkpoint, {name: ("I32", np.arange(320)[::-1] // 32)})
        error = self.run_error(module, checkpoint)
        self.assertIn(f"tensor '{name}' in {checkpoint}/model.safetensors is not equal to 'model.layers.0.mlp.gate_proj.g_idx'", error)

    def test_a_weight_shape_that_lies(self) -> None:
        checkpoint = self.make("ct-w4a16-group32")
        name = "model.layers.0.mlp.up_proj.weight_shape"
        rows, columns = Checkpoint(checkpoint).stored(name)[1]
        for values in ((rows, 2 * columns), (rows - 1, columns), (-rows, columns), (rows, 0)):
            self.change(checkpoint, {name: ("I64", np.array(values))})
            self.assertIn(f"tensor '{name}' in {checkpoint}/model.safetensors says {values[0]}x{values[1]}, and "
                          f"'model.layers.0.mlp.up_proj.weight_packed' is {rows}x{columns // 8}", self.compile_error(checkpoint))  # fmt: skip
        self.change(checkpoint, {name: ("I32", np.array((rows, columns)))})
        self.assertIn(f"tensor '{name}' in {checkpoint}/model.safetensors is not two I64", self.compile_error(checkpoint))

    def test_config_groups_that_are_mixed_up(self) -> None:
        checkpoint = self.make("ct-mixed")
        path = checkpoint / "config.json"
        config = json.loads(path.read_text())
        groups = config["quantization_config"]["config_groups"]
        groups["group_0"]["targets"], groups["group_1"]["targets"] = groups["group_1"]["targets"], groups["group_0"]["targets"]
        path.write_text(json.dumps(config))
        self.assertIn("in the scheme that config.json gives it (ct-w8a8)", self.compile_error(checkpoint))

    def test_zero_points_of_another_shape(self) -> None:
        for scheme, name in (("ct-w4a16-asymmetric", "weight_zero_point"), ("gptq", "qzeros"), ("awq", "qzeros"), ("awq", "scales")):
            checkpoint = self.make(scheme)
            name = "model.layers.0.mlp.up_proj." + name
            dtype, values = Checkpoint(checkpoint).stored(name)
            self.change(checkpoint, {name: (dtype, values[:, :-1].copy())})
            self.assertIn(f"tensor '{name}' has shape", self.compile_error(checkpoint))
            self.change(checkpoint, {name: ("F32", np.zeros(values.shape, np.float32))})
            self.assertIn(f"tensor '{name}'", self.compile_error(checkpoint))
            if not name.endswith("scales"):
                self.change(checkpoint, {name: None})
                self.assertIn(f"tensor '{name}' is missing", self.compile_error(checkpoint))
            for folder in (self.folder / "plain", checkpoint):
                shutil.rmtree(folder)

    def test_a_missing_scale(self) -> None:
        checkpoint = self.make("ct-w8a8")
        name = "model.layers.0.mlp.up_proj.weight_scale"
        self.change(checkpoint, {name: None})
        self.assertIn(f"tensor '{name}' is missing", self.compile_error(checkpoint))

    def test_schemes_that_are_not_compiled_are_refused_by_name(self) -> None:
        checkpoint = self.make("ct-w4a16-group32")
        path = checkpoint / "config.json"
        config = json.loads(path.read_text())
        config["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = 3
        path.write_text(json.dumps(config))
        self.assertIn('group_0: format "pack-quantized" with weights of 3 bits, type int, strategy group is no scheme that is known',
                      self.compile_error(checkpoint))

    def test_global_scales(self) -> None:
        checkpoint = self.make("ct-nvfp4")
        name = "model.layers.0.mlp.up_proj.weight_global_scale"
        module = self.folder / "model.qmod"
        call("quant-compile", checkpoint, "--host-isa=native", "-o", module)
        good = Checkpoint(checkpoint).stored(name)[1]
        for values, text in ((np.zeros(1, np.float32), "the global scale is 0"), (np.full(1, np.nan, np.float32), "the global scale is nan"),
                             (-good, "the global scale is -1234.5"), (np.ones(2, np.float32), "the module expects 1x1xf32")):  # fmt: skip
            self.change(checkpoint, {name: ("F32", values)})
            error = self.run_error(module, checkpoint)
            self.assertIn(f"tensor '{name}'", error)
            self.assertIn(text, error)
        self.change(checkpoint, {name: ("F32", good)})
        name = name.replace("global_scale", "scale")
        for code, text in ((0x7F, "NaN"), (0xB8, "-1")):
            scales = Checkpoint(checkpoint).stored(name)[1].copy()
            scales[1, 2] = code
            self.change(checkpoint, {name: ("F8_E4M3", scales)})
            self.assertIn(f"tensor '{name}' in {checkpoint}/model.safetensors: the scale of block [1, 2] is {text}",
                          self.run_error(module, checkpoint))  # fmt: skip


def add_scheme(name: str) -> None:
    def test(self: Schemes) -> None:
        # Each run a V3 or a V2 of its own, by the seed: all of both would take minutes.
        config = random.Random(f"{Context.seed} {name}").choice(["toy_v3", "toy_v2"])
        checkpoint = self.make(name, config)
        call("quant-convert", "inspect", checkpoint)
        call("quant-convert", "compare", self.folder / "plain", checkpoint)
        self.check(checkpoint, clear_prompt(Model(Checkpoint(checkpoint)), PROMPT, Context.seed))

    setattr(Schemes, "test_" + name.replace("-", "_"), test)


for scheme in SCHEMES:
    add_scheme(scheme)


if __name__ == "__main__":
    test_toys.main()
