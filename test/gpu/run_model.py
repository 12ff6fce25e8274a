#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a small model on this machine's GPU (quant-run --device=cuda) and compares its logits with the simulator's.

    python3 test/gpu/run_model.py [DIRECTORY] [--check-only]

DIRECTORY (default build/gpu-model) is what `ninja gpu-model` wrote on any machine; this file and that folder are all that need be
copied. Exit status: 0 the same within TOLERANCE, 1 not, 77 no such GPU.
"""

from __future__ import annotations

import argparse
import array
import json
import subprocess
import sys
import tempfile
from pathlib import Path

#: Of the largest logit. The GPU's exp and rsqrt differ in the last bits, which may round an activation to another FP8 code.
TOLERANCE = 0.02
NO_GPU = 77
#: For the timing.
NEW_TOKENS = "64"


def logits(path: Path) -> array.array[float]:
    """The f32 values of the one tensor of a safetensors file."""
    data = path.read_bytes()
    return array.array("f", data[8 + int.from_bytes(data[:8], "little") :])


def quant_run(folder: Path, device: str, tokens: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [folder / "quant-run", folder / "model.qmod", f"--device={device}", "--weights", folder / "checkpoint",
               "--tokens", tokens, *options]  # fmt: skip
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)


def compare(folder: Path, prompt: str) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "logits.safetensors"
        done = quant_run(folder, "cuda", prompt, "--max-new-tokens", "1", "--logits", str(file))
        if done.returncode:
            print(done.stderr.strip(), file=sys.stderr)
            if any(text in done.stderr for text in ("no CUDA driver", "CUDA_ERROR_NO_DEVICE", "of compute capability")):
                sys.exit(NO_GPU)
            return False
        got, want = logits(file), logits(folder / f"logits-{prompt.count(',') + 1}.safetensors")
    error = max(abs(a - b) for a, b in zip(got, want)) / max(map(abs, want)) if len(got) == len(want) else float("inf")
    # NaN compares as false.
    right = error <= TOLERANCE
    print(f"{prompt.count(',') + 1} tokens: largest error {error:.2e} of the largest logit: {'ok' if right else 'WRONG'}")
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs a small model on this machine's GPU.")
    parser.add_argument("directory", nargs="?", type=Path, default=Path(__file__).parents[2] / "build" / "gpu-model")
    parser.add_argument("--check-only", action="store_true", help="no timing")
    arguments = parser.parse_args()
    folder = arguments.directory
    prompts = json.loads((folder / "prompts.json").read_text())
    right = [compare(folder, prompt) for prompt in prompts]
    # How fast, and what takes the time.
    for options in () if arguments.check_only else ((), ("--profile",)):
        done = quant_run(folder, "cuda", prompts[-1], "--max-new-tokens", NEW_TOKENS, *options)
        print((done.stdout + done.stderr).strip())
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
