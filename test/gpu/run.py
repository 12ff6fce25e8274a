#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks every compiled kernel in a folder on this machine's GPU, then times them beside others. Started by run.sh.

The work is done in processes of worker.py, since after a crash nothing works any more in the process that launched the kernel:
whoever crashes or hangs is named, and a fresh process goes on behind it. The results file is what they share.

Exit status: 0 all right, 1 a wrong result, a crash or a check that did not run, 77 no GPU that can run sm_90a code.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import report

#: A worker's answers: no GPU; a kernel or contender has spoilt the process (`running` says which).
NO_GPU, SPOILT = 77, 70
MAX_WORKERS = 12
#: From a process's start to its first word: torch is large, and cold.
START_SECONDS = 180
#: Why a worker had to be ended that did nothing wrong.
OUT_OF_TIME = "NOT CHECKED to the end, out of time"


class Results:
    """The file of results, always whole on disk. `running` is what the worker is at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.values[key] = value

    def list(self, key: str) -> Any:
        return self.values.setdefault(key, [])

    def save(self) -> None:
        temporary = self.path.with_name(self.path.name + ".new")
        temporary.write_text(json.dumps(self.values, indent=2) + "\n")
        os.replace(temporary, self.path)

    def begin(self, step: str, **what: Any) -> None:
        self.values["running"] = {"step": step, **what}
        self.save()

    def done(self) -> None:
        self.values["running"] = None
        self.save()


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__)
    parser.add_argument("directory", type=Path, help="what the target gpu-kernels wrote")
    parser.add_argument("results", type=Path, nargs="?", default=Path("gpu-results.json"), help="file for all figures")
    parser.add_argument("--deepgemm", help="folder with deep_gemm, to time it too (an installed one is found without)")
    parser.add_argument("--seconds", type=float, default=390, help="begin nothing further after this long")
    parser.add_argument("--stall-seconds", type=float, default=75, help="what says nothing for this long hangs")
    parser.add_argument("--check-only", action="store_true", help="no timing")
    parser.add_argument("--kernel", action="append", default=[], help="check this one only (may be repeated)")
    parser.add_argument("--m", type=int, action="append", default=[], help="check this M only (may be repeated)")
    return parser.parse_args(arguments)


def end(worker: subprocess.Popen[bytes]) -> None:
    """Of its whole group: what it started, too."""
    try:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(30)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        # The driver may keep a process whose kernel hangs; the GPU is then lost for the next one, which will say so.
        pass


def watch(worker: subprocess.Popen[bytes], path: Path, stall_seconds: float, last: float) -> str:
    """Waits for the worker's end. Why it had to be ended, or nothing."""
    begun = time.time()
    while True:
        try:
            worker.wait(0.2)
            return ""
        except subprocess.TimeoutExpired:
            pass
        word = path.stat().st_mtime if path.exists() else 0
        quiet = time.time() - word - stall_seconds if word > begun else time.time() - begun - max(START_SECONDS, stall_seconds)
        if quiet > 0 or time.monotonic() > last:
            end(worker)
            return f"it hangs: no end after {stall_seconds:.0f} s" if quiet > 0 else OUT_OF_TIME


def blame(results: Results, fault: str) -> bool:
    """Records who was at work when the worker ended so; false if that was nobody: another worker would fare no better."""
    running = results.values.pop("running", None) or {"step": "start"}
    fault = running.pop("error", fault)
    print(fault if fault == OUT_OF_TIME else f"WRONG: {fault}", flush=True)
    step = running.pop("step")
    if fault == OUT_OF_TIME:
        results.list("skipped").append(f"{', '.join(map(str, running.values()))}: {fault}")
        results.save()
        return False
    results.list("correctness" if step == "check" else "faults").append({**running, "wrong": fault, "ended": True})
    results.save()
    return step != "start"


def supervise(command: list[str], path: Path, seconds: float, stall_seconds: float) -> int:
    """Workers, one after another, until one comes to the end. 0, NO_GPU, or 1: the end was not reached."""
    begun = time.monotonic()
    results = Results(path)
    results["deadline"] = begun + seconds
    results.save()
    for _ in range(MAX_WORKERS):
        worker = subprocess.Popen(command, start_new_session=True)
        try:
            fault = watch(worker, path, stall_seconds, begun + seconds + 30)
        except BaseException:
            end(worker)
            raise
        code = worker.returncode
        results = Results(path)
        # A GPU that is gone only after a crash is no missing one.
        if not fault and (code == 0 or code == NO_GPU and not results.list("correctness")):
            return code
        known = f"the process ended by signal {-code}" if code and code < 0 else f"the process ended with status {code}"
        if not blame(results, fault or known) or time.monotonic() > begun + seconds:
            return 1
    print(f"*** {MAX_WORKERS} processes crashed; no further one is started ***")
    return 1


def main() -> int:
    arguments = parse_arguments()
    if not any(arguments.directory.glob("sm90_*.json")):
        print(f"error: no kernels in {arguments.directory}; build the target gpu-kernels", file=sys.stderr)
        return 1
    arguments.results.unlink(missing_ok=True)
    # So that a worker is ended, and what was measured printed, when this process is asked to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: asked to end"))
    command = [sys.executable, str(Path(__file__).with_name("worker.py")), *sys.argv[1:]]
    ended = 1
    try:
        ended = supervise(command, arguments.results, arguments.seconds, arguments.stall_seconds)
    finally:
        if ended != NO_GPU:
            results = Results(arguments.results).values
            report.print_tables(results)
            wrong = report.print_summary(results, ended == 0, arguments.results)
            unchecked = any("NOT CHECKED" in text for text in results.get("skipped", []))
    return NO_GPU if ended == NO_GPU else int(wrong > 0 or unchecked or ended != 0)


if __name__ == "__main__":
    sys.exit(main())
