# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A block-scaled FP8 matmul in Triton, written to be compared with: what one gets on Hopper without leaving Python.

d[m, n] = sum over K blocks of 128 of scale_a[block, m] * scale_b[n / 128, block] * (a . b), promoted to f32 per block as our
kernels do; a persistent grid would not help it, Triton's own software pipelining does the loads.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl


@triton.jit
def _kernel(a, scale_a, b, scale_b, d, m, n, k, padded_m, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
            GROUP: tl.constexpr):  # fmt: skip
    """One BLOCK_M x BLOCK_N tile of d; BLOCK_N divides 128, so that a tile has one scale of b per K block."""
    tiles_m, tiles_n = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    # Groups of rows of tiles are walked column by column, which keeps a wave's operands in L2.
    index = tl.program_id(0)
    group = index // (GROUP * tiles_n)
    first = group * GROUP
    height = min(tiles_m - first, GROUP)
    inside = index % (GROUP * tiles_n)
    tile_m, tile_n = first + inside % height, inside // height
    rows = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, 128)
    # Rows beyond the edge read the last one and are not stored.
    row = tl.minimum(rows, m - 1)
    column = tl.minimum(columns, n - 1)
    at_a = a + row[:, None].to(tl.int64) * k + inner[None, :]
    at_b = b + column[None, :].to(tl.int64) * k + inner[:, None]
    at_scale_b = scale_b + tile_n * BLOCK_N // 128 * tl.cdiv(k, 128)
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for block in range(tl.cdiv(k, 128)):
        valid = inner < k - block * 128
        x = tl.load(at_a, mask=valid[None, :], other=0.0)
        y = tl.load(at_b, mask=valid[:, None], other=0.0)
        by_row = tl.load(scale_a + block * padded_m + row)
        by_block = tl.load(at_scale_b + block)
        total += tl.dot(x, y) * (by_row * by_block)[:, None]
        at_a += 128
        at_b += 128
    at_d = d + rows[:, None].to(tl.int64) * n + columns[None, :]
    tl.store(at_d, total.to(d.dtype.element_ty), mask=(rows[:, None] < m) & (columns[None, :] < n))


def configs(m: int) -> list[dict[str, Any]]:
    """What is tried for this M; the fastest counts."""
    names = ("BLOCK_M", "BLOCK_N", "num_warps", "num_stages")
    if m <= 16:
        tried = [(16, 32, 4, 6), (16, 64, 4, 5), (16, 128, 4, 4)]
    elif m <= 64:
        tried = [(64, 32, 4, 5), (64, 64, 4, 4), (64, 128, 4, 4)]
    else:
        tried = [(64, 128, 4, 4), (128, 128, 4, 3), (128, 128, 8, 4)]
    return [{"GROUP": 8, **dict(zip(names, values))} for values in tried]


def multiply(a: torch.Tensor, scale_a: torch.Tensor, b: torch.Tensor, scale_b: torch.Tensor, d: torch.Tensor,
             config: dict[str, Any]) -> None:  # fmt: skip
    """a [M, K], scale_a [ceil(K/128), Mpad], b [N, K], scale_b [ceil(N/128), ceil(K/128)], d [M, N]: our kernel's own layouts."""
    (m, k), n = a.shape, b.shape[0]
    grid = (triton.cdiv(m, config["BLOCK_M"]) * triton.cdiv(n, config["BLOCK_N"]),)
    _kernel[grid](a, scale_a, b, scale_b, d, m, n, k, scale_a.shape[1], **config)
