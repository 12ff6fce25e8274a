# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes small checkpoints in the layouts of other quantization schemes, from one in bf16 or FP8. NumPy alone.

The layouts are those of compressed-tensors 0.20 and SGLang as they write them (weights, scales, names, config.json). The quantizers are plain
(amax of the block): what a checkpoint means is what its bytes say, and checkpoint.py reads those on its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from checkpoint import Checkpoint, to_bf16, write_safetensors
from fp8 import E4M3_MAX, ceil_to_power_of_two, encode_e4m3

Tensors = dict[str, tuple[str, np.ndarray]]


def block_amax(weight: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """The largest magnitude of each block, the last ones ragged."""
    rows, columns = weight.shape
    padded = np.zeros((-(-rows // block[0]) * block[0], -(-columns // block[1]) * block[1]))
    padded[:rows, :columns] = np.abs(weight)
    return padded.reshape(padded.shape[0] // block[0], block[0], -1, block[1]).max(axis=(1, 3))


def spread(scales: np.ndarray, block: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """A scale for each element."""
    return np.repeat(np.repeat(scales, block[0], 0)[: shape[0]], block[1], 1)[:, : shape[1]]


def e5m2(values: np.ndarray) -> np.ndarray:
    """Values in range -> codes, truncated: which code is stored does not matter here."""
    return (values.astype(np.float16).view(np.uint16) >> 8).astype(np.uint8)


def pack_words(codes: np.ndarray, bits: int) -> np.ndarray:
    """Signed codes [N, K] -> I32 [N, ceil(K bits / 32)], offset by 2^(bits-1), the lowest bits first."""
    per_word = 32 // bits
    padded = np.zeros((codes.shape[0], -(-codes.shape[1] // per_word) * per_word), np.uint32)
    padded[:, : codes.shape[1]] = (codes + (1 << (bits - 1))).astype(np.uint32)
    words = padded.reshape(codes.shape[0], -1, per_word) << np.arange(0, 32, bits, dtype=np.uint32)
    return np.bitwise_or.reduce(words, axis=2).view(np.int32)


@dataclass
class Scheme:
    """How a linear weight is stored. A block of 0 rows or columns spans the weight."""

    quantization: dict[str, Any]
    block: tuple[int, int]
    largest: float  # code
    encode: Callable[[np.ndarray], tuple[str, np.ndarray]]
    scale_dtype: str = "F32"  # F32, BF16 or U8 (ue8m0)
    scale_name: str = "weight_scale"
    data_name: str = "weight"

    def tensors(self, module: str, weight: np.ndarray) -> Tensors:
        block = (self.block[0] or weight.shape[0], self.block[1] or weight.shape[1])
        scales = np.maximum(block_amax(weight, block), 1e-12) / self.largest
        if self.scale_dtype == "U8":
            scales = ceil_to_power_of_two(scales)
            stored = (np.log2(scales) + 127).astype(np.uint8)
        elif self.scale_dtype == "BF16":
            stored = to_bf16(scales * 1.01)  # rounding must not push a code beyond the largest
            scales = (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        else:
            stored = scales.astype(np.float32)
            scales = stored.astype(np.float64)
        codes = self.encode(weight / spread(scales, block, weight.shape))
        if self.block == (0, 0):
            stored = stored.reshape(1)
        result = {f"{module}.{self.data_name}": codes, f"{module}.{self.scale_name}": (self.scale_dtype, stored)}
        if not (self.quantization.get("config_groups", {}).get("group_0", {}).get("input_activations") or {"dynamic": True})["dynamic"]:
            result[f"{module}.input_scale"] = ("BF16", to_bf16(np.ones(1)))
        if self.data_name == "weight_packed":
            result[f"{module}.weight_shape"] = ("I64", np.array(weight.shape))
        return result


def fp8(values: np.ndarray) -> tuple[str, np.ndarray]:
    return "F8_E4M3", encode_e4m3(np.clip(values, -E4M3_MAX, E4M3_MAX))


def int8(values: np.ndarray) -> tuple[str, np.ndarray]:
    return "I8", np.clip(np.rint(values), -128, 127).astype(np.int8)


def packed(bits: int) -> Callable[[np.ndarray], tuple[str, np.ndarray]]:
    bound = 1 << (bits - 1)
    return lambda values: ("I32", pack_words(np.clip(np.rint(values), -bound, bound - 1).astype(np.int64), bits))


def group(format_: str, weights: dict[str, Any], inputs: dict[str, Any] | None, ignore: list[str]) -> dict[str, Any]:
    """A quantization_config of compressed-tensors."""
    one = {"format": format_, "input_activations": inputs, "output_activations": None, "targets": ["Linear"], "weights": weights}
    return {"quant_method": "compressed-tensors", "format": format_, "quantization_status": "compressed", "ignore": ignore,
            "config_groups": {"group_0": one}, "kv_cache_scheme": None}  # fmt: skip


def token(kind: str) -> dict[str, Any]:
    return {"num_bits": 8, "type": kind, "strategy": "token", "symmetric": True, "dynamic": True}


def weights(bits: int, kind: str, strategy: str, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": True, "dynamic": False, **more}


HEAD = ["lm_head"]
ONLY_EXPERTS = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"]

SCHEMES: dict[str, Scheme] = {
    "deepseek-fp8-e5m2": Scheme({"quant_method": "fp8", "fmt": "e5m2", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
                                (128, 128), 57344.0, lambda values: ("F8_E5M2", e5m2(values)), scale_name="weight_scale_inv"),
    "blockwise-int8": Scheme({"quant_method": "blockwise_int8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
                             (128, 128), 127.0, int8, scale_name="weight_scale_inv"),
    "ct-fp8-block": Scheme(group("float-quantized", weights(8, "float", "block", block_structure=[128, 128]),
                                 {**token("float"), "strategy": "group", "group_size": 128}, HEAD),
                           (128, 128), E4M3_MAX, fp8),
    "ct-fp8-channel": Scheme(group("float-quantized", weights(8, "float", "channel"), token("float"), HEAD),
                             (1, 0), E4M3_MAX, fp8, "BF16"),
    "ct-fp8-tensor": Scheme(group("float-quantized", weights(8, "float", "tensor"),
                                  {**token("float"), "strategy": "tensor", "dynamic": False}, HEAD),
                            (0, 0), E4M3_MAX, fp8, "BF16"),
    "ct-w8a8": Scheme(group("int-quantized", weights(8, "int", "channel"), token("int"), HEAD), (1, 0), 127.0, int8, "BF16"),
    "ct-w8a16": Scheme(group("pack-quantized", weights(8, "int", "channel"), None, HEAD),
                       (1, 0), 127.5, packed(8), "BF16", data_name="weight_packed"),
    "ct-w4a16-group32": Scheme(group("pack-quantized", weights(4, "int", "group", group_size=32), None, HEAD),
                               (1, 32), 7.5, packed(4), "BF16", data_name="weight_packed"),
    "ct-w4a16-group128-ragged": Scheme(group("pack-quantized", weights(4, "int", "group", group_size=128), None, HEAD),
                                       (1, 128), 7.5, packed(4), "BF16", data_name="weight_packed"),
    "ct-w4a16-experts": Scheme(group("pack-quantized", weights(4, "int", "group", group_size=32), None, ONLY_EXPERTS),
                               (1, 32), 7.5, packed(4), "BF16", data_name="weight_packed"),
    "ct-mxfp8": Scheme(group("mxfp8-quantized", weights(8, "float", "group", group_size=32, scale_dtype="torch.uint8"),
                             {**token("float"), "strategy": "group", "group_size": 32}, HEAD),
                       (1, 32), E4M3_MAX, fp8, "U8"),
}  # fmt: skip

#: modules that every scheme leaves wide
WIDE = ("embed_tokens", "lm_head", "mlp.gate", "norm", "eh_proj", "head")


def is_quantized(module: str, scheme: str) -> bool:
    if "_proj" not in module.split(".")[-1] or module.endswith(WIDE):
        return False
    return scheme != "ct-w4a16-experts" or ".experts." in module


def quantize(source: Path, target: Path, name: str) -> int:
    """Writes the checkpoint `source`, in bf16 or FP8, in the scheme; returns how many weights were quantized."""
    scheme, plain, tensors, count = SCHEMES[name], Checkpoint(source), {}, 0
    target.mkdir()
    for key in plain.names():
        if key.endswith("_scale_inv"):
            continue
        module = key.removesuffix(".weight")
        if module != key and is_quantized(module, name):
            tensors |= scheme.tensors(module, plain.tensor(key))
            count += 1
        elif plain.is_fp8(key):
            tensors[key] = ("BF16", to_bf16(plain.tensor(key)))
        else:
            tensors[key] = plain.stored(key)
    write_safetensors(target / "model.safetensors", tensors, {"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "quantization_config": scheme.quantization}, indent=2))
    for other in source.glob("generation_config.json"):
        shutil.copy(other, target)
    return count
