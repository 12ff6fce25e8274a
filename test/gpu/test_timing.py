#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""run.py's timing with the simulator as the GPU and the clock of the CPU: every contender is called, every figure appears.

    LD_LIBRARY_PATH=FOLDER_OF_THE_SIMULATED_LIBCUDA TRITON_INTERPRET=1 python3 test/gpu/test_timing.py KERNELS

KERNELS is what generate-gpu-kernels wrote. The figures mean nothing; run-simulated.sh starts this.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
import types
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

import baselines
import run
import timing
from driver import Driver
from problems import expand_scales

#: Registered memory must stay where it is.
KEPT: list[torch.Tensor] = []
KERNEL, QUANTIZE = "sm90_fp8_gemm_1d2d_n256_k144_bm128_bn128", "sm90_fp8_quantize_f32_k100_ue8m0"


class CpuGraph:
    """timing.Graph without a GPU: makes the launches when it is sampled."""

    def __init__(self, launches: list[Any]) -> None:
        self.launches, self.samples = launches, []
        launches[0]()

    def sample(self) -> None:
        start = time.perf_counter()
        self.launches[len(self.samples) % len(self.launches)]()
        self.samples.append(time.perf_counter() - start)

    seconds = timing.Graph.seconds
    spread = timing.Graph.spread


def fake_deepgemm() -> types.SimpleNamespace:
    """What deep_gemm would compute, from the operands as it is given them."""

    def fp8_gemm_nt(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...], d: torch.Tensor) -> None:
        (m, k), n = a[0].shape, b[0].shape[0]
        x = a[0].float() * expand_scales(a[1], m, k, (1, 128))
        d.copy_(x @ (b[0].float() * expand_scales(b[1], n, k, (128, 128))).t())

    return types.SimpleNamespace(fp8_gemm_nt=fp8_gemm_nt)


def register_inputs(driver: Driver) -> None:
    """Inputs of a product as memory that the simulator knows."""
    plain = baselines.Inputs.random

    def random(m: int, n: int, k: int, device: str) -> baselines.Inputs:
        inputs = plain(m, n, k, device)
        for tensor in vars(inputs).values():
            driver.register(tensor.data_ptr(), tensor.numel() * tensor.element_size())
            KEPT.append(tensor)
        return inputs

    baselines.Inputs.random = staticmethod(random)  # type: ignore[method-assign]


def main() -> None:
    kernels = Path(sys.argv[1]).resolve()
    run.Graph, run.TIMED_M = CpuGraph, (1, 70)
    run.peaks = lambda: {"copy_bytes_per_second": 4e12, "read_bytes_per_second": 4e12, "fp8_flops": 1.5e15}
    run.rotation = lambda *_: 2
    torch.cuda.empty_cache = lambda: None
    with tempfile.TemporaryDirectory(prefix="gpu-timing-") as folder:
        for name in (KERNEL, QUANTIZE):
            for suffix in (".json", ".ptx"):
                (Path(folder) / (name + suffix)).symlink_to(kernels / (name + suffix))
        problem = {"kernel": "fp8_gemm", "n": 256, "k": 144, "variants": [{"m": [1, 8192], "launch": KERNEL + ".json"}]}
        index = {"problems": [problem], "memory": [{"kernel": QUANTIZE, "m": 64}]}
        (Path(folder) / "index.json").write_text(json.dumps(index))
        driver = Driver()
        register_inputs(driver)
        measured = run.Run(driver, Path(folder), "cpu", time.monotonic() + 60, fake_deepgemm())
        measured.results["correctness"] = []
        text = io.StringIO()
        with redirect_stdout(text):
            run.time_all(measured)
            run.print_tables(measured)
            run.print_summary(measured, 0, Path("nowhere.json"))
            # No time left: everything is named, nothing runs.
            measured.deadline = 0
            run.time_all(measured)
    assert measured.results["skipped"] == ["256 x 144, M = 1", "256 x 144, M = 70"], measured.results["skipped"]
    for words in ("256 x 144", "% of a copy", "ahead of deepgemm in", "cublaslt: not run: "):
        assert words in text.getvalue(), f"'{words}' is not in\n{text.getvalue()}"
    assert "COMPUTES SOMETHING ELSE" not in text.getvalue(), text.getvalue()
    print("test_timing: all right")


main()
