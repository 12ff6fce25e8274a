#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""benchmark.py and timing.py with the simulator as the GPU and the CPU's clock: each contender is called, each figure there.

    LD_LIBRARY_PATH=FOLDER_OF_THE_SIMULATED_LIBCUDA TRITON_INTERPRET=1 python3 test/gpu/test_timing.py KERNELS

KERNELS is what generate-gpu-kernels wrote. The figures mean nothing; run-simulated.sh starts this.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import torch

import baselines
import benchmark
import report
import timing
from context import Run
from driver import Driver
from nvml import Nvml
from problems import expand_scales
from run import Results
from simulated import copy_kernel

#: Registered memory must stay where it is.
KEPT: list[torch.Tensor] = []
SOURCE, KERNEL, QUANTIZE = "sm90_fp8_gemm_1d2d_n256_k144_bm128_bn128", "sm90_gemm_k144", "sm90_fp8_quantize_f32_k100_ue8m0"
DIFFERENT = 70


class CpuEvent:
    def __init__(self, enable_timing: bool) -> None:
        self.seconds = 0.0

    def record(self) -> None:
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: CpuEvent) -> float:
        return (end.seconds - self.seconds) * 1e3


class CpuGraph(timing.Graph):
    """A graph whose replay makes the launches."""

    def __init__(self, launches: list[Any], count: int = 0) -> None:
        super().__init__(launches, count)
        self.graph.replay = lambda: [launches[index % len(launches)]() for index in range(self.count)]


def without_cuda() -> None:
    """What timing.py asks of torch.cuda, and few launches."""
    cuda = torch.cuda
    cuda.Stream = cuda.current_stream = lambda: types.SimpleNamespace(cuda_stream=0)
    cuda.stream = cuda.graph = lambda *_, **__: contextlib.nullcontext()
    cuda.synchronize = cuda.set_stream = lambda *_: None
    cuda.CUDAGraph, cuda.Event = types.SimpleNamespace, CpuEvent
    timing.PEAK_BYTES, timing.PEAK_SIDE = 1 << 16, 128
    benchmark.Graph = timing.Graph = CpuGraph
    benchmark.TIMED_M, benchmark.rotation, benchmark.launches_for = (1, DIFFERENT), lambda *_: 2, lambda *_: 3
    benchmark.measure = lambda graphs, samples=3: timing.measure(graphs, 3)


def fake_deepgemm() -> types.SimpleNamespace:
    """What deep_gemm would compute, from the operands as it is given them; with M = DIFFERENT something else."""

    def fp8_gemm_nt(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...], d: torch.Tensor) -> None:
        (m, k), n = a[0].shape, b[0].shape[0]
        x = a[0].float() * expand_scales(a[1], m, k, (1, 128))
        d.copy_(x @ (b[0].float() * expand_scales(b[1], n, k, (128, 128))).t() * (2 if m == DIFFERENT else 1))

    return types.SimpleNamespace(fp8_gemm_nt=fp8_gemm_nt)


def register_inputs(driver: Driver) -> None:
    """Inputs of a product as memory that the simulator knows."""
    plain = baselines.Inputs.random

    def random(m: int, n: int, k: int, device: str) -> baselines.Inputs:
        inputs = plain(m, n, k, device)
        for name, tensor in vars(inputs).items():
            driver.register(tensor.data_ptr(), tensor.numel() * tensor.element_size(), name in ("b", "scale_b"))
            KEPT.append(tensor)
        return inputs

    baselines.Inputs.random = staticmethod(random)  # type: ignore[method-assign]


def write_kernels(kernels: Path, folder: Path) -> None:
    copy_kernel(kernels / SOURCE, folder / KERNEL)
    for suffix in (".json", ".ptx"):
        (folder / (QUANTIZE + suffix)).symlink_to(kernels / (QUANTIZE + suffix))
    problem = {"kernel": "fp8_gemm", "n": 256, "k": 144, "variants": [{"m": [1, 8192], "launch": KERNEL + ".json"}]}
    (folder / "index.json").write_text(json.dumps({"problems": [problem], "memory": [{"kernel": QUANTIZE, "m": 64}]}))


def time_again(run: Run, **state: Any) -> Results:
    """The timing of a fresh process that finds `state` in the file of results."""
    empty: dict[str, Any] = {key: [] for key in ("correctness", "faults", "skipped", "benchmark", "memory")}
    run.results.values.update(deadline=time.monotonic() + 60, **empty)
    run.results.values.update(state)
    benchmark.time_all(run)
    return run.results


def main() -> None:
    without_cuda()
    text = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="gpu-timing-") as name, contextlib.redirect_stdout(text):
        folder = Path(name)
        write_kernels(Path(sys.argv[1]).resolve(), folder)
        driver = Driver()
        register_inputs(driver)
        run = Run(driver, folder, "cpu", Results(folder / "results.json"), Nvml(driver.pci_bus_id()), fake_deepgemm())
        results = time_again(run)
        report.print_tables(results.values)
        assert report.print_summary(results.values, True, folder / "results.json") == 0
        rows = results["benchmark"]
        assert "ours, pdl" in rows[0]["seconds_of"], rows[0]
        assert "deepgemm" in rows[0]["seconds_of"] and rows[1]["notes"]["deepgemm"] == f"not run: {benchmark.DIFFERS}", rows
        # No time left, a kernel that is wrong, a product that crashed: each is named, and none runs.
        assert len(time_again(run, deadline=0)["skipped"]) == 3
        wrong = [{"kernel": KERNEL, "M": 7, "wrong": "d[0, 0] is 1"}]
        assert len(time_again(run, correctness=wrong)["benchmark"]) == 0
        crashed = [{"what": "256 x 144, M = 1", "contender": "all in turn", "wrong": "it hangs"}]
        assert [row["M"] for row in time_again(run, faults=crashed)["benchmark"]] == [DIFFERENT]
        # Who spoilt a process here is left out here, who spoilt two everywhere.
        crashed = [
            {"what": "256 x 144, M = 1", "contender": name, "wrong": "it hangs", "ended": True}
            for name in ("triton", "deepgemm", "deepgemm")
        ]
        rows = time_again(run, faults=crashed)["benchmark"]
        assert ["triton" in row["seconds_of"] for row in rows] == [False, True], rows
        assert ["deepgemm" in row["seconds_of"] for row in rows] == [False, False], rows
        # Other bits with a programmatic launch are a wrong result of ours.
        plain = [{"kernel": KERNEL, "M": 1, "wrong": "launched programmatically: d[0, 0] is not finite"}]
        rows = time_again(run, correctness=plain)["benchmark"]
        assert rows[0]["notes"]["ours, pdl"] == "not run: wrong in the checks" and "ours" in rows[0]["seconds_of"], rows
    for words in ("256 x 144", "% of a copy", "peaks (measured): copy", "ours ahead of deepgemm in", "cublaslt: not run: "):
        assert words in text.getvalue(), f"'{words}' is not in\n{text.getvalue()}"
    print("test_timing: all right")


main()
