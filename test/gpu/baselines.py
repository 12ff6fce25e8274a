# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The other implementations of one product: cuBLASLt through torch._scaled_mm, Triton, DeepGEMM.

Each gives forms in which it can do the product: a remark, and what makes a launch from an operand set. The caller takes the
first of cuBLASLt's that runs and is right, and the fastest of Triton's.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from problems import random_e4m3, random_scales


class Unavailable(Exception):
    """This contender cannot do it here, and why."""


@dataclass
class Inputs:
    """One product's operands: a [M, K], scale_a [K/128, Mpad], b [N, K], scale_b [N/128, K/128], d bf16 [M, N]."""

    a: torch.Tensor
    scale_a: torch.Tensor
    b: torch.Tensor
    scale_b: torch.Tensor
    d: torch.Tensor

    @staticmethod
    def random(m: int, n: int, k: int, device: str) -> Inputs:
        blocks = -(-k // 128)
        return Inputs(random_e4m3(m, k, device), random_scales(blocks, -(-m // 4) * 4, device), random_e4m3(n, k, device),
                      random_scales(-(-n // 128), blocks, device),
                      torch.empty(m, n, dtype=torch.bfloat16, device=device))  # fmt: skip


#: A launch; it returns its result, or nothing where it writes Inputs.d.
Launch = Callable[[], Any]
#: A remark for the table, and what makes a launch.
Form = tuple[str, Callable[[Inputs], Launch]]


def padded_rows(x: torch.Tensor, rows: int) -> torch.Tensor:
    """x, with zeros behind it up to `rows`."""
    if x.shape[0] == rows:
        return x
    padded = torch.zeros(rows, x.shape[1], dtype=torch.uint8, device=x.device)
    padded[: x.shape[0]] = x.view(torch.uint8)
    return padded.view(x.dtype)


def scaled_mm(inputs: Inputs, padded_n: int, function: str) -> Launch:
    """Block scales 1x128 and 128x128, as cuBLAS's manual wants them ("Scaling factors layouts"): those of a M-major with M a
    multiple of 4, those of b K-major with ceil(K / 128) a multiple of 4, which torch._scaled_mm does not pad."""
    if inputs.scale_b.shape[1] % 4:
        raise Unavailable(f"K = {inputs.a.shape[1]} is no multiple of 512")
    a, b = padded_rows(inputs.a, inputs.scale_a.shape[1]), padded_rows(inputs.b, padded_n).t()
    scale_a, scale_b = inputs.scale_a.t(), inputs.scale_b.t()
    out = torch.empty(a.shape[0], padded_n, dtype=torch.bfloat16, device=a.device)
    if function == "_scaled_mm":
        return lambda: torch._scaled_mm(a, b, scale_a=scale_a, scale_b=scale_b, out_dtype=torch.bfloat16, out=out)
    scaled, kind = torch.nn.functional.scaled_mm, torch.nn.functional.ScalingType
    return lambda: scaled(a, b, scale_a, kind.BlockWise1x128, scale_b, kind.BlockWise128x128, output_dtype=torch.bfloat16)


def cublaslt_forms(m: int, n: int) -> list[Form]:
    """As it is, by the old and the new function of torch, then with N padded to whole blocks (at most by 11 %, of 576 rows)."""
    rows = f"M padded to {-(-m // 4) * 4}, " if m % 4 else ""
    forms: list[Form] = []
    for padded_n in dict.fromkeys((n, -(-n // 128) * 128)):
        columns = f"N padded to {padded_n}, " if padded_n != n else ""
        for function in ("_scaled_mm", "nn.functional.scaled_mm"):
            remark = (rows + columns).rstrip(", ") if function == "_scaled_mm" else f"{rows}{columns}by torch.{function}"
            forms.append((remark, functools.partial(scaled_mm, padded_n=padded_n, function=function)))
    return forms


def triton_forms(m: int) -> list[Form]:
    """Every config for this M."""
    try:
        import triton_fp8
    except ImportError as error:
        raise Unavailable(str(error)) from error

    def form(config: dict[str, Any]) -> Form:
        name = f"{config['BLOCK_M']}x{config['BLOCK_N']}, {config['num_warps']} warps, {config['num_stages']} stages"
        return name, lambda i: lambda: triton_fp8.multiply(i.a, i.scale_a, i.b, i.scale_b, i.d, config)

    return [form(config) for config in triton_fp8.configs(m)]


def load_deepgemm(path: str | None) -> Any:
    """The module at `path` (its checkout or site-packages), or an installed one if `path` is empty; None if there is none."""
    if path:
        sys.path.insert(0, str(Path(path).resolve()))
    try:
        import deep_gemm  # type: ignore[import-not-found]
    except Exception as error:  # noqa: BLE001 - it looks for a toolkit, loads libraries, asserts
        if path or not isinstance(error, ImportError):
            raise Unavailable(f"DeepGEMM: {type(error).__name__}: {error}") from error
        return None
    return deep_gemm


def deepgemm_form(module: Any, programmatic: bool) -> Form:
    """fp8_gemm_nt, or its name in the first releases. What its kernels' launches are, a switch says for the whole module."""
    if module is None:
        raise Unavailable("not installed (--deepgemm=PATH)")
    function = getattr(module, "fp8_gemm_nt", None) or getattr(module, "gemm_fp8_fp8_bf16_nt", None)
    switch = getattr(module, "set_pdl", None)
    if function is None:
        raise Unavailable("this deep_gemm has no fp8_gemm_nt")
    if programmatic and switch is None:
        raise Unavailable("this deep_gemm has no set_pdl")

    def make(inputs: Inputs) -> Launch:
        # M-major with a TMA-aligned stride: as DeepGEMM wants it, so that it launches nothing to transpose it.
        scale_a = inputs.scale_a[:, : inputs.a.shape[0]].t()

        def launch() -> None:
            if switch:
                switch(programmatic)
            function((inputs.a, scale_a), (inputs.b, inputs.scale_b), inputs.d)

        return launch

    return "", make
