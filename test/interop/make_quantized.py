#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes test/tools/quant-convert/golden_quantize: one weight, quantized to the nearest in every scheme by the libraries' own code.

    V/bin/python test/interop/make_quantized.py        # V as in make_schemes.py

plain.safetensors holds `weight` (bf16, with a group of zeros, exact ties and an outlier); NAME.safetensors what it becomes. Scales come
from compressed-tensors' calculate_qparams and generate_gparam, or AutoGPTQ's Quantizer, in f32, and are rounded to the type in which
they are stored before the weight is divided by them; zero points are theirs for the rounded scale. Codes and their packing come from
compressed-tensors' compressors and AutoGPTQ's QuantLinear.pack, but for v2's zero points. DeepSeek's layout is DeepSeek's formula.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils.helpers import calculate_qparams, generate_gparam
from make_schemes import Tensors, args, load
from safetensors.torch import save_file

GOLDEN = Path(__file__).resolve().parents[1] / "tools" / "quant-convert" / "golden_quantize"
ROWS, COLUMNS = 64, 384


def plain() -> torch.Tensor:
    weight = torch.randn(ROWS, COLUMNS) * torch.exp(torch.randn(ROWS, 1)) * 0.05
    weight[3, :128] = 0
    weight[5, 130] = 40 * weight.abs().mean()
    weight[7] = torch.arange(COLUMNS) % 31 * 0.5 - 7.5  # with /7.5 every other one is a tie
    weight[9] = weight[9].abs()
    weight[11] = -weight[11].abs()
    weight[13] *= 1e-6
    return weight.to(torch.bfloat16)


def blocks(weight: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    """[block rows, block columns, elements]: neither is ragged here."""
    rows, columns = (side or whole for side, whole in zip(block, weight.shape, strict=True))
    parts = weight.view(weight.shape[0] // rows, rows, weight.shape[1] // columns, columns)
    return parts.transpose(1, 2).flatten(2)


def compressed(format_: str, weights: dict[str, Any], block: tuple[int, int], scale_type: torch.dtype) -> Tensors:
    weight, quantization = plain().float(), QuantizationArgs(**weights)
    groups = blocks(weight, block)
    low, high = groups.amin(-1), groups.amax(-1)
    more = {}
    if weights["strategy"] == "tensor_group":
        more["weight_global_scale"] = generate_gparam(low.min().reshape(1), high.max().reshape(1))
    scale, _ = calculate_qparams(low, high, quantization, more.get("weight_global_scale"))
    scale = scale.to(scale_type)
    if not quantization.symmetric:
        steps, largest = scale.float(), 1 << (quantization.num_bits - 1)
        zero = (-largest - low.clamp(max=0) / steps).clamp(-largest, largest - 1).round()
        more["weight_zero_point"] = zero.to(torch.int8)
    wide = scale.float() if weights["strategy"] in ("tensor_group", "group") and quantization.type == "float" else scale
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    wide = wide.reshape(1) if block == (0, 0) else wide
    return BaseCompressor.get_value_from_registry(format_).compress({"weight": weight, "weight_scale": wide, **more}, scheme)


def deepseek() -> Tensors:
    weight = torch.nn.functional.pad(plain().float(), (0, 0, 0, 64))  # ragged: 64 rows of 128
    scale = blocks(weight, (128, 128)).abs().amax(-1) / 448
    scale = torch.where(scale == 0, 1.0, scale)
    codes = weight / scale.repeat_interleave(128, 0).repeat_interleave(128, 1)
    return {"weight": codes.clamp(-448, 448).to(torch.float8_e4m3fn)[:ROWS], "weight_scale_inv": scale}


def gptq(group: int, symmetric: bool, version: str) -> Tensors:
    quantizer = load("auto_gptq", "quantization/quantizer.py").Quantizer()
    conv1d = types.SimpleNamespace(Conv1D=type("Conv1D", (), {}))
    linear_class = load("auto_gptq", "nn_modules/qlinear/qlinear_cuda.py", transformers={"pytorch_utils": conv1d}).QuantLinear
    weight = plain().float()
    quantizer.configure(4, perchannel=True, sym=symmetric, mse=False)
    scales, zeros, dequantized = [], [], []
    for part in weight.split(group, 1):
        quantizer.find_params(part, weight=True)
        # Of values of one sign its symmetric scale is half of what they need: 2 amax / 15 then, too.
        wanted = torch.maximum(quantizer.scale, part.abs().amax(1, True) / 7.5) if symmetric else quantizer.scale
        scale = wanted.half().float()
        scale = torch.where(scale == 0, 2.0**-24, scale)
        zero = quantizer.zero if symmetric else (-part.amin(1, True).clamp(max=0) / scale).clamp(0, 15).round()
        isZeros = part.abs().amax(1, True) == 0
        zero = torch.where(isZeros, 8.0, zero)
        if version == "gptq" and not symmetric:  # a zero point of 0 has no form that all readers share
            refit = (zero == 0) & ~isZeros
            scale = torch.where(refit, ((part.amax(1, True) - part.amin(1, True).clamp(max=0)) / 14).half().float(), scale)
            zero = torch.where(refit, 1.0, zero)
        codes = (torch.round(part / scale) + zero).clamp(0, 15)
        scales, zeros, dequantized = [*scales, scale], [*zeros, zero], [*dequantized, scale * (codes - zero)]
    layer = linear_class(4, group, COLUMNS, ROWS, bias=False)
    linear = torch.nn.Linear(COLUMNS, ROWS, bias=False)
    linear.weight.data = torch.cat(dequantized, 1)
    layer.pack(linear, torch.cat(scales, 1), torch.cat(zeros, 1), torch.arange(COLUMNS, dtype=torch.int32) // group)
    tensors = {name: getattr(layer, name) for name in ("qweight", "qzeros", "scales", "g_idx")}
    tensors["scales"] = tensors["scales"].half()  # exact
    if version == "gptq_v2":  # AutoGPTQ's words are v1's, and a zero point of 0 spoils them
        columns = torch.cat(zeros, 1).t().long().view(-1, ROWS // 8, 8)
        tensors["qzeros"] = (columns << torch.arange(0, 32, 4)).sum(-1).to(torch.int32)
    return tensors


BF16, F32, U8, E4M3 = torch.bfloat16, torch.float32, {"scale_dtype": "torch.uint8"}, {"scale_dtype": "torch.float8_e4m3fn"}
ASYMMETRIC = {"symmetric": False}


def integers(bits: int, group: int, **more: Any) -> Tensors:
    weights = args(bits, "int", "group", group_size=group) if group else args(bits, "int", "channel")
    return compressed("pack-quantized", weights | more, (1, group), BF16)


CASES: dict[str, Callable[[], Tensors]] = {
    "w8a8": lambda: compressed("int-quantized", args(8, "int", "channel"), (1, 0), BF16),
    "w8a16": lambda: integers(8, 0),
    "w8a16-128-zero": lambda: integers(8, 128, **ASYMMETRIC),
    **{f"w4a16-{size}": lambda size=size: integers(4, size) for size in (32, 64, 128)},
    **{f"w4a16-{size}-zero": lambda size=size: integers(4, size, **ASYMMETRIC) for size in (32, 128)},
    "w4a16--1": lambda: integers(4, 0),
    "fp8-block": lambda: compressed("float-quantized", args(8, "float", "block", block_structure=[64, 128]), (64, 128), F32),
    "fp8-channel": lambda: compressed("float-quantized", args(8, "float", "channel"), (1, 0), BF16),
    "fp8-tensor": lambda: compressed("float-quantized", args(8, "float", "tensor"), (0, 0), BF16),
    "mxfp4": lambda: compressed("mxfp4-pack-quantized", args(4, "float", "group", group_size=32, **U8), (1, 32), F32),
    "mxfp8": lambda: compressed("mxfp8-quantized", args(8, "float", "group", group_size=32, **U8), (1, 32), F32),
    "nvfp4": lambda: compressed("nvfp4-pack-quantized", args(4, "float", "tensor_group", group_size=16, **E4M3), (1, 16), F32),
    "deepseek": deepseek,
    "gptq-128": lambda: gptq(128, True, "gptq"),
    "gptq-32-zero": lambda: gptq(32, False, "gptq"),
    "gptq_v2-128": lambda: gptq(128, True, "gptq_v2"),
    "gptq_v2-32-zero": lambda: gptq(32, False, "gptq_v2"),
}  # fmt: skip


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    torch.manual_seed(13)
    weight = plain()
    globals()["plain"] = lambda: weight.clone()
    save_file({"weight": weight}, GOLDEN / "plain.safetensors")
    for name, make in CASES.items():
        save_file({key: tensor.detach().contiguous() for key, tensor in make().items()}, GOLDEN / f"{name}.safetensors")


if __name__ == "__main__":
    main()
