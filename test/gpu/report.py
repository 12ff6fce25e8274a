# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tables and the summary of what run.py found, from its file of results alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: Who is timed. With ", pdl": launched with programmatic stream serialization, each behind the other of its kind.
OURS = ("ours", "ours, pdl")
OTHERS = ("cublaslt", "triton", "deepgemm", "deepgemm, pdl")
Results = dict[str, Any]


def print_peaks(results: Results) -> None:
    peak = results.get("peaks")
    if not peak:
        return
    copy, read = peak["copy_bytes_per_second"] * 1e-12, peak["read_bytes_per_second"] * 1e-12
    text = f"\npeaks ({peak['of']}): copy {copy:.2f} TB/s, read {read:.2f} TB/s"
    if "fp8_flops" in peak:
        text += f", FP8 (cuBLASLt, 8192^3, one scale, fast accumulation) {peak['fp8_flops'] * 1e-12:.0f} TFLOPS"
    print(text)


def row_text(row: dict[str, Any]) -> str:
    """One product. The percentages are those of the plain launch; the ratios are best other / ours, without and with PDL."""
    times = row["seconds_of"]
    columns = "".join(f" {times[name] * 1e6:13.2f}" if name in times else f" {'-':>13}" for name in (*OURS, *OTHERS))
    plain = [times[name] for name in OTHERS if name in times and not name.endswith(", pdl")]
    every = [times[name] for name in OTHERS if name in times]
    ahead = f"{min(plain) / times['ours']:7.2f}x" if plain else f"{'-':>8}"
    ahead += f"{min(every) / times['ours, pdl']:7.2f}x" if every and "ours, pdl" in times else f"{'-':>8}"
    clock = f"{row['load']['sm_mhz']:>6}" if "sm_mhz" in row.get("load", {}) else f"{'-':>6}"
    return (f"{row['N']:>6} x {row['K']:<5}{row['M']:>5} {row['tflops']:7.0f} {row['gigabytes_per_second']:6.0f} "
            f"{100 * row['of_roofline']:7.1f} {100 * row['of_measured_peak']:7.1f}{columns} {ahead} {clock} "
            f"{100 * row['spread']:7.1f}  {row['kernel'].split('_k')[-1]}")  # fmt: skip


def print_tables(results: Results) -> None:
    print_peaks(results)
    if rows := results.get("benchmark"):
        print("\nmicroseconds; roofline and peak of the plain launch; MHz under ours; spread: 90th - 10th percentile")
        print(f"{'N x K':>12}  {'M':>5} {'TFLOPS':>7} {'GB/s':>6} {'% roof':>7} {'% peak':>7}"
              + "".join(f" {name:>13}" for name in (*OURS, *OTHERS)) + "  ours/best, pdl    MHz  spread%  kernel")  # fmt: skip
        for row in rows:
            print(row_text(row))
    for row in results.get("memory", []):
        print(f"{row['kernel']}, M = {row['M']}: {row['seconds'] * 1e6:.2f} us, {row['gigabytes_per_second']:.0f} GB/s, "
              f"{100 * row['of_copy']:.1f} % of a copy")  # fmt: skip
    for name in (*OURS, *OTHERS):
        notes: dict[str, list[str]] = {}
        for row in results.get("benchmark", []):
            if name in row["notes"]:
                notes.setdefault(row["notes"][name], []).append(f"{row['N']} x {row['K']}, M = {row['M']}")
        for note, where in notes.items():
            print(
                f"{name}: {note} ({len(where)} of {len(results['benchmark'])}: {where[0]}{', ...' if len(where) > 1 else ''})"
            )
    for fault in results.get("faults", []):
        print(f"{fault.get('contender', 'start')}, {fault.get('what', '')}: {fault['wrong']}")


def wrong_results(results: Results) -> list[str]:
    """What is wrong with kernels of ours."""
    checked = [
        f"{entry['kernel']}, M = {entry['M']}: {entry['wrong']}" for entry in results.get("correctness", []) if entry["wrong"]
    ]
    timed = [f"{fault['contender']}, {fault['what']}: {fault['wrong']}" for fault in results.get("faults", [])
             if fault.get("contender") in OURS]  # fmt: skip
    return checked + timed


def print_summary(results: Results, ended: bool, path: Path) -> int:
    """The last line; how many results were wrong."""
    wrong, entries = wrong_results(results), results.get("correctness", [])
    for text in wrong:
        print(f"WRONG: {text.splitlines()[0][:200]}")
    line = f"{len({entry['kernel'] for entry in entries})} kernels, {len(entries)} products checked, {len(wrong)} wrong"
    if results.get("overlaps", True) is not True:
        line += "; PROGRAMMATIC LAUNCHES DID NOT OVERLAP"
    if results.get("from_ptx"):
        line += f"; {len(results['from_ptx'])} KERNELS COMPILED BY THE DRIVER, their cubin was not taken"
    for name in OTHERS:
        mine = "ours, pdl" if name.endswith(", pdl") else "ours"
        ratios = [row["seconds_of"][name] / row["seconds_of"][mine] for row in results.get("benchmark", [])
                  if name in row["seconds_of"] and mine in row["seconds_of"]]  # fmt: skip
        if ratios:
            line += f"; {mine} ahead of {name} in {sum(r > 1 for r in ratios)} of {len(ratios)}"
    if skipped := results.get("skipped"):
        line += f"; {len(skipped)} NOT DONE: {'; '.join(skipped[:4])}{'; ...' if len(skipped) > 4 else ''}"
    if not ended:
        line += "; ENDED EARLY"
    print(f"\n{line}; details in {path}")
    return len(wrong)
