#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""clang-tidy finds nothing in runtime/, with the checks of .clang-tidy. Other folders include too much for a test's minute; by hand,
`clang-tidy-22 -p build FILE` looks at any file of them.

    python3 test/tidy/test_tidy.py --build build [--clang-tidy clang-tidy-22] [unittest arguments]

Exits with 77, which ctest calls skipped, where there is no clang-tidy.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = 77
TIMEOUT_SECONDS = 300

#: One finding of each group of checks.
BAD = """
#include <string>
struct Base { virtual ~Base() = default; virtual int size(std::string name) { return static_cast<int>(name.size()); } };
struct Derived : Base { virtual int size(std::string name) { return *&name == "" ? 0 : 1; } };
int *none() { return 0; }
bool isSet(int flags) { bool set; if ((set = flags)) return set; return false; }
"""


class Context:
    """Set by main()."""

    build: Path
    tidy: str


def findings(file: Path, *options: str) -> str:
    """What clang-tidy says about a file, and the compiler's errors; empty where all is well."""
    command = [Context.tidy, "--quiet", str(file), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


class Tidy(unittest.TestCase):
    def test_runtime(self) -> None:
        commands = json.loads((Context.build / "compile_commands.json").read_text())
        files = sorted({Path(command["file"]) for command in commands} & set((ROOT / "runtime").rglob("*.cpp")))
        self.assertGreater(len(files), 30, "the compilation database lacks runtime/")
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            found = pool.map(lambda file: findings(file, "-p", str(Context.build)), files)
        self.assertEqual("".join(found), "")

    def test_it_looks(self) -> None:
        """A test that cannot fail is a defect."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "bad.cpp")
            file.write_text(BAD)
            found = findings(file, f"--config-file={ROOT / '.clang-tidy'}", "--", "-std=c++20")
        for check in ("performance-unnecessary-value-param", "modernize-use-override", "modernize-use-nullptr",
                      "bugprone-assignment-in-if-condition"):  # fmt: skip
            self.assertIn(f"[{check}", found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="the folder of compile_commands.json")
    parser.add_argument("--clang-tidy", default="clang-tidy-22")
    options, rest = parser.parse_known_args()
    Context.build, Context.tidy = options.build.resolve(), options.clang_tidy
    if not shutil.which(Context.tidy):
        print(f"no {Context.tidy}: SKIPPED; tools/setup/install.sh installs it")
        return SKIPPED
    return not unittest.main(argv=[sys.argv[0], *rest], exit=False).result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
