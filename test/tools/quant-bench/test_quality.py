#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quant-bench quality on models/tiny: the figures of its README on all of the text, every way on a part of it.

    python3 test/tools/quant-bench/test_quality.py --bin build/bin
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

TINY = Path(__file__).resolve().parents[3] / "models" / "tiny"
#: largest distance from the reference, in perplexity: INT8 and INT4 there have scales of amax / 127 and / 7 in f32
WITHIN = {"bf16": 0.001, "fp8": 0.001, "int8": 0.01, "w4-g128": 0.05, "w4-g32": 0.05, "kv-int8": 0.005, "kv-int4": 0.02}


def measure(binaries: Path, *options: str) -> dict[str, dict]:
    command = [binaries / "quant-bench", "quality", "--model", TINY, "--json", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"quant-bench quality {' '.join(options)}: {done.stderr[-2000:]}")
    return {row["name"]: row for row in json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=Path, required=True)
    binaries = parser.parse_args().bin
    problems = []
    for name, row in measure(binaries, "--ways", "fp8,w4-g32").items():
        print(f"{name}: {row['perplexity']:.4f}, reference {row['reference']:.4f}")
        if abs(row["perplexity"] - row["reference"]) > WITHIN[name]:
            problems.append(f"{name}: {row['perplexity']}, not within {WITHIN[name]} of {row['reference']}")
    part = measure(binaries, "--tokens", "2040")
    for name, row in part.items():
        change = row["perplexity"] / part["bf16"]["perplexity"] - 1
        print(f"{name}: {100 * change:+.3f} % on 2040 tokens, {row['weight_bytes']} bytes")
        if abs(change) > 0.02 or "reference" in row:
            problems.append(f"{name}: {row}")
    if len(part) < 11:
        problems.append(f"only {', '.join(part)}")
    sys.exit("\n".join(problems) if problems else 0)


if __name__ == "__main__":
    main()
