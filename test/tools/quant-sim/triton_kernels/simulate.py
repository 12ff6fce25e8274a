#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs kernels of Triton's compiler in quant-sim and compares what they compute with NumPy; no GPU is needed.

    python3 -m venv venv && venv/bin/pip install triton numpy
    venv/bin/python test/tools/quant-sim/triton_kernels/simulate.py --bin build/bin [CASE ...]

Triton's kernels run on many H100s: what the simulator computes otherwise, or finds in them, is most likely its own fault.
Not part of the tests: the wheel is large, and another version of it makes other code.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "test" / "reference"))

import kernels
from checkpoint import SafetensorsFile, to_bf16, write_safetensors
from fp8 import E4M3, encode_e4m3


@dataclass(frozen=True)
class Element:
    """An element type: its names, its CUtensorMapDataType, and how values become what is stored."""

    triton: str
    mlir: str
    safetensors: str
    tensor_map: str
    bytes: int
    store: Callable[[np.ndarray], np.ndarray]
    load: Callable[[np.ndarray], np.ndarray]


def widen(codes: np.ndarray) -> np.ndarray:
    return (codes.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


F32 = Element("fp32", "f32", "F32", "FLOAT32", 4, lambda x: x.astype(np.float32), lambda x: x.astype(np.float64))
F16 = Element("fp16", "f16", "F16", "FLOAT16", 2, lambda x: x.astype(np.float16), lambda x: x.astype(np.float64))
BF16 = Element("bf16", "bf16", "BF16", "BFLOAT16", 2, to_bf16, widen)
E4M3FN = Element("fp8e4nv", "f8E4M3FN", "F8_E4M3", "UINT8", 1, encode_e4m3, lambda x: E4M3[x])
I32 = Element("i32", "i32", "I32", "INT32", 4, lambda x: x.astype(np.int32), lambda x: x)


@dataclass(frozen=True)
class Tensor:
    """An operand; `block`: the kernel gets it as a tensor descriptor of such boxes, else as a pointer."""

    element: Element
    shape: tuple[int, ...]
    block: tuple[int, int] | None = None
    written: bool = False
    #: Of an operand that a kernel adds to.
    zeroed: bool = False


Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One kernel for one shape. Integers and floats among the arguments are the kernel's scalars."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Tensor | int | float]
    #: From the values of the operands that are read, float64, to those that are written.
    reference: Callable[[Values], Values]
    constants: dict[str, int] = field(default_factory=dict)
    options: dict[str, int] = field(default_factory=dict)
    #: Of the largest value.
    tolerance: float = 1e-5

    def tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.arguments.items() if isinstance(value, Tensor)}


# ===---------------------------------------------------------------------=== #
# Compiling
# ===---------------------------------------------------------------------=== #


def type_of(argument: Tensor | int | float) -> str:
    """Triton's name of an argument's type."""
    if not isinstance(argument, Tensor):
        return "i32" if isinstance(argument, int) else "fp32"
    if argument.block is None:
        return "*" + argument.element.triton
    return f"tensordesc<{argument.element.triton}[{argument.block[0]},{argument.block[1]}]>"


def compile_case(case: Case) -> Any:
    signature = {name: type_of(value) for name, value in case.arguments.items()} | dict.fromkeys(case.constants, "constexpr")
    # Buffers are aligned, and so are rows whose length is a multiple of 16.
    aligned = {
        (at,): [["tt.divisibility", 16]]
        for at, value in enumerate(case.arguments.values())
        if (isinstance(value, Tensor) and value.block is None) or (isinstance(value, int) and value % 16 == 0)
    }
    source = ASTSource(case.kernel, signature, case.constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=case.options)


# ===---------------------------------------------------------------------=== #
# The launch recipe
# ===---------------------------------------------------------------------=== #


def scalar(value: int, bits: int) -> dict[str, Any]:
    return {"kind": f"i{bits}", "value": value}


def float_bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


def descriptor(operand: int, tensor: Tensor, meta: dict[str, Any]) -> list[dict[str, Any]]:
    """What a tensor descriptor is for the kernel: a tensor map of the boxes that Triton chose, then shape and strides."""
    rows, columns = tensor.shape
    swizzle = ("none", "32B", "64B", "128B")[meta["swizzle"]]
    map_parameter = {"kind": "tensor_map", "operand": operand, "data_type": tensor.element.tensor_map,
                     "dim": [columns, rows], "stride_bytes": [columns * tensor.element.bytes],
                     "box": list(reversed(meta["block_size"])), "swizzle": swizzle}  # fmt: skip
    return [map_parameter, scalar(rows, 32), scalar(columns, 32), scalar(columns, 64), scalar(1, 64)]


def recipe_of(case: Case, compiled: Any) -> dict[str, Any]:
    operands: list[dict[str, Any]] = []
    parameters: list[dict[str, Any]] = []
    metas = iter(compiled.metadata.tensordesc_meta)
    for name, value in case.arguments.items():
        if not isinstance(value, Tensor):
            parameters.append(scalar(value if isinstance(value, int) else float_bits(value), 32))
            continue
        access = "readwrite" if value.zeroed else "write" if value.written else "read"
        operands.append({"name": name, "dtype": value.element.mlir, "access": access, "shape": list(value.shape)})
        index = len(operands) - 1
        parameters += descriptor(index, value, next(metas)) if value.block else [{"kind": "pointer", "operand": index}]
    parameters += [scalar(0, 64), scalar(0, 64)]  # scratch in global memory, for the kernel and for a profiler: none
    metadata = compiled.metadata
    warps = int(compiled.asm["ptx"].split(".reqntid")[1].split()[0]) // 32
    return {"kernel": metadata.name, "block": [warps * 32, 1, 1], "cluster": [metadata.num_ctas, 1, 1], "grid": case.grid[0],
            "dynamic_shared_bytes": metadata.shared, "limits": {}, "operands": operands, "parameters": parameters}  # fmt: skip


# ===---------------------------------------------------------------------=== #
# Running
# ===---------------------------------------------------------------------=== #


def inputs_of(case: Case, random: np.random.Generator) -> Values:
    """What is stored in each operand that has a value before the launch."""
    inputs = {}
    for name, tensor in case.tensors().items():
        if tensor.zeroed:
            inputs[name] = tensor.element.store(np.zeros(tensor.shape))
        elif not tensor.written:
            whole = tensor.element is I32
            inputs[name] = tensor.element.store(
                random.integers(0, 256, tensor.shape) if whole else random.normal(size=tensor.shape)
            )
    return inputs


def blocks_of(case: Case, compiled: Any) -> list[int]:
    """The grid is of programs, and each is a cluster."""
    return [case.grid[0] * compiled.metadata.num_ctas, *case.grid[1:]]


def simulate(case: Case, compiled: Any, inputs: Values, binary: Path, folder: Path) -> tuple[Values, dict[str, Any]]:
    (folder / "kernel.ptx").write_text(compiled.asm["ptx"])
    (folder / "recipe.json").write_text(json.dumps(recipe_of(case, compiled)))
    tensors = case.tensors()
    write_safetensors(
        folder / "in.safetensors", {name: (tensors[name].element.safetensors, value) for name, value in inputs.items()}
    )
    command: list[str | Path] = [binary, folder / "kernel.ptx", "--recipe", folder / "recipe.json", "--json",
                                 "--out", folder / "out",
                                 "--grid", ",".join(map(str, blocks_of(case, compiled)))]  # fmt: skip
    for name in inputs:
        command += ["--arg", f"{name}={folder}/in.safetensors:{name}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout:
        raise RuntimeError(done.stderr.strip())
    written = (name for name, tensor in tensors.items() if tensor.written)
    outputs = {name: SafetensorsFile(folder / "out" / f"{name}.safetensors").raw(name) for name in written}
    return outputs, json.loads(done.stdout)


def run(case: Case, binary: Path) -> list[str]:
    """What is wrong: findings, and results that are not the reference's."""
    compiled = compile_case(case)
    inputs = inputs_of(case, np.random.default_rng(20))
    with tempfile.TemporaryDirectory(prefix="triton-") as folder:
        outputs, report = simulate(case, compiled, inputs, binary, Path(folder))
    wrong = [
        f"{finding['kind']}, line {finding['line']} ({finding['instruction']}): {finding['message']}"
        for finding in report["findings"]
    ]
    tensors = case.tensors()
    wanted = case.reference({name: tensors[name].element.load(value) for name, value in inputs.items()})
    for name, value in wanted.items():
        error = np.abs(tensors[name].element.load(outputs[name]) - value).max() / np.abs(value).max()
        print(f"  {name}: largest error {error:.1e} of the largest value; {report['instructions']} warp instructions")
        if not error <= case.tolerance:
            wrong.append(f"{name}: an error of {error:.1e} of the largest value, more than {case.tolerance}")
    return wrong


# ===---------------------------------------------------------------------=== #
# Cases
# ===---------------------------------------------------------------------=== #


def product(values: Values) -> Values:
    return {"d": values["a"] @ values["b"].T}


def block_scaled_product(values: Values) -> Values:
    a = values["a"] * np.repeat(values["scale_a"], 128, axis=1)
    b = values["b"] * np.repeat(np.repeat(values["scale_b"], 128, axis=0), 128, axis=1)
    return {"d": a @ b.T}


def softmax_reference(values: Values) -> Values:
    powers = np.exp(values["x"] - values["x"].max(axis=1, keepdims=True))
    return {"y": powers / powers.sum(axis=1, keepdims=True)}


def attention_reference(values: Values) -> Values:
    scores = values["q"] @ values["k"].T / np.sqrt(values["q"].shape[1])
    scores[np.triu_indices(len(scores), 1)] = -np.inf
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return {"o": powers / powers.sum(axis=1, keepdims=True) @ values["v"]}


def matmul_case(
    element: Element, m: int, n: int, k: int, tile: tuple[int, int, int], tolerance: float = 1e-5, **options: int
) -> Case:
    bm, bn, bk = tile
    arguments = {
        "a": Tensor(element, (m, k)),
        "b": Tensor(element, (n, k)),
        "d": Tensor(F32, (m, n), written=True),
        "m": m,
        "n": n,
        "k": k,
    }
    return Case(
        kernels.matmul, (-(-m // bm), -(-n // bn)), arguments, product, {"BM": bm, "BN": bn, "BK": bk}, options, tolerance
    )


def tma_case(
    element: Element, m: int, n: int, k: int, tile: tuple[int, int, int], specialize: bool = False, **options: int
) -> Case:
    bm, bn, bk = tile
    arguments = {"a": Tensor(element, (m, k), (bm, bk)), "b": Tensor(element, (n, k), (bn, bk)),
                 "d": Tensor(BF16, (m, n), (bm, bn), written=True), "k": k}  # fmt: skip
    constants = {"BM": bm, "BN": bn, "BK": bk, "SPECIALIZE": specialize}
    return Case(kernels.matmul_tma, (-(-m // bm), -(-n // bn)), arguments, product, constants, options, 4e-3)


def block_scaled_case(m: int, n: int, k: int, bm: int, bn: int) -> Case:
    arguments = {"a": Tensor(E4M3FN, (m, k), (bm, 128)), "scale_a": Tensor(F32, (m, k // 128)),
                 "b": Tensor(E4M3FN, (n, k), (bn, 128)), "scale_b": Tensor(F32, (n // 128, k // 128)),
                 "d": Tensor(BF16, (m, n), (bm, bn), written=True), "k": k}  # fmt: skip
    return Case(kernels.matmul_block_scaled, (m // bm, n // bn), arguments, block_scaled_product, {"BM": bm, "BN": bn},
                {"num_warps": 4, "num_stages": 3}, 4e-3)  # fmt: skip


def attention_case(length: int, width: int, bm: int, bn: int) -> Case:
    arguments = {name: Tensor(BF16, (length, width), (bm if name == "q" else bn, width)) for name in "qkv"}
    arguments |= {
        "o": Tensor(BF16, (length, width), (bm, width), written=True),
        "length": length,
        "scale": 1 / np.log(2) / np.sqrt(width),
    }
    constants = {"BM": bm, "BN": bn, "WIDTH": width}
    return Case(
        kernels.attention, (length // bm,), arguments, attention_reference, constants, {"num_warps": 4, "num_stages": 2}, 1e-2
    )


CASES = {
    "softmax": Case(kernels.softmax, (3,), {"x": Tensor(F32, (3, 1000)), "y": Tensor(F32, (3, 1000), written=True),
                                            "columns": 1000},
                    softmax_reference, {"WIDTH": 1024}),
    "sort": Case(kernels.sort_rows, (2,), {"x": Tensor(I32, (2, 512)), "y": Tensor(I32, (2, 512), written=True)},
                 lambda values: {"y": np.sort(values["x"], axis=1)}, {"WIDTH": 512}, tolerance=0),
    "histogram": Case(kernels.histogram, (4,), {"x": Tensor(I32, (1000,)), "count": 1000,
                                                "counts": Tensor(I32, (256,), written=True, zeroed=True)},
                      lambda values: {"counts": np.bincount(values["x"], minlength=256)}, {"WIDTH": 256}, tolerance=0),
    "matmul-f16": matmul_case(F16, 130, 80, 192, (64, 64, 64), num_warps=4, num_stages=3),
    "matmul-bf16-ragged-k": matmul_case(BF16, 64, 64, 100, (64, 64, 32), num_warps=4, num_stages=2),
    "matmul-e4m3": matmul_case(E4M3FN, 128, 128, 256, (128, 128, 64), num_warps=8, num_stages=4),
    "matmul-f32-as-tf32": matmul_case(F32, 64, 64, 64, (64, 64, 32), 2e-3, num_warps=4, num_stages=2),
    "tma-bf16": tma_case(BF16, 192, 128, 256, (64, 128, 64), num_warps=4, num_stages=3),
    "tma-e4m3": tma_case(E4M3FN, 200, 272, 384, (128, 128, 128), num_warps=8, num_stages=3),
    "tma-specialized": tma_case(BF16, 128, 128, 512, (64, 128, 64), specialize=True, num_warps=4, num_stages=3),
    "tma-cluster": tma_case(BF16, 256, 128, 256, (128, 128, 64), num_warps=4, num_stages=3, num_ctas=2),
    "block-scaled": block_scaled_case(128, 256, 512, 64, 128),
    "attention": attention_case(256, 64, 64, 64),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "bin", help="the build's bin directory")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(CASES):
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    failed = []
    for name in arguments.cases or CASES:
        start = time.monotonic()
        print(f"{name}:", flush=True)
        try:
            wrong = run(CASES[name], arguments.bin / "quant-sim")
        except Exception as error:  # one case's: the others still run
            wrong = [f"{type(error).__name__}: {error}"]
        print(
            "".join(f"  WRONG: {line}\n" for line in wrong[:5])
            + f"  {'failed' if wrong else 'right'}, {time.monotonic() - start:.1f} s"
        )
        failed += [name] * bool(wrong)
    print(f"Triton {triton.__version__}: {'failed: ' + ', '.join(failed) if failed else 'all right, no finding'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
