#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the tools say to damaged, hostile and mistaken input: an error in words and exit code 1, never a signal or a hang.

    python3 test/bad_input/test_bad_input.py --bin build/bin [--seed N] [unittest arguments]

Which test covers which class of bad input: README.md. NumPy only.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import unittest
from pathlib import Path

import tamper
from test_conversions import Conversions  # noqa: F401
from test_field import FieldCheckpoints, FieldConfigs  # noqa: F401
from test_files import Files, Headers, Indices  # noqa: F401
from test_modules import Modules, Tokens  # noqa: F401
from test_models import Configs, Weights  # noqa: F401
from test_writing import Writing  # noqa: F401


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other arguments go to unittest.")
    parser.add_argument(
        "--bin", type=Path, default=os.environ.get("QUANT_BIN"), metavar="DIR", help="the build's bin directory (or QUANT_BIN)"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31), help="of the places that are spoilt")
    arguments, rest = parser.parse_known_args()
    if not arguments.bin:
        parser.error("--bin is needed")
    missing = [tool for tool in ("quant-compile", "quant-convert", "quant-run") if not (arguments.bin / tool).exists()]
    if missing:
        parser.error(f"{arguments.bin} lacks {', '.join(missing)}")
    print(f"seed {arguments.seed} (repeat with --seed {arguments.seed})", flush=True)
    random.seed(arguments.seed)
    tamper.prepare(arguments.bin)
    try:
        unittest.main(argv=[sys.argv[0], *rest])
    finally:
        tamper.clean_up()


if __name__ == "__main__":
    main()
