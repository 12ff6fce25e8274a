#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times torch._scaled_mm on the shapes of the recipes in a directory: torch_baseline.py DIRECTORY > baseline.json

Block scales (1x128 and 128x128) where this torch has them, else one scale per tensor, which is less work than ours; the JSON says
which. Same method as launch.cpp: a CUDA graph of launches that rotate through operand sets larger than L2, median of 21.
"""
import glob
import json
import statistics
import sys

import torch

TIMED_M = (1, 64, 128, 4096)
MIN_WEIGHT_BYTES = 1 << 19


def random_fp8(rows, columns):
    return (torch.randn(rows, columns, device="cuda") * 100).clamp(-448, 448).to(torch.float8_e4m3fn)


def scales(m, n, k, scaling):
    if scaling == "per tensor":
        return torch.ones((), device="cuda"), torch.ones((), device="cuda")
    by_token = torch.rand(k // 128, m, device="cuda").t()  # outer dimension contiguous, as _scaled_mm wants it
    by_block = torch.rand(n // 128, k // 128, device="cuda").t()
    return by_token, by_block


def operand_set(m, n, k, scaling):
    return random_fp8(m, k), random_fp8(n, k).t(), *scales(m, n, k, scaling)


def multiply(a, b, scale_a, scale_b):
    return torch._scaled_mm(a, b, scale_a=scale_a, scale_b=scale_b, out_dtype=torch.bfloat16)


def seconds_per_launch(m, n, k, scaling):
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    count = max(2, min(256, 4 * l2 // (m * k + n * k + 2 * m * n) + 1))
    sets = [operand_set(m, n, k, scaling) for _ in range(count)]
    launches = max(count, 8)
    multiply(*sets[0])
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(launches):
            multiply(*sets[i % count])
    samples = []
    for _ in range(24):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        samples.append(start.elapsed_time(end) * 1e-3 / launches)
    return statistics.median(samples[3:])


def measure(m, n, k):
    for scaling in ("1x128, 128x128", "per tensor"):
        if scaling != "per tensor" and (n % 128 or k % 128):
            continue
        try:
            return {"M": m, "N": n, "K": k, "scaling": scaling, "seconds": seconds_per_launch(m, n, k, scaling)}
        except (RuntimeError, ValueError) as error:
            print(f"torch._scaled_mm {m} x {n} x {k}, {scaling}: {str(error).splitlines()[0]}", file=sys.stderr)
    return None


def main():
    shapes = set()
    for path in glob.glob(f"{sys.argv[1]}/sm90_fp8_gemm*.json"):
        with open(path) as file:
            config = json.load(file)["config"]
        if config["n"] * config["k"] >= MIN_WEIGHT_BYTES:
            shapes.add((config["n"], config["k"]))
    rows = [measure(m, n, k) for n, k in sorted(shapes) for m in TIMED_M]
    json.dump([row for row in rows if row], sys.stdout, indent=2)


main()
