#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What run.py does on the GPU: checks, then times. Started by run.py, again after a crash; goes on where the last one ended."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

import baselines
import warm_deepgemm
from baselines import Unavailable
from benchmark import TIMED_M, time_all
from context import Run, first_line
from driver import Driver, NoGpu
from late import NoLateCopy
from nvml import Nvml
from problems import check, kind_of, overlaps
from run import NO_GPU, Results, parse_arguments

CHECKED_M = (1, 7, 64, 100, 128, 129, 300)


# --- Correctness ---


def kernel_names(directory: Path) -> list[str]:
    return sorted(path.stem for path in directory.glob("sm90_*.json"))


def check_one(run: Run, name: str, m: int) -> None:
    run.results.begin("check", kernel=name, M=m)
    # Before the launch: where a kernel hangs, this is the last line.
    print(f"{name} M = {m} ... ", end="", flush=True)
    try:
        fault = check(run.kernel(name), m, run.device, run.stream())
    except Exception as error:  # noqa: BLE001 - out of memory, a launch that is refused: the others are checked all the same
        run.stop_if_spoilt(error)
        fault = first_line(error)
    run.results.list("correctness").append({"kernel": name, "M": m, "wrong": fault})
    print(f"WRONG: {fault}" if fault else "ok")


def check_all(run: Run, only: list[str], rows: list[int]) -> None:
    """Every kernel at every M that is not in the results yet; none again that crashed or hung."""
    run.results["skipped"] = []
    known = {(entry["kernel"], entry["M"]) for entry in run.results.list("correctness")}
    for name in only or kernel_names(run.directory):
        recipe = json.loads((run.directory / f"{name}.json").read_text())
        # dequantize has no M; a large one shows what only many waves do. Attention's reference goes token by token.
        kind = kind_of(recipe)
        large = [4096] if run.device == "cuda" and not kind.startswith("mla_") else []
        for m in [1] if kind == "dequantize" else [*rows, *large]:
            if (name, m) in known:
                continue
            ended = any(entry["kernel"] == name and entry.get("ended") for entry in run.results["correctness"])
            if run.late() or ended:
                run.results.list("skipped").append(
                    f"{name}, M = {m}: NOT CHECKED, {'it ended a process' if ended else 'out of time'}"
                )
            else:
                check_one(run, name, m)


# --- The process ---


def load_deepgemm(run: Run, path: str | None) -> list[Any]:
    """Loads DeepGEMM, if it is there, and lets it compile beside the checks."""
    if any(fault.get("contender") == "deepgemm" and fault["what"] == "import" for fault in run.results.list("faults")):
        return []
    run.results.begin("time", what="import", contender="deepgemm")
    try:
        run.deepgemm = baselines.load_deepgemm(path)
    except Unavailable as error:
        print(f"*** {first_line(error)}: DeepGEMM is SKIPPED ***")
    if run.deepgemm is None or run.results.values.get("warmed"):
        return []
    run.results["warmed"] = True
    index = json.loads((run.directory / "index.json").read_text())
    return warm_deepgemm.start(path, [(problem["n"], problem["k"]) for problem in index["problems"]], TIMED_M)


def describe(run: Run) -> None:
    driver, limits = run.driver, run.nvml.limits()
    release = run.nvml.driver_release()
    run.results.values.update(
        gpu=driver.name, driver=driver.version, driver_release=release, sms=driver.sms, l2_bytes=driver.l2_bytes,
        limits=limits, torch=torch.__version__, cuda=torch.version.cuda)  # fmt: skip
    print(f"{driver.name}, {driver.sms} multiprocessors, L2 {driver.l2_bytes >> 20} MiB, "
          f"driver {release} (CUDA {driver.version})", f"torch {torch.__version__}",
          *(f"{name} {value:g}" for name, value in limits.items()), sep=", ", flush=True)  # fmt: skip


def try_overlap(run: Run) -> None:
    if any(fault.get("contender") == "probe" for fault in run.results.list("faults")):
        return
    run.results["overlaps"] = "the probe ended a process"
    run.results.begin("time", what="overlap", contender="probe")
    try:
        run.results["overlaps"] = overlaps(run.driver, run.stream())
    except NoLateCopy as error:
        run.results["overlaps"] = str(error)
    if run.results["overlaps"] is not True:
        print(f"*** programmatic launches do not overlap here: a missing wait is NOT SEEN ({run.results['overlaps']}) ***")


def open_driver() -> Driver:
    """Torch's context first: the driver's calls then run in the same one."""
    if torch.cuda.is_available():
        torch.cuda.init()
        torch.zeros(1, device="cuda")
    driver = Driver()
    if not driver.simulated and not torch.cuda.is_available():
        raise NoGpu(f"torch {torch.__version__} does not see {driver.name}: a build with CUDA is wanted")
    return driver


def main() -> int:
    arguments = parse_arguments()
    results = Results(arguments.results)
    results.begin("start")
    try:
        driver = open_driver()
    except NoGpu as error:
        print(f"no GPU test: {error}", file=sys.stderr)
        return NO_GPU
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    run = Run(driver, arguments.directory, "cpu" if driver.simulated else "cuda", results, Nvml(driver.pci_bus_id()))
    describe(run)
    if run.device == "cuda":
        # Not the default one, with which CUDA makes all others wait: a programmatic launch is to overlap.
        torch.cuda.set_stream(torch.cuda.Stream())
        try_overlap(run)
    # A simulator has no speed.
    timing = run.device == "cuda" and not arguments.check_only
    warming = load_deepgemm(run, arguments.deepgemm) if timing else []
    check_all(run, arguments.kernel, arguments.m or list(CHECKED_M))
    if timing:
        results.begin("time", what="compile", contender="deepgemm")
        warm_deepgemm.finish(warming, 60)
        time_all(run)
    results.done()
    return 0


if __name__ == "__main__":
    sys.exit(main())
