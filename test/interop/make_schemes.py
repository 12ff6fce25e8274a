#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes test/tools/quant-convert/golden: one small linear layer in every scheme, packed and dequantized by the library that defines it.

    python3 -m venv V && V/bin/pip install torch==2.13.0 compressed-tensors==0.20.0 safetensors==0.8.0 numpy setuptools wheel
    BUILD_CUDA_EXT=0 V/bin/pip install --no-deps --no-build-isolation auto-gptq==0.7.1 autoawq==0.2.9
    V/bin/python test/interop/make_schemes.py

A folder of each case holds config.json, model.safetensors with `layer.*`, and expected.safetensors: `weight`, as the library
dequantizes it, in the type that it returns. README.md there says which library that is: where none exists that runs on a CPU (DeepSeek-V4,
SGLang's blockwise_int8, GPTQ v2, groups that end short) the formula of the format, in torch.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import sysconfig
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.entrypoints.convert.converters.fp8block_dequantizer import FP8BlockDequantizer
from compressed_tensors.quantization import QuantizationScheme
from safetensors.torch import save_file

GOLDEN = Path(__file__).resolve().parents[1] / "tools" / "quant-convert" / "golden"
LAYER = "model.layers.0.mlp.up_proj"

Tensors = dict[str, torch.Tensor]
Case = tuple[dict[str, Any], Tensors, torch.Tensor, str]


def weight(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns) * torch.exp(torch.randn(rows, 1))


def random_scales(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Not those that a quantizer would choose: what a file means is what its bytes say."""
    return (torch.rand(*shape) * 0.02 + 0.001).to(dtype)


# --- compressed-tensors


def args(bits: int, kind: str, strategy: str, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": True, "dynamic": False, **more}


PER_TOKEN_INT = args(8, "int", "token", dynamic=True)
PER_TOKEN_FP8 = args(8, "float", "token", dynamic=True)


def config(format_: str, weights: dict[str, Any], inputs: dict[str, Any] | None) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "output_activations": None}
    return {"quant_method": "compressed-tensors", "format": format_, "quantization_status": "compressed",
            "config_groups": {"group_0": group}, "ignore": ["lm_head"], "kv_cache_scheme": None}  # fmt: skip


def compressed(
    format_: str,
    weights: dict[str, Any],
    inputs: dict[str, Any] | None,
    plain: torch.Tensor,
    scale: torch.Tensor,
    dtype: torch.dtype | None = None,
    **more: torch.Tensor,
) -> Case:
    """Packed and unpacked by compressed-tensors' own compressor."""
    quantization = config(format_, weights, inputs)
    scheme = QuantizationScheme(targets=["Linear"], weights=weights, input_activations=inputs)
    compressor = BaseCompressor.get_value_from_registry(format_)
    packed = compressor.compress({"weight": plain.to(dtype or scale.dtype), "weight_scale": scale, **more}, scheme)
    expected = compressor.decompress(dict(packed), scheme)["weight"]
    return quantization, packed, expected, "compressed-tensors 0.20.0"


def input_static() -> Case:
    static = args(8, "float", "tensor")
    case = compressed("float-quantized", args(8, "float", "tensor"), static, weight(20, 50), random_scales(1))
    case[1]["input_scale"] = torch.tensor([0.5], dtype=torch.bfloat16)
    return case


def asymmetric(rows: int, columns: int, group: int, bits: int = 4) -> Case:
    groups = columns // group
    zeros = torch.randint(-(1 << (bits - 1)), 1 << (bits - 1), (rows, groups), dtype=torch.int8)
    shared = args(bits, "int", "group", group_size=group) if group < columns else args(bits, "int", "channel")
    weights = shared | {"symmetric": False}
    return compressed("pack-quantized", weights, None, weight(rows, columns), random_scales(rows, groups), weight_zero_point=zeros)


def nvfp4() -> Case:
    scales = (torch.rand(20, 6) * 400 + 1).to(torch.float8_e4m3fn)
    inputs = args(4, "float", "tensor_group", group_size=16, dynamic="local")
    weights = args(4, "float", "tensor_group", group_size=16, scale_dtype="torch.float8_e4m3fn")
    case = compressed("nvfp4-pack-quantized", weights, inputs, weight(20, 96), scales.to(torch.bfloat16), torch.bfloat16,
                      weight_global_scale=torch.tensor([1234.5]))  # fmt: skip
    case[1]["input_global_scale"] = torch.tensor([7.0])
    return case


def powers(*shape: int) -> torch.Tensor:
    return 2.0 ** torch.randint(-9, 3, shape).to(torch.bfloat16)


def short_groups() -> Case:
    """compressed-tensors refuses a K that the group size does not divide; its packer does not."""
    codes = torch.randint(-8, 8, (20, 76), dtype=torch.int8)
    scales = random_scales(20, 3)
    packed = {"weight_packed": pack_to_int32(codes, 4), "weight_scale": scales, "weight_shape": torch.tensor([20, 76])}
    expected = codes.to(torch.bfloat16) * scales.repeat_interleave(32, 1)[:, :76]
    quantization = config("pack-quantized", args(4, "int", "group", group_size=32), None)
    return quantization, packed, expected, "compressed-tensors' packer, the formula"


# --- DeepSeek and SGLang


def spread(scales: torch.Tensor, block: tuple[int, int], shape: torch.Size) -> torch.Tensor:
    return scales.repeat_interleave(block[0], 0)[: shape[0]].repeat_interleave(block[1], 1)[:, : shape[1]]


def deepseek(dtype: torch.dtype, **more: Any) -> Case:
    """Blocks of 8x32 over 20x80: ragged on both sides."""
    block, plain = (8, 32), weight(20, 80)
    scales = random_scales(3, 3, dtype=torch.float32)
    if more.get("scale_fmt"):
        scales = 2.0 ** torch.floor(torch.log2(scales))
    tensors = {"weight": (plain / spread(scales, block, plain.shape)).clamp(-448, 448).to(dtype), "weight_scale_inv": scales}
    quantization = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": list(block), **more}
    if dtype == torch.float8_e4m3fn:
        converter = FP8BlockDequantizer(targets=["layer"], weight_block_size=block)
        expected = converter.process({f"layer.{name}": tensor.clone() for name, tensor in tensors.items()})["layer.weight"]
        return quantization, tensors, expected, "compressed-tensors 0.20.0's FP8BlockDequantizer"
    expected = tensors["weight"].float() * spread(scales, block, plain.shape)
    return quantization, tensors, expected, "the formula"


def deepseek_v4() -> Case:
    block, plain = (8, 32), weight(20, 80)
    scales = powers(3, 3).float()
    tensors = {"weight": (plain / spread(scales, block, plain.shape)).clamp(-448, 448).to(torch.float8_e4m3fn),
               "scale": scales.to(torch.float8_e8m0fnu)}  # fmt: skip
    quantization = {"quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0", "weight_block_size": list(block)}
    return quantization, tensors, tensors["weight"].float() * spread(scales, block, plain.shape), "the formula"


def deepseek_v4_experts() -> Case:
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    codes, scales = torch.randint(0, 16, (20, 96), dtype=torch.uint8), powers(20, 3).float()
    packed = codes[:, ::2] | codes[:, 1::2] << 4
    quantization = {"quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0", "weight_block_size": [128, 128]}
    expected = values[codes.int()] * scales.repeat_interleave(32, 1)
    return quantization, {"weight": packed.view(torch.int8), "scale": scales.to(torch.float8_e8m0fnu)}, expected, "the formula"


def blockwise_int8() -> Case:
    block = (8, 32)
    codes, scales = torch.randint(-128, 128, (20, 80), dtype=torch.int8), random_scales(3, 3, dtype=torch.float32)
    quantization = {"quant_method": "blockwise_int8", "activation_scheme": "dynamic", "weight_block_size": list(block)}
    expected = codes.float() * spread(scales, block, codes.shape)
    return quantization, {"weight": codes, "weight_scale_inv": scales}, expected, "the formula"


# --- GPTQ and AWQ


def load(package: str, path: str, **stubs: Any) -> Any:
    """One file of a package whose __init__ asks for more than it needs."""
    root = Path(sysconfig.get_path("purelib")) / package
    sys.modules.setdefault(package, types.ModuleType(package)).__path__ = [str(root)]
    for name, members in stubs.items():
        sys.modules[name.replace("__", ".")] = module = types.ModuleType(name)
        module.__dict__.update(members)
    file = importlib.util.spec_from_file_location("loaded_" + Path(path).stem, root / path)
    module = importlib.util.module_from_spec(file)
    file.loader.exec_module(module)
    return module


def gptq(group: int, act_order: bool, symmetric: bool, version: str = "gptq") -> Case:
    """pack() takes multiples of 32."""
    conv1d = types.SimpleNamespace(Conv1D=type("Conv1D", (), {}))
    quant = load("auto_gptq", "nn_modules/qlinear/qlinear_cuda.py", transformers={"pytorch_utils": conv1d}).QuantLinear
    inputs, outputs = 96, 32
    size = inputs if group == -1 else group
    groups = -(-inputs // size)
    layer = quant(4, group, inputs, outputs, bias=False)
    scales = random_scales(outputs, groups, dtype=torch.float16).float()
    zeros = torch.full((outputs, groups), 8) if symmetric else torch.randint(1, 16, (outputs, groups))
    index = torch.arange(inputs, dtype=torch.int32) // size
    if act_order:
        index = index[torch.randperm(inputs)]
    linear = torch.nn.Linear(inputs, outputs, bias=False, dtype=torch.float16)
    codes = torch.randint(0, 16, (outputs, inputs))
    linear.weight.data = (scales[:, index.long()] * (codes - zeros[:, index.long()])).half()
    layer.pack(linear, scales, zeros.float(), index)
    expected = layer(torch.eye(inputs, dtype=torch.float16)).t().contiguous()
    tensors = {name: getattr(layer, name) for name in ("qweight", "qzeros", "scales", "g_idx")}
    source = "AutoGPTQ 0.7.1's QuantLinear"
    if version == "gptq_v2":  # the same zeros, stored as they are: no nibble is 15, so none carries
        tensors["qzeros"] = tensors["qzeros"] + 0x11111111
        source += ", its zero points without the -1"
    quantization = {"quant_method": "gptq", "bits": 4, "group_size": group, "desc_act": act_order, "sym": symmetric,
                    "checkpoint_format": version}  # fmt: skip
    return quantization, tensors, expected, source


def awq() -> Case:
    packing = load("awq", "utils/packing_utils.py")
    helpers = {"try_import": lambda name: (None, ""), "get_best_device": lambda: "cpu"}
    stubs = {"awq__utils": {"__path__": []}, "awq__utils__module": helpers, "awq__utils__utils": helpers,
             "awq__utils__packing_utils": vars(packing)}  # fmt: skip
    gemm = load("awq", "modules/linear/gemm.py", **stubs).WQLinear_GEMM
    inputs, outputs, group = 96, 32, 32
    scales = random_scales(outputs, inputs // group, dtype=torch.float16)
    zeros = torch.randint(0, 16, (outputs, inputs // group))
    codes = torch.randint(0, 16, (outputs, inputs))
    linear = torch.nn.Linear(inputs, outputs, bias=False, dtype=torch.float32)
    linear.weight.data = (codes - zeros.repeat_interleave(group, 1)) * scales.float().repeat_interleave(group, 1)
    layer = gemm.from_linear(linear, 4, group, scales=scales.float().t().contiguous(), zeros=zeros.t().contiguous())
    tensors = {name: getattr(layer, name) for name in ("qweight", "qzeros", "scales")}
    expected = packing.dequantize_gemm(layer.qweight, layer.qzeros, layer.scales, 4, group).t().contiguous()
    quantization = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}
    return quantization, tensors, expected, "AutoAWQ 0.2.9's WQLinear_GEMM and dequantize_gemm"


def packed(weights: dict[str, Any], inputs: dict[str, Any] | None, rows: int, columns: int, groups: int) -> Case:
    return compressed("pack-quantized", weights, inputs, weight(rows, columns), random_scales(rows, groups))


MX = {"scale_dtype": "torch.uint8"}
GROUP4, GROUP8 = args(4, "int", "group", group_size=32), args(8, "int", "group", group_size=32)
GROUP_FP8 = args(8, "float", "group", group_size=32, dynamic=True)

CASES: dict[str, Callable[[], Case]] = {
    "deepseek-fp8": lambda: deepseek(torch.float8_e4m3fn, fmt="e4m3"),
    "deepseek-fp8-ue8m0": lambda: deepseek(torch.float8_e4m3fn, fmt="e4m3", scale_fmt="ue8m0"),
    "deepseek-fp8-e5m2": lambda: deepseek(torch.float8_e5m2, fmt="e5m2"),
    "deepseek-v4-fp8": deepseek_v4,
    "deepseek-v4-mxfp4": deepseek_v4_experts,
    "ct-fp8-block": lambda: compressed("float-quantized", args(8, "float", "block", block_structure=[8, 32]), GROUP_FP8,
                                       weight(20, 80), random_scales(3, 3, dtype=torch.float32)),
    "ct-fp8-channel": lambda: compressed("float-quantized", args(8, "float", "channel"), PER_TOKEN_FP8,
                                         weight(20, 50), random_scales(20, 1)),
    "ct-fp8-tensor": input_static,
    "ct-fp8-tensor-dynamic": lambda: compressed("float-quantized", args(8, "float", "tensor"), PER_TOKEN_FP8, weight(20, 50),
                                                random_scales(1)),
    "ct-w8a8": lambda: compressed("int-quantized", args(8, "int", "channel"), PER_TOKEN_INT, weight(20, 50), random_scales(20, 1)),
    "ct-w8a16": lambda: packed(args(8, "int", "channel"), None, 20, 50, 1),
    "ct-w8a16-group": lambda: packed(GROUP8, None, 20, 96, 3),
    "ct-w4a16": lambda: packed(args(4, "int", "group", group_size=64), None, 20, 192, 3),
    "ct-w4a16-channel": lambda: packed(args(4, "int", "channel"), None, 20, 50, 1),
    "ct-w4a16-short": short_groups,
    "ct-w4a16-asymmetric": lambda: asymmetric(20, 192, 64),
    "ct-w4a16-asymmetric-channel": lambda: asymmetric(20, 56, 56),
    "ct-w8a16-asymmetric": lambda: asymmetric(20, 96, 32, bits=8),
    "ct-w4a8": lambda: packed(GROUP4, PER_TOKEN_INT, 20, 96, 3),
    "ct-w4afp8": lambda: packed(GROUP4, PER_TOKEN_FP8, 20, 96, 3),
    "ct-mxfp4": lambda: compressed("mxfp4-pack-quantized", args(4, "float", "group", group_size=32, **MX),
                                   args(4, "float", "group", group_size=32, dynamic=True, **MX), weight(20, 96), powers(20, 3)),
    "ct-mxfp8": lambda: compressed("mxfp8-quantized", args(8, "float", "group", group_size=32, **MX), GROUP_FP8 | MX,
                                   weight(20, 96), powers(20, 3)),
    "ct-nvfp4": nvfp4,
    "gptq-w4": lambda: gptq(32, act_order=False, symmetric=True),
    "gptq-w4-asymmetric": lambda: gptq(32, act_order=False, symmetric=False),
    "gptq-w4-act-order": lambda: gptq(32, act_order=True, symmetric=False),
    "gptq-w4-row": lambda: gptq(-1, act_order=False, symmetric=False),
    "gptq-w4-short": lambda: gptq(40, act_order=False, symmetric=False),
    "gptq-v2-w4": lambda: gptq(32, act_order=False, symmetric=True, version="gptq_v2"),
    "awq-w4": awq,
    "blockwise-int8": blockwise_int8,
}  # fmt: skip


def main() -> None:
    lines = []
    for name, make in CASES.items():
        torch.manual_seed(sum(name.encode()))
        quantization, tensors, expected, source = make()
        folder = GOLDEN / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"quantization_config": quantization}, indent=1) + "\n")
        stored = {f"{LAYER}.{key}": tensor.detach().contiguous() for key, tensor in tensors.items()}
        save_file(stored, folder / "model.safetensors", {"format": "pt"})
        save_file({"weight": expected.detach().contiguous()}, folder / "expected.safetensors", {"format": "pt"})
        kind = str(expected.dtype).removeprefix("torch.")
        lines.append(f"| {name} | {expected.shape[0]}x{expected.shape[1]} | {kind} | {source} |\n")
    head = "# One linear layer in every scheme\n\nMade by test/interop/make_schemes.py. `expected.safetensors` holds what the "
    head += "library dequantizes.\n\n"
    (GOLDEN / "README.md").write_text(head + "| case | weight | dequantized to | by |\n|---|---|---|---|\n" + "".join(lines))


if __name__ == "__main__":
    main()
