# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times launches on cold caches: a CUDA graph of launches that rotate through operand sets larger than L2, median of replays.

Contenders take turns, so that a clock that drifts drifts for all of them.
"""

from __future__ import annotations

import functools
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

SAMPLES, WARM_UPS = 15, 2
#: A graph lasts about as long as this by the roofline: its launch and the events around it, some microseconds, must not count.
GRAPH_SECONDS, MIN_LAUNCHES, MAX_LAUNCHES = 2e-3, 8, 512
#: How often the operand sets of a rotation exceed L2, and how many there are at most.
L2_MULTIPLE, MAX_SETS = 4, 256
#: For the peaks: bytes of a copy, and M, N and K of a product.
PEAK_BYTES, PEAK_SIDE = 2 << 30, 8192


def rotation(set_bytes: int, l2_bytes: int) -> int:
    """How many operand sets make every launch find its own out of L2."""
    return max(2, min(MAX_SETS, L2_MULTIPLE * l2_bytes // max(1, set_bytes) + 1))


def launches_for(floor_seconds: float, sets: int) -> int:
    """How many launches a graph makes: whole rounds through the sets."""
    wanted = max(MIN_LAUNCHES, min(MAX_LAUNCHES, round(GRAPH_SECONDS / (floor_seconds + 2e-6))))
    return -(-wanted // sets) * sets


class CaptureFailed(Exception):
    """Launches that cannot be captured. Torch's allocator takes the capture for going on: the process is of no more use."""


@functools.cache
def capture_stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()


class Graph:
    """A captured graph that makes `count` launches, each in its turn (without a count: each once)."""

    def __init__(self, launches: list[Callable[[], Any]], count: int = 0) -> None:
        # They own the memory that the captured launches use.
        self.launches = launches
        self.count = count or len(launches)
        self.samples: list[float] = []
        # Outside of the capture, but on its stream: compilation, handles, workspaces.
        torch.cuda.synchronize()
        with torch.cuda.stream(capture_stream()):
            launches[0]()
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        self._capture()

    def _capture(self) -> None:
        before = torch.cuda.current_stream()
        # What a collection would free could be another graph: no call for a time of capture.
        gc.disable()
        try:
            with torch.cuda.graph(self.graph, stream=capture_stream()):
                for index in range(self.count):
                    self.launches[index % len(self.launches)]()
        except Exception as error:
            torch.cuda.set_stream(before)
            raise CaptureFailed(f"no capture: {str(error).splitlines()[0]}") from error
        finally:
            gc.enable()

    def sample(self) -> None:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        self.graph.replay()
        end.record()
        end.synchronize()
        self.samples.append(start.elapsed_time(end) * 1e-3 / self.count)

    def run(self) -> None:
        self.graph.replay()
        torch.cuda.synchronize()

    def under_load(self, query: Callable[[], Any], seconds: float = 0.1) -> Any:
        """What `query` answers while the GPU has been at these launches for about half of `seconds`."""
        for _ in range(max(1, int(seconds / (self.seconds * self.count)))):
            self.graph.replay()
        time.sleep(seconds / 2)
        answer = query()
        torch.cuda.synchronize()
        return answer

    @property
    def seconds(self) -> float:
        return statistics.median(self.samples[WARM_UPS:])

    @property
    def spread(self) -> float:
        """(90th - 10th percentile) / median."""
        ordered = sorted(self.samples[WARM_UPS:])
        return (ordered[-1 - len(ordered) // 10] - ordered[len(ordered) // 10]) / self.seconds


def measure(graphs: list[Graph], samples: int = SAMPLES) -> None:
    for turn in range(WARM_UPS + samples):
        # To and fro: nobody always follows the same one.
        for graph in graphs if turn % 2 else reversed(graphs):
            graph.sample()


def bandwidths(device: str) -> tuple[float, float]:
    """Bytes per second of a copy, read and written counted, and of the better of copy and read."""
    size = PEAK_BYTES
    source, target = (torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2))
    source.random_()
    words = source.view(torch.int32)
    copy, read = Graph([lambda: target.copy_(source)], 4), Graph([lambda: torch.amax(words)], 4)
    measure([copy, read], 5)
    return 2 * size / copy.seconds, max(2 * size / copy.seconds, size / read.seconds)


def dense_fp8_flops(device: str) -> float:
    """Operations per second of cuBLASLt with one scale per tensor and its fast accumulation, on random data."""
    side = PEAK_SIDE
    a, b = ((torch.randn(side, side, device=device) * 100).clamp(-448, 448).to(torch.float8_e4m3fn) for _ in range(2))
    one = torch.ones((), device=device)

    def product() -> torch.Tensor:
        return torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True)

    dense = Graph([product], 4)
    measure([dense], 5)
    return 2.0 * side**3 / dense.seconds


def peaks(device: str) -> dict[str, float]:
    """What this GPU reaches; the FP8 product is left out where torch cannot do it."""
    copy, read = bandwidths(device)
    found = {"copy_bytes_per_second": copy, "read_bytes_per_second": read}
    try:
        found["fp8_flops"] = dense_fp8_flops(device)
    except (RuntimeError, AttributeError, ValueError) as error:
        print(f"*** no measured peak of FP8: {str(error).splitlines()[0]} ***")
    return found
