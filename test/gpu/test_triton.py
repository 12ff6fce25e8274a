#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The Triton kernel that ours is compared with, in Triton's interpreter: it must compute the product. TRITON_INTERPRET=1."""

from __future__ import annotations

import torch

import triton_fp8
from baselines import Inputs
from problems import expand_scales


def main() -> None:
    torch.manual_seed(1)
    for m, n, k in ((7, 136, 300), (100, 256, 256), (1, 64, 128), (20, 200, 384)):
        inputs = Inputs.random(m, n, k, "cpu")
        a = inputs.a.float() * expand_scales(inputs.scale_a[:, :m].t(), m, k, (1, 128))
        b = inputs.b.float() * expand_scales(inputs.scale_b, n, k, (128, 128))
        wanted = a @ b.t()
        for config in triton_fp8.configs(m):
            inputs.d.fill_(float("nan"))
            triton_fp8.multiply(inputs.a, inputs.scale_a, inputs.b, inputs.scale_b, inputs.d, config)
            error = float(((inputs.d.float() - wanted).abs() - wanted.abs() / 128).max() / wanted.abs().mean())
            assert error <= 1e-4, f"{m} x {n} x {k}, {config}: off by {error} of the mean"
    print("test_triton: all right")


main()
