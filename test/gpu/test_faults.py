#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""run.py with a simulated GPU on which kernels go wrong: each fault is seen and named, and the rest is checked all the same.

    LD_LIBRARY_PATH=FOLDER_OF_THE_SIMULATED_LIBCUDA python3 test/gpu/test_faults.py KERNELS

KERNELS is what generate-gpu-kernels wrote. Wants torch; run-simulated.sh starts this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from simulated import copy_kernel

HERE = Path(__file__).resolve().parent
SOURCE = "sm90_fp8_gemm_1d2d_n136_k512_bm128_bn128"
GOOD, OTHER, UNWAITING = "sm90_good", "sm90_other", "sm90_unwaiting"


class Faults(unittest.TestCase):
    kernels = Path()

    def run_kernels(self, fault: str, *names: str) -> tuple[int, dict[str, str], str]:
        """Exit status, what is wrong with each kernel, and what was printed."""
        with tempfile.TemporaryDirectory(prefix="gpu-faults-") as folder:
            for name in names:
                copy_kernel(self.kernels / SOURCE, Path(folder) / name, wait=name != UNWAITING)
            command = [sys.executable, HERE / "run.py", folder, f"{folder}/results.json", "--m=7", "--stall-seconds=15"]
            done = subprocess.run(
                command, env={**os.environ, "SIM_CUDA_FAULT": fault}, capture_output=True, text=True, check=False
            )
            path = Path(folder) / "results.json"
            entries = json.loads(path.read_text()).get("correctness", []) if path.exists() else []
            return done.returncode, {entry["kernel"]: entry["wrong"] for entry in entries}, done.stdout + done.stderr

    def test_right(self) -> None:
        status, wrong, text = self.run_kernels("", GOOD, OTHER)
        self.assertEqual((status, wrong), (0, {GOOD: "", OTHER: ""}), text)

    def test_wrong(self) -> None:
        for fault in ("skip", "flip"):
            status, wrong, text = self.run_kernels(fault, GOOD)
            self.assertEqual(status, 1, text)
            self.assertTrue(wrong[GOOD], text)

    def test_early(self) -> None:
        """What a launch in front of its time reads is not there yet; the simulator finds it by itself, too."""
        status, wrong, text = self.run_kernels("early", GOOD)
        self.assertEqual(status, 1, text)
        self.assertIn("launched programmatically: d[0, 0] is not finite", wrong[GOOD])
        status, wrong, text = self.run_kernels("", GOOD, UNWAITING)
        self.assertEqual((status, wrong[GOOD]), (1, ""), text)
        self.assertIn("launched programmatically: early-access", wrong[UNWAITING])

    def test_crash(self) -> None:
        status, wrong, text = self.run_kernels(f"crash:{GOOD}", GOOD, OTHER)
        self.assertEqual((status, wrong[OTHER]), (1, ""), text)
        self.assertIn("CUDA_ERROR_LAUNCH_FAILED", wrong[GOOD])

    def test_hang(self) -> None:
        status, wrong, text = self.run_kernels(f"hang:{GOOD}", GOOD, OTHER)
        self.assertEqual((status, wrong[OTHER]), (1, ""), text)
        self.assertIn("it hangs", wrong[GOOD])

    def test_no_gpu(self) -> None:
        status, wrong, text = self.run_kernels("no-gpu", GOOD)
        self.assertEqual((status, wrong), (77, {}), text)
        self.assertIn("no GPU test: the CUDA driver sees no GPU", text)


if __name__ == "__main__":
    Faults.kernels = Path(sys.argv.pop(1)).resolve()
    unittest.main()
