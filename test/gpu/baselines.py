# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The other implementations of one product: cuBLASLt through torch._scaled_mm, Triton, DeepGEMM.

A contender makes, from the plain inputs, a callable that computes once; it may refuse with Unavailable.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from problems import random_e4m3, random_scales

Launch = Callable[[], Any]


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


def torch_scaled_mm(inputs: Inputs) -> tuple[str, Launch]:
    """Block scales 1x128 and 128x128. cuBLASLt wants N in full blocks: b is padded, at most by 11 % (576 rows)."""
    (m, k), n = inputs.a.shape, inputs.b.shape[0]
    padded_n = -(-n // 128) * 128
    b = torch.zeros(padded_n, k, dtype=torch.float8_e4m3fn, device=inputs.b.device)
    b.view(torch.uint8)[:n] = inputs.b.view(torch.uint8)
    scale_a = inputs.scale_a[:, :m].contiguous().t()
    note = f"N padded to {padded_n}" if padded_n != n else ""
    blocks = inputs.scale_b.shape[1]
    # torch changed its mind about the stride of scale_b: rows of K/128 scales, or of that rounded up to 4.
    errors = []
    for row in dict.fromkeys((blocks, -(-blocks // 4) * 4)):
        scale_b = torch.zeros(padded_n // 128, row, device=b.device)
        scale_b[:, :blocks] = inputs.scale_b
        scale_b = scale_b[:, :blocks].t()

        def launch(scale_b: torch.Tensor = scale_b) -> Any:
            return torch._scaled_mm(inputs.a, b.t(), scale_a=scale_a, scale_b=scale_b, out_dtype=torch.bfloat16)

        try:
            launch()
            return note, launch
        except (RuntimeError, ValueError) as error:
            errors.append(str(error).splitlines()[0])
    raise Unavailable(errors[0])


def triton_matmul(inputs: Inputs) -> list[tuple[str, Launch]]:
    """Every config for this M; the caller keeps the fastest."""
    try:
        import triton_fp8
    except ImportError as error:
        raise Unavailable(str(error)) from error
    launches = []
    for config in triton_fp8.configs(inputs.a.shape[0]):
        name = f"{config['BLOCK_M']}x{config['BLOCK_N']}, {config['num_warps']} warps, {config['num_stages']} stages"

        def launch(config: dict[str, Any] = config) -> None:
            triton_fp8.multiply(inputs.a, inputs.scale_a, inputs.b, inputs.scale_b, inputs.d, config)

        launches.append((name, launch))
    return launches


def load_deepgemm(path: str | None) -> Any:
    """The module at `path` (its checkout or site-packages), or an installed one if `path` is empty; None if there is none."""
    if path:
        sys.path.insert(0, str(Path(path).resolve()))
    try:
        import deep_gemm  # type: ignore[import-not-found]
    except ImportError as error:
        if path:
            raise Unavailable(f"--deepgemm={path}: {error}") from error
        return None
    return deep_gemm


def deepgemm(module: Any, inputs: Inputs) -> tuple[str, Launch]:
    """fp8_gemm_nt, or its name in the first releases."""
    m = inputs.a.shape[0]
    scale_a = inputs.scale_a[:, :m].t()  # M-major with a TMA-aligned stride, as DeepGEMM wants it
    function = getattr(module, "fp8_gemm_nt", None) or getattr(module, "gemm_fp8_fp8_bf16_nt", None)
    if function is None:
        raise Unavailable("this deep_gemm has no fp8_gemm_nt")

    def launch() -> None:
        function((inputs.a, scale_a), (inputs.b, inputs.scale_b), inputs.d)

    return "", launch
