# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes small checkpoints in the layouts of other quantization schemes, from one in bf16 or FP8. NumPy alone.

The layouts are those of compressed-tensors 0.20 and SGLang as they write them (weights, scales, names, config.json). The quantizers are plain
(amax of the block): what a checkpoint means is what its bytes say, and checkpoint.py reads those on its own.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from checkpoint import E2M1, Checkpoint, to_bf16, write_safetensors
from fp8 import E4M3, E4M3_MAX, ceil_to_power_of_two, encode_e4m3

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


def column_order(module: str, columns: int, kind: str) -> np.ndarray:
    """The columns in the order in which they are quantized: "" as they stand, "own" each layer's own, "inputs" the same for layers that
    read the same, as GPTQ gives it."""
    if kind == "inputs":
        module = module.replace("up_proj", "gate_proj").replace("kv_a_proj_with_mqa", "q_a_proj")
    return np.random.default_rng(zlib.crc32(module.encode())).permutation(columns) if kind else np.arange(columns)


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
    symmetric: bool = True
    global_scale: float = 0  # NVFP4's, by which its E4M3 scales are divided; 0: none
    order: str = ""  # of columns, see column_order

    def tensors(self, module: str, weight: np.ndarray) -> Tensors:
        block = (self.block[0] or weight.shape[0], self.block[1] or weight.shape[1])
        if not self.symmetric:
            return self.asymmetric(module, weight, block)
        order = column_order(module, weight.shape[1], self.order)
        weight, places = weight[:, order], np.argsort(order)
        scales = np.maximum(block_amax(weight, block), 1e-12) / self.largest
        if self.global_scale:
            stored = encode_e4m3(np.minimum(scales * self.global_scale, E4M3_MAX))
            scales = np.maximum(E4M3[stored], 2.0**-9) / self.global_scale
            stored = encode_e4m3(scales * self.global_scale)
        elif self.scale_dtype in ("U8", "F8_E8M0"):
            scales = ceil_to_power_of_two(scales)
            stored = (np.log2(scales) + 127).astype(np.uint8)
        elif self.scale_dtype == "BF16":
            stored = to_bf16(scales * 1.01)  # rounding must not push a code beyond the largest
            scales = (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        else:
            stored = scales.astype(np.float32)
            scales = stored.astype(np.float64)
        codes = self.encode((weight / spread(scales, block, weight.shape))[:, places])
        if self.block == (0, 0):
            stored = stored.reshape(1)
        result = {f"{module}.{self.data_name}": codes, f"{module}.{self.scale_name}": (self.scale_dtype, stored)}
        if not (self.quantization.get("config_groups", {}).get("group_0", {}).get("input_activations") or {"dynamic": True})["dynamic"]:
            result[f"{module}.input_scale"] = ("BF16", to_bf16(np.ones(1)))
        if self.global_scale:
            result[f"{module}.weight_global_scale"] = ("F32", np.array([self.global_scale], np.float32))
            result[f"{module}.input_global_scale"] = ("F32", np.ones(1, np.float32))
        elif self.data_name == "weight_packed" and self.scale_dtype != "U8":
            result[f"{module}.weight_shape"] = ("I64", np.array(weight.shape))
        if self.order:
            result[f"{module}.weight_g_idx"] = ("I32", places // block[1])
        return result

    def asymmetric(self, module: str, weight: np.ndarray, block: tuple[int, int]) -> Tensors:
        """compressed-tensors: signed codes of `bits` and signed zero points, these packed down the rows."""
        bits = self.quantization["config_groups"]["group_0"]["weights"]["num_bits"]
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        codes, zeros, scales = affine(weight, block[1], low, high, to_bf16_values)
        return {
            f"{module}.weight_packed": ("I32", pack_words(codes, bits)),
            f"{module}.weight_scale": ("BF16", to_bf16(scales)),
            f"{module}.weight_zero_point": ("I32", pack_words(zeros.T, bits).T),
            f"{module}.weight_shape": ("I64", np.array(weight.shape)),
        }


def to_bf16_values(values: np.ndarray) -> np.ndarray:
    return (to_bf16(values).astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def affine(
    weight: np.ndarray, group: int, low: int, high: int, rounded: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes [N, K], zero points and scales [N, G] of groups along K: code = clip(rint(w / s) + z). `rounded` is the scale as stored."""
    columns = weight.shape[1]
    starts = np.arange(0, columns, group)
    smallest = np.minimum(np.minimum.reduceat(weight, starts, axis=1), 0)
    largest = np.maximum(np.maximum.reduceat(weight, starts, axis=1), 0)
    scales = rounded(np.maximum(largest - smallest, 1e-6) / (high - low))
    zeros = np.clip(np.rint(low - smallest / scales), low, high)
    spread = lambda values: np.repeat(values, group, axis=1)[:, :columns]  # noqa: E731
    codes = np.clip(np.rint(weight / spread(scales)) + spread(zeros), low, high)
    return codes.astype(np.int64), zeros.astype(np.int64), scales


def words_of(codes: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Unsigned codes [N, K] -> I32 [N, K / 8], number i of eight in nibble order[i]."""
    shifts = 4 * np.array(order, np.uint32)
    return np.bitwise_or.reduce(codes.astype(np.uint32).reshape(codes.shape[0], -1, 8) << shifts, axis=2).view(np.int32)


@dataclass
class Transposed:
    """GPTQ and AWQ: codes 0 .. 15 with zero points, inputs in rows."""

    quantization: dict[str, Any]
    group: int
    order: str = ""

    def tensors(self, module: str, weight: np.ndarray) -> Tensors:
        group = self.group if self.group > 0 else weight.shape[1]
        order = column_order(module, weight.shape[1], self.order)
        places = np.argsort(order)
        # GPTQ v1 cannot write a zero point of 0.
        codes, zeros, scales = affine(weight[:, order], group, 0, 15, lambda values: values.astype(np.float16).astype(np.float64))
        method, less = self.quantization["quant_method"], int(self.quantization.get("checkpoint_format") == "gptq")
        zeros, codes = np.maximum(zeros, less), codes[:, places]
        nibbles = [0, 4, 1, 5, 2, 6, 3, 7] if method == "awq" else range(8)
        result: Tensors = {
            f"{module}.qweight": ("I32", words_of(codes.T, nibbles) if method == "awq" else words_of(codes, nibbles).T),
            f"{module}.qzeros": ("I32", words_of(zeros.T - less, nibbles)),
            f"{module}.scales": ("F16", scales.T.astype(np.float16)),
        }
        if method == "gptq":
            result[f"{module}.g_idx"] = ("I32", places // group)
        return result


@dataclass
class Mixed:
    """Several config groups, each with its own format."""

    quantization: dict[str, Any]
    parts: dict[str, Scheme]  # part of a module's name -> how it is stored

    def tensors(self, module: str, weight: np.ndarray) -> Tensors:
        return next(scheme for part, scheme in self.parts.items() if part in module).tensors(module, weight)


def fp8(values: np.ndarray) -> tuple[str, np.ndarray]:
    return "F8_E4M3", encode_e4m3(np.clip(values, -E4M3_MAX, E4M3_MAX))


def fp4_as_i8(values: np.ndarray) -> tuple[str, np.ndarray]:
    return "I8", fp4(values)[1].view(np.int8)


def int8(values: np.ndarray) -> tuple[str, np.ndarray]:
    return "I8", np.clip(np.rint(values), -128, 127).astype(np.int8)


def fp4(values: np.ndarray) -> tuple[str, np.ndarray]:
    """The nearest E2M1 value, two codes in a byte, the first in its lower half."""
    codes = np.abs(np.clip(values, -6, 6)[:, :, None] - E2M1).argmin(axis=2).astype(np.uint8)
    return "U8", codes[:, ::2] | codes[:, 1::2] << 4


def int4(values: np.ndarray) -> tuple[str, np.ndarray]:
    return "I8", np.clip(np.rint(values), -8, 7).astype(np.int8)


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
    return {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": True, "dynamic": False} | more


HEAD = ["lm_head"]
ONLY_EXPERTS = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"]

SCHEMES: dict[str, Scheme | Transposed | Mixed] = {
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
    "ct-fp8-tensor-dynamic": Scheme(group("float-quantized", weights(8, "float", "tensor"), token("float"), HEAD),
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
    "ct-mxfp4": Scheme(group("mxfp4-pack-quantized", weights(4, "float", "group", group_size=32, scale_dtype="torch.uint8"), None, HEAD),
                       (1, 32), 6.0, fp4, "U8", data_name="weight_packed"),
    "ct-nvfp4": Scheme(group("nvfp4-pack-quantized", weights(4, "float", "tensor_group", group_size=16,
                                                             scale_dtype="torch.float8_e4m3fn"),
                             {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "symmetric": True,
                              "dynamic": "local"}, HEAD),
                       (1, 16), 6.0, fp4, "F8_E4M3", data_name="weight_packed", global_scale=1234.5),
    "ct-w4a16-asymmetric": Scheme(group("pack-quantized", weights(4, "int", "group", group_size=32, symmetric=False), None, HEAD),
                                  (1, 32), 15.0, packed(4), "BF16", data_name="weight_packed", symmetric=False),
    "ct-w4a16-asymmetric-channel": Scheme(group("pack-quantized", weights(4, "int", "channel", symmetric=False), None, HEAD),
                                          (1, 0), 15.0, packed(4), "BF16", data_name="weight_packed", symmetric=False),
    "ct-w8a16-asymmetric": Scheme(group("pack-quantized", weights(8, "int", "group", group_size=64, symmetric=False), None, HEAD),
                                  (1, 64), 255.0, packed(8), "BF16", data_name="weight_packed", symmetric=False),
    "ct-w4a8": Scheme(group("pack-quantized", weights(4, "int", "group", group_size=64), token("int"), HEAD),
                      (1, 64), 7.5, packed(4), "BF16", data_name="weight_packed"),
    "ct-w4a8-bytes": Scheme(group("int-quantized", weights(4, "int", "group", group_size=32), token("int"), HEAD),
                            (1, 32), 7.5, int4, "BF16"),
    "ct-w4afp8": Scheme(group("pack-quantized", weights(4, "int", "group", group_size=128), token("float"), HEAD),
                        (1, 128), 7.5, packed(4), "BF16", data_name="weight_packed"),
    "gptq": Transposed({"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False, "lm_head": False,
                        "checkpoint_format": "gptq"}, 32),
    "gptq-act-order": Transposed({"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": False,
                                  "checkpoint_format": "gptq"}, 32, order="inputs"),
    "ct-w4a16-act-order": Scheme(group("pack-quantized", weights(4, "int", "group", group_size=128, actorder="group"), None, HEAD),
                                 (1, 128), 7.5, packed(4), "BF16", data_name="weight_packed", order="own"),
    "gptq-v2-channel": Transposed({"quant_method": "gptq", "bits": 4, "group_size": -1, "desc_act": False, "sym": False,
                                   "checkpoint_format": "gptq_v2"}, -1),
    "awq": Transposed({"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm",
                       "modules_to_not_convert": ["lm_head"]}, 64),
}  # fmt: skip


def mixed() -> Mixed:
    """Routed experts INT4, attention INT8, the other layers FP8 in blocks."""
    parts = {
        ".experts.": ("re:.*mlp\\.experts\\.\\d+\\..*", SCHEMES["ct-w4a16-group32"]),
        "self_attn": ("re:.*self_attn.*", SCHEMES["ct-w8a8"]),
        "": ("Linear", SCHEMES["ct-fp8-block"]),
    }
    groups = {}
    for number, (target, scheme) in enumerate(parts.values()):
        groups[f"group_{number}"] = {**scheme.quantization["config_groups"]["group_0"], "targets": [target]}
    quantization = {**SCHEMES["ct-w8a8"].quantization, "format": "mixed-precision", "config_groups": groups}
    return Mixed(quantization, {part: scheme for part, (_, scheme) in parts.items()})


SCHEMES["ct-mixed"] = mixed()

V4 = {"quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0", "activation_scheme": "dynamic", "weight_block_size": [32, 32]}
SCHEMES["deepseek-v4"] = Mixed(
    V4,
    {
        ".experts.": Scheme(V4, (1, 32), 6.0, fp4_as_i8, "F8_E8M0", "scale"),
        "": Scheme(V4, (32, 32), E4M3_MAX, fp8, "F8_E8M0", "scale"),
    },
)

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
