#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles the published models for both targets: module size, memory, and that compile work does not grow with depth.

    python3 test/e2e/test_full_size.py --bin build/bin [unittest arguments]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parents[2] / "models" / "configs"
MAX_MODULE_BYTES = 20_000_000
MAX_MEMORY_BYTES = 2 << 30


class Context:
    """Set by main(): where the binaries are."""

    binaries = Path()


class FullSize(unittest.TestCase):
    summaries: dict[str, dict[str, Any]] = {}  # of models/configs, by name

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="full-size-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def compile(self, config: Path) -> dict[str, Any]:
        """The compiler's own summary, with the peak memory of the process in bytes."""
        module = self.folder / "model.qmod"
        command = [Context.binaries / "quant-compile", config, "--target=host,sm_90a", "-o", module, "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            output, errors = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 0, errors)
        summary = json.loads(output)
        self.assertEqual(summary["bytes"], module.stat().st_size)
        return summary

    def summary(self, name: str) -> dict[str, Any]:
        if name not in self.summaries:
            self.summaries[name] = self.compile(CONFIGS / name)
        return self.summaries[name]

    def check(self, name: str) -> None:
        summary = self.summary(name)
        print(f"{name}: {summary['kernels']} kernels, {summary['dispatches']} dispatches, {summary['bytes'] / 1e6:.1f} MB, "
              f"{summary['peak_memory_bytes'] / 1e6:.0f} MB of memory, {summary['seconds']:.1f} s")
        self.assertLess(summary["bytes"], MAX_MODULE_BYTES)
        self.assertLess(summary["peak_memory_bytes"], MAX_MEMORY_BYTES)

    def test_671B(self) -> None:
        self.check("671B.json")

    def test_v3_1(self) -> None:
        self.check("v3.1.json")

    def test_236B(self) -> None:
        self.check("236B.json")

    def test_16B(self) -> None:
        self.check("16B.json")

    def test_layers_share_kernels(self) -> None:
        """Half the layers: half the dispatches, the same kernels."""
        config = json.loads((CONFIGS / "671B.json").read_text())
        whole = self.summary("671B.json")
        config["num_hidden_layers"] = 31
        path = self.folder / "config.json"
        path.write_text(json.dumps(config))
        half = self.compile(path)
        self.assertEqual(half["kernels"], whole["kernels"])
        self.assertLess(half["dispatches"], 0.6 * whole["dispatches"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other arguments go to unittest.")
    parser.add_argument("--bin", type=Path, default=os.environ.get("QUANT_BIN"), metavar="DIR", help="the build's bin directory")
    arguments, rest = parser.parse_known_args()
    if not arguments.bin:
        parser.error("--bin is needed")
    Context.binaries = arguments.bin.resolve()
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
