# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times launches on cold caches: a CUDA graph of launches that rotate through operand sets larger than L2, median of replays.

Contenders take turns, so that a clock that drifts drifts for all of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

SAMPLES, WARM_UPS, MIN_LAUNCHES = 15, 2, 8
#: How often the operand sets of a rotation exceed L2, and how many there are at most.
L2_MULTIPLE, MAX_SETS = 4, 256


def rotation(set_bytes: int, l2_bytes: int) -> int:
    """How many operand sets make every launch find its own out of L2."""
    return max(2, min(MAX_SETS, L2_MULTIPLE * l2_bytes // max(1, set_bytes) + 1))


class Graph:
    """A captured graph that makes each launch once, and again from the first up to MIN_LAUNCHES."""

    def __init__(self, launches: list[Callable[[], Any]]) -> None:
        # They own the memory that the captured launches use.
        self.launches = launches
        self.count = max(len(launches), MIN_LAUNCHES)
        # Outside of the capture: compilation, handles, workspaces.
        launches[0]()
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for index in range(self.count):
                launches[index % len(launches)]()
        self.samples: list[float] = []

    def sample(self) -> None:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        self.graph.replay()
        end.record()
        end.synchronize()
        self.samples.append(start.elapsed_time(end) * 1e-3 / self.count)

    @property
    def seconds(self) -> float:
        return statistics.median(self.samples[WARM_UPS:])

    @property
    def spread(self) -> float:
        """(90th - 10th percentile) / median."""
        ordered = sorted(self.samples[WARM_UPS:])
        return (ordered[-1 - len(ordered) // 10] - ordered[len(ordered) // 10]) / self.seconds


def measure(graphs: list[Graph], samples: int = SAMPLES) -> None:
    for _ in range(WARM_UPS + samples):
        for graph in graphs:
            graph.sample()


def bandwidths() -> tuple[float, float]:
    """Bytes per second of a copy, read and written counted, and of the better of copy and read."""
    size = 2 << 30
    source, target = torch.empty(size, dtype=torch.uint8, device="cuda"), torch.empty(size, dtype=torch.uint8, device="cuda")
    source.random_()
    words = source.view(torch.int32)
    copy, read = Graph([lambda: target.copy_(source)]), Graph([lambda: torch.amax(words)])
    measure([copy, read], 5)
    return 2 * size / copy.seconds, max(2 * size / copy.seconds, size / read.seconds)


def dense_fp8_flops() -> float:
    """Operations per second of cuBLASLt with one scale per tensor, on random data."""
    side = 8192
    a, b = ((torch.randn(side, side, device="cuda") * 100).clamp(-448, 448).to(torch.float8_e4m3fn) for _ in range(2))
    one = torch.ones((), device="cuda")
    dense = Graph([lambda: torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)])
    measure([dense], 5)
    return 2.0 * side**3 / dense.seconds


def peaks() -> dict[str, float]:
    """What this GPU reaches."""
    copy, read = bandwidths()
    return {"copy_bytes_per_second": copy, "read_bytes_per_second": read, "fp8_flops": dense_fp8_flops()}
