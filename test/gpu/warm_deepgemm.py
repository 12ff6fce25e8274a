#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Lets DeepGEMM compile its kernels into its cache: warm_deepgemm.py PATH N K M...

It compiles each with nvcc when it is first called, several seconds for each; worker.py starts one such process for each N x K
while it checks ours.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import torch

import baselines


def start(path: str | None, problems: list[tuple[int, int]], rows: tuple[int, ...]) -> list[subprocess.Popen[bytes]]:
    command = [sys.executable, __file__, str(Path(path).resolve()) if path else ""]
    return [subprocess.Popen([*command, *map(str, (*shape, *rows))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for shape in problems]  # fmt: skip


def finish(processes: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Waits for them at most this long; who is not ready compiles later, at the cost of time."""
    last = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.0, last - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    n, k, *rows = map(int, sys.argv[2:])
    _, make = baselines.deepgemm_form(baselines.load_deepgemm(sys.argv[1] or None), False)
    for m in rows:
        make(baselines.Inputs.random(m, n, k, "cuda"))()
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
