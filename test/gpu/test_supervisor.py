#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""run.py's processes, with a worker of three steps that crashes, hangs or ends as told. Needs neither torch nor a driver."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

import report
from run import NO_GPU, OUT_OF_TIME, Results, supervise

WORKER = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from run import NO_GPU, SPOILT, Results
results, faults = Results(__import__("pathlib").Path(sys.argv[2])), dict(zip(sys.argv[3::2], sys.argv[4::2]))
def do(step, fault, **what):
    results.begin(step, **what)
    if fault == "abort": os.abort()
    if fault == "hang": time.sleep(60)
    if fault == "nothing": sys.exit(NO_GPU)
    if fault == "spoilt":
        results["running"]["error"] = "an illegal address"
        results.save()
        os._exit(SPOILT)
do("start", faults.get("start"))
seen = [entry["kernel"] for entry in results.list("correctness")]
for name in ("first", "second"):
    if name not in seen:
        do("check", faults.get(name), kernel=name, M=1)
        results.list("correctness").append({"kernel": name, "M": 1, "wrong": ""})
if not results.list("faults"):
    do("time", faults.get("time"), what="16 x 16, M = 1", contender="triton")
results.done()
"""


class Supervisor(unittest.TestCase):
    def supervise(self, seconds: float = 30, **faults: str) -> tuple[int, Results]:
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="gpu-supervisor-"))
        path = Path(folder) / "results.json"
        command = [sys.executable, "-B", "-c", WORKER, str(Path(__file__).resolve().parent), str(path)]
        with contextlib.redirect_stdout(io.StringIO()):
            ended = supervise(command + [word for pair in faults.items() for word in pair], path, seconds, 2)
        return ended, Results(path)

    def wrong(self, results: Results) -> dict[str, str]:
        return {entry["kernel"]: entry["wrong"] for entry in results["correctness"]}

    def test_right(self) -> None:
        ended, results = self.supervise()
        self.assertEqual((ended, self.wrong(results)), (0, {"first": "", "second": ""}))
        self.assertIsNone(results["running"])

    def test_faults(self) -> None:
        for fault, words in (("abort", "signal 6"), ("hang", "it hangs"), ("spoilt", "an illegal address")):
            ended, results = self.supervise(first=fault)
            self.assertEqual((ended, self.wrong(results)["second"]), (0, ""))
            self.assertIn(words, self.wrong(results)["first"])
            self.assertEqual(len(report.wrong_results(results.values)), 1)

    def test_contender(self) -> None:
        """Another's crash is told, but is no wrong result of ours."""
        ended, results = self.supervise(time="abort")
        self.assertEqual((ended, results["faults"][0]["contender"]), (0, "triton"))
        self.assertEqual(report.wrong_results(results.values), [])

    def test_no_start(self) -> None:
        self.assertEqual(self.supervise(start="nothing")[0], NO_GPU)
        ended, results = self.supervise(start="abort")
        self.assertEqual((ended, len(results["faults"])), (1, 1))

    def test_gone(self) -> None:
        """A GPU that is lost in the middle is no missing one."""
        ended, results = self.supervise(second="nothing")
        self.assertEqual((ended, self.wrong(results)["second"]), (0, f"the process ended with status {NO_GPU}"))

    def test_late(self) -> None:
        ended, results = self.supervise(seconds=-29, second="hang")
        self.assertEqual((ended, self.wrong(results)), (1, {"first": ""}))
        self.assertEqual(results["skipped"], [f"second, 1: {OUT_OF_TIME}"])


if __name__ == "__main__":
    unittest.main()
