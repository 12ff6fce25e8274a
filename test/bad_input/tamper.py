# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A small FP8 model made and compiled once, copies of it to be spoilt, and the tools that must refuse them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
from checkpoint import SafetensorsFile, write_safetensors  # noqa: E402

Tensors = dict[str, tuple[str, np.ndarray]]

#: Two layers, one of them of experts; ragged blocks. Small, so that it compiles in a second or two.
CONFIG: dict[str, Any] = {
    "model_type": "deepseek_v3", "hidden_act": "silu", "vocab_size": 64, "hidden_size": 160, "intermediate_size": 144,
    "moe_intermediate_size": 48, "num_hidden_layers": 2, "first_k_dense_replace": 1, "num_attention_heads": 2,
    "q_lora_rank": None, "kv_lora_rank": 48, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16,
    "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1,
    "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True, "routed_scaling_factor": 2.5,
    "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1,
    "torch_dtype": "bfloat16",
    "quantization_config": {
        "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128],
    },
}  # fmt: skip
VOCAB, CONTEXT = CONFIG["vocab_size"], CONFIG["max_position_embeddings"]
INDEX = "model.safetensors.index.json"

#: A weight of two rows of blocks, and its scales.
WEIGHT = "model.layers.0.mlp.down_proj.weight"
SCALE = WEIGHT + "_scale_inv"


class Context:
    """Set by prepare(): the binaries and the good model."""

    binaries = Path()
    folder = Path()

    @classmethod
    def checkpoint(cls) -> Path:
        return cls.folder / "good"

    @classmethod
    def module(cls) -> Path:
        return cls.folder / "good.qmod"


def call(tool: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [str(Context.binaries / tool), *map(str, arguments)]
    options = {"capture_output": True, "text": True, "timeout": 60, "stdin": subprocess.DEVNULL} | options
    return subprocess.run(command, **options)


def prepare(binaries: Path) -> None:
    """Makes the good model: one file of weights, and a module with AVX2 code only."""
    Context.binaries = binaries.resolve()
    Context.folder = Path(tempfile.mkdtemp(prefix="bad-input-"))
    (Context.folder / "config.json").write_text(json.dumps(CONFIG))
    config = Context.folder / "config.json"
    made = call("quant-convert", "random", "--config", config, "--output", Context.checkpoint(), "--seed", "7")
    if made.returncode == 0:
        # One file, without an index: most tests spoil that.
        shard = next(Context.checkpoint().glob("*.safetensors"))
        shard.rename(Context.checkpoint() / "model.safetensors")
        (Context.checkpoint() / INDEX).unlink()
        made = compile_model(Context.checkpoint(), Context.module())
    if made.returncode != 0:
        clean_up()
        raise SystemExit(f"the good model cannot be made: {made.stderr}")


def clean_up() -> None:
    shutil.rmtree(Context.folder, ignore_errors=True)


def compile_model(checkpoint: Path, module: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return call("quant-compile", checkpoint, "--host-isa", "avx2", "--kv-cache", "f32", "-o", module, **options)


def run_model(
    checkpoint: Path, *arguments: str | Path, module: Path | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    if "--tokens" not in arguments:
        arguments = ("--tokens", "1,2,3", "--max-new-tokens", "2", *arguments)
    return call("quant-run", module or Context.module(), "--weights", checkpoint, *arguments, **options)


def read_tensors(checkpoint: Path) -> Tensors:
    file = SafetensorsFile(checkpoint / "model.safetensors")
    return {name: (file.dtype(name), np.array(file.raw(name))) for name in file.header}


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON header of a safetensors file, and its data."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def safetensors_bytes(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


class BadInputTest(unittest.TestCase):
    """Gives each test a folder of its own and what it takes to say "this is refused"."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=Context.folder))
        self.copies = 0

    def copy(self) -> Path:
        """A fresh copy of the good checkpoint."""
        self.copies += 1
        return Path(shutil.copytree(Context.checkpoint(), self.folder / f"copy{self.copies}"))

    def spoilt(self, spoil: Callable[[Tensors], None]) -> Path:
        """A copy whose tensors `spoil` has changed."""
        copy = self.copy()
        tensors = read_tensors(copy)
        spoil(tensors)
        write_safetensors(copy / "model.safetensors", tensors, {"format": "pt"})
        return copy

    def sharded(self, names: tuple[str, str] = ("a.safetensors", "b.safetensors")) -> Path:
        """A copy in two shards with an index: every other tensor in each."""
        copy = self.copy()
        tensors = read_tensors(copy)
        (copy / "model.safetensors").unlink()
        weights: dict[str, str] = {}
        for number, name in enumerate(names):
            part = dict(list(tensors.items())[number::2])
            write_safetensors(copy / name, part, {"format": "pt"})
            weights |= dict.fromkeys(part, name)
        self.write_index(copy, weights)
        return copy

    def write_index(self, checkpoint: Path, weights: dict[str, Any]) -> None:
        (checkpoint / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weights}))

    def read_index(self, checkpoint: Path) -> dict[str, str]:
        return json.loads((checkpoint / INDEX).read_text())["weight_map"]

    def accepted(self, done: subprocess.CompletedProcess[str]) -> None:
        self.assertEqual(done.returncode, 0, f"{' '.join(done.args)}\n{done.stderr}")

    def refused(self, done: subprocess.CompletedProcess[str], *texts: str, code: int = 1) -> None:
        """It ended by itself, with that exit code, and says so in one line on stderr that has all of `texts`."""
        what = f"{' '.join(done.args)}: exit code {done.returncode}\n{done.stderr}"
        self.assertEqual(done.returncode, code, what)
        errors = [line for line in done.stderr.splitlines() if line.startswith(f"{Path(done.args[0]).name}: error: ")]
        self.assertEqual(len(errors), 1, what)
        for text in texts:
            self.assertIn(text, errors[0])

    def logits(self, checkpoint: Path, module: Path | None = None) -> np.ndarray:
        path = self.folder / "logits.safetensors"
        self.accepted(run_model(checkpoint, "--max-new-tokens", "0", "--tokens", "1,2,3", "--logits", path, module=module))
        return SafetensorsFile(path).raw("logits").astype(np.float64)
