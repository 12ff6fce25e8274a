# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels in Triton's language, whose compiler makes them for sm_90: each uses instructions of the GPU that others do not."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def softmax(x, y, columns, WIDTH: tl.constexpr):
    """y [rows, columns] f32: shuffles, then shared memory between the warps."""
    row = tl.program_id(0)
    at = tl.arange(0, WIDTH)
    values = tl.load(x + row * columns + at, mask=at < columns, other=-float("inf"))
    powers = tl.exp(values - tl.max(values, axis=0))
    tl.store(y + row * columns + at, powers / tl.sum(powers, axis=0), mask=at < columns)


@triton.jit
def sort_rows(x, y, WIDTH: tl.constexpr):
    """Each row of y [rows, WIDTH] i32 is that of x, sorted: exchanges in registers, by shuffles and through shared memory."""
    at = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    tl.store(y + at, tl.sort(tl.load(x + at)))


@triton.jit
def histogram(x, count, counts, WIDTH: tl.constexpr):
    """counts [256] i32: atomic additions to global memory, to places that blocks share."""
    at = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    tl.atomic_add(counts + tl.load(x + at, mask=at < count, other=0), 1, mask=at < count)


@triton.jit
def matmul(a, b, d, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """d [m, n] f32 = a [m, k] * b [n, k]^T through pointers: cp.async in stages, wgmma."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    depth = tl.arange(0, BK)
    sums = tl.zeros((BM, BN), tl.float32)
    for start in range(0, k, BK):
        inside = depth < k - start
        x = tl.load(a + rows[:, None] * k + (start + depth)[None, :], mask=(rows < m)[:, None] & inside[None, :], other=0.0)
        y = tl.load(b + columns[None, :] * k + (start + depth)[:, None], mask=(columns < n)[None, :] & inside[:, None], other=0.0)
        sums = tl.dot(x, y, sums)
    tl.store(d + rows[:, None] * n + columns[None, :], sums, mask=(rows < m)[:, None] & (columns < n)[None, :])


@triton.jit
def matmul_tma(a, b, d, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPECIALIZE: tl.constexpr):
    """d [m, n] bf16 = a [m, k] * b [n, k]^T through tensor maps: TMA with mbarriers, wgmma, a TMA store."""
    row, column = tl.program_id(0) * BM, tl.program_id(1) * BN
    sums = tl.zeros((BM, BN), tl.float32)
    for start in tl.range(0, k, BK, warp_specialize=SPECIALIZE):
        sums = tl.dot(a.load([row, start]), b.load([column, start]).T, sums)
    d.store([row, column], sums.to(tl.bfloat16))


@triton.jit
def matmul_block_scaled(a, scale_a, b, scale_b, d, k, BM: tl.constexpr, BN: tl.constexpr):
    """d [m, n] bf16 of e4m3 a [m, k], scales [m, k / 128], and b [n, k], scales [n / 128, k / 128]; promotion every 128 of K."""
    row, column = tl.program_id(0) * BM, tl.program_id(1) * BN
    groups = k // 128
    rows = row + tl.arange(0, BM)
    sums = tl.zeros((BM, BN), tl.float32)
    for group in range(groups):
        products = tl.dot(a.load([row, group * 128]), b.load([column, group * 128]).T)
        scale = tl.load(scale_a + rows * groups + group) * tl.load(scale_b + column // 128 * groups + group)
        sums += products * scale[:, None]
    d.store([row, column], sums.to(tl.bfloat16))


@triton.jit
def attention(q, k, v, o, length, scale, BM: tl.constexpr, BN: tl.constexpr, WIDTH: tl.constexpr):
    """o [length, WIDTH] bf16 of one causal head: wgmma with A from registers, exponentials, running maxima."""
    row = tl.program_id(0) * BM
    rows = row + tl.arange(0, BM)
    query = q.load([row, 0])
    maximum = tl.full((BM,), -float("inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    sums = tl.zeros((BM, WIDTH), tl.float32)
    for start in range(0, row + BM, BN):
        scores = tl.dot(query, k.load([start, 0]).T) * scale
        scores = tl.where(rows[:, None] >= (start + tl.arange(0, BN))[None, :], scores, -float("inf"))
        higher = tl.maximum(maximum, tl.max(scores, axis=1))
        powers, shrink = tl.exp2(scores - higher[:, None]), tl.exp2(maximum - higher)
        total = total * shrink + tl.sum(powers, axis=1)
        sums = tl.dot(powers.to(tl.bfloat16), v.load([start, 0]), sums * shrink[:, None])
        maximum = higher
    o.store([row, 0], (sums / total[:, None]).to(tl.bfloat16))
