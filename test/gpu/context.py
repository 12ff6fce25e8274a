# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a worker's checks and timing share: the driver, the kernels, the file of results."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from driver import Driver, DriverError
from nvml import Nvml
from recipe import Kernel
from run import SPOILT, Results
from timing import CaptureFailed


@dataclass
class Run:
    """What one run is about."""

    driver: Driver
    directory: Path
    device: str
    results: Results
    nvml: Nvml
    deepgemm: Any = None
    kernels: dict[str, Kernel] = field(default_factory=dict)

    def late(self) -> bool:
        return time.monotonic() > self.results["deadline"]

    def stream(self) -> int:
        return torch.cuda.current_stream().cuda_stream if self.device == "cuda" else 0

    def kernel(self, name: str) -> Kernel:
        if name not in self.kernels:
            kernel = self.kernels[name] = Kernel(self.driver, self.directory / f"{name}.json")
            compiled = self.results.list("from_ptx")
            if kernel.from_ptx and self.device == "cuda" and name not in compiled:
                compiled.append(name)
        return self.kernels[name]

    def faults_of(self, name: str) -> list[str]:
        return [entry["wrong"] for entry in self.results.list("correctness") if entry["kernel"] == name and entry["wrong"]]

    def stop_if_spoilt(self, error: Exception) -> None:
        """After a kernel's crash every call fails: run.py then starts another process."""
        try:
            if isinstance(error, CaptureFailed):
                raise error
            self.driver.synchronize()
            if self.device == "cuda":
                torch.cuda.synchronize()
                torch.zeros(1, device="cuda").item()
        except (CaptureFailed, DriverError, RuntimeError):
            self.results["running"]["error"] = first_line(error)
            self.results.save()
            sys.stdout.flush()
            # Not sys.exit: what it would free is gone.
            os._exit(SPOILT)


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
