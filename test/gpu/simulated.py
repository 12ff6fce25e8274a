# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels for tests: a copy of one under another name, made programmatic, with or without the wait that this takes."""

from __future__ import annotations

import json
from pathlib import Path

EARLY = ("b", "scale_b", "bias")


def copy_kernel(source: Path, target: Path, wait: bool = True) -> None:
    """NAME.json and NAME.ptx, so that every thread waits at the kernel's begin, or none does."""
    recipe, ptx = json.loads(source.with_suffix(".json").read_text()), source.with_suffix(".ptx").read_text()
    recipe["programmatic"], recipe["kernel"] = True, target.stem
    for operand in recipe["operands"]:
        operand["early"] = operand["name"] in EARLY
    begin = "$L__func_begin0:\n"
    head, found, body = ptx.replace(source.stem, target.stem).partition(begin)
    if not found:
        raise ValueError(f"{source}.ptx has no {begin.strip()}")
    body = body.replace("griddepcontrol.wait;", "")
    target.with_suffix(".json").write_text(json.dumps(recipe))
    target.with_suffix(".ptx").write_text(head + begin + ("\tgriddepcontrol.wait;\n" if wait else "") + body)
