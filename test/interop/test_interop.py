#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quant-convert against safetensors, compressed-tensors and torch. Started by run.sh, which has the packages.

python3 test/interop/test_interop.py --tool build/bin/quant-convert [unittest arguments]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import torch
from compressed_tensors.entrypoints.convert.converters.fp8block_dequantizer import FP8BlockDequantizer
from safetensors import safe_open
from safetensors.torch import save_file

CONFIGS = Path(__file__).resolve().parents[2] / "models" / "configs"
TOOL = ""

Tensors = dict[str, torch.Tensor]


def convert(*arguments: object) -> None:
    subprocess.run([TOOL, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def load(folder: Path) -> Tensors:
    """Every tensor, through the safetensors library; the index has to name each of them and its file."""
    tensors: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no dict)
    index_path = folder / "model.safetensors.index.json"
    if index_path.exists():
        index = json.loads(index_path.read_text())
        assert set(index["weight_map"]) == set(tensors)
        assert index["metadata"]["total_size"] == sum(t.numel() * t.element_size() for t in tensors.values())
    return tensors


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
    )


def deepseek_rule(weight: torch.Tensor, block: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and scales: amax / 448 of each block, ragged blocks as if padded with zeros. A block of zeros has scale 1."""
    rows, columns = weight.shape
    padded = torch.nn.functional.pad(weight.float(), (0, -columns % block, 0, -rows % block))
    blocks = padded.view(padded.shape[0] // block, block, padded.shape[1] // block, block)
    amax = blocks.abs().amax(dim=(1, 3))
    scale = torch.where(amax == 0, torch.ones_like(amax), amax / 448)
    codes = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn)
    return codes.view(padded.shape)[:rows, :columns].contiguous(), scale


class Interop(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)

    def small_model(self, name: str) -> Path:
        """The shapes of a real model, cut down to two layers and a few experts."""
        model = json.loads((CONFIGS / name).read_text())
        model |= {"n_layers": 2, "n_dense_layers": 1, "n_mtp_layers": 0, "vocab_size": 256, "n_routed_experts": 4}
        model |= {"n_activated_experts": 2, "n_expert_groups": 1, "n_limited_groups": 1, "dtype": "fp8"}
        path = self.dir / "model.json"
        path.write_text(json.dumps(model))
        return path

    def random_fp8(self, config: Path) -> Path:
        convert("random", "--config", config, "--output", self.dir / "fp8", "--shard-size", "400MB")
        return self.dir / "fp8"

    def check_cast_bf16(self, config: Path) -> None:
        fp8 = self.random_fp8(config)
        convert("cast-bf16", "--input-fp8-hf-path", fp8, "--output-bf16-hf-path", self.dir / "bf16")
        before, after = load(fp8), load(self.dir / "bf16")
        before = FP8BlockDequantizer.from_pretrained(fp8).process(before)
        self.assertEqual(set(before), set(after))
        for name, tensor in before.items():
            self.assertTrue(same_bits(tensor, after[name]), name)

    def check_cast_fp8(self, config: Path) -> None:
        convert("random", "--config", config, "--dtype", "bf16", "--output", self.dir / "plain")
        convert("cast-fp8", "--input-bf16-hf-path", self.dir / "plain", "--output-fp8-hf-path", self.dir / "cast")
        before, after = load(self.dir / "plain"), load(self.dir / "cast")
        scales = {name for name in after if name.endswith("_scale_inv")}
        self.assertGreater(len(scales), 10)
        for name, tensor in before.items():
            if name + "_scale_inv" not in scales:
                self.assertTrue(same_bits(tensor, after[name]), name)
                continue
            codes, scale = deepseek_rule(tensor)
            self.assertTrue(same_bits(scale, after[name + "_scale_inv"]), name)
            self.assertTrue(same_bits(codes, after[name]), name)

    def test_cast_bf16_is_compressed_tensors_dequantizer(self) -> None:
        self.check_cast_bf16(CONFIGS / "toy_v3.json")

    def test_cast_bf16_with_576_rows(self) -> None:
        config = self.small_model("16B.json")
        self.check_cast_bf16(config)
        self.assertEqual(list(load(self.dir / "bf16")["model.layers.0.self_attn.kv_a_proj_with_mqa.weight"].shape), [576, 2048])

    def test_cast_fp8_is_deepseeks_rule(self) -> None:
        self.check_cast_fp8(CONFIGS / "toy_v3.json")

    def test_cast_fp8_with_576_rows(self) -> None:
        self.check_cast_fp8(self.small_model("16B.json"))

    def test_cast_fp8_of_odd_weights_of_every_dtype(self) -> None:
        """Every finite bf16 and f16, f32 over its range, one element, row and column, blocks of zeros and of tiny numbers."""
        torch.manual_seed(0)
        bits = torch.arange(-32768, 32768).to(torch.int16).view(256, 256)
        tensors: Tensors = {"every_bf16": bits.view(torch.bfloat16), "every_f16": bits.view(torch.float16)}
        tensors = {name: torch.where(tensor.isfinite(), tensor, torch.zeros_like(tensor)) for name, tensor in tensors.items()}
        tensors["f32"] = torch.randn(300, 500) * torch.exp(torch.randn(300, 500) * 10)
        tensors["one"] = torch.full((1, 1), -0.3, dtype=torch.bfloat16)
        tensors["row"] = torch.randn(1, 1000).bfloat16()
        tensors["column"] = torch.randn(1000, 1).half()
        tensors["zeros"] = torch.cat([torch.zeros(200, 200), -torch.zeros(56, 200)]).bfloat16()
        tensors["tiny"] = (torch.randn(256, 256) * 1e-38).bfloat16()
        folder = self.dir / "odd"
        folder.mkdir()
        save_file({name + ".weight": tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
        (self.dir / "list").write_text("".join(f"{name}.weight\n" for name in tensors))
        convert(
            "cast-fp8",
            "--input-bf16-hf-path",
            folder,
            "--output-fp8-hf-path",
            self.dir / "cast",
            "--weights-list",
            self.dir / "list",
        )
        after = load(self.dir / "cast")
        for name, tensor in tensors.items():
            codes, scale = deepseek_rule(tensor)
            self.assertTrue(same_bits(scale, after[name + ".weight_scale_inv"]), name)
            self.assertTrue(same_bits(codes, after[name + ".weight"]), name)

    def test_safetensors_opens_shards(self) -> None:
        fp8 = self.random_fp8(CONFIGS / "toy_v3.json")
        convert(
            "shard",
            "--hf-ckpt-path",
            fp8,
            "--save-path",
            self.dir / "mp2",
            "--n-experts",
            16,
            "--model-parallel",
            2,
            "--requantize",
        )
        for rank in range(2):
            with safe_open(self.dir / "mp2" / f"model{rank}-mp2.safetensors", "pt") as file:
                names = list(file.keys())
                self.assertEqual(list(file.get_tensor("embed.weight").shape), [256, 320])
            self.assertIn(f"layers.1.ffn.experts.{rank * 8}.w1.scale", names)
            self.assertNotIn(f"layers.1.ffn.experts.{(1 - rank) * 8}.w1.scale", names)


def main() -> None:
    global TOOL
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool", required=True)
    arguments, rest = parser.parse_known_args()
    TOOL = str(Path(arguments.tool).resolve())
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
