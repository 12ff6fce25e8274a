#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks every compiled kernel in a folder on this machine's GPU, then times them beside others. Started by run.sh.

Exit status: 0 all right, 1 a wrong result, 77 no GPU that can run sm_90a code.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import baselines
from baselines import Inputs, Unavailable
from driver import Driver, DriverError, NoGpu
from problems import Operands, check, fill_dequantize, fill_quantize, kind_of
from recipe import Kernel
from timing import Graph, measure, peaks, rotation

CHECKED_M = (1, 7, 64, 100, 128, 129, 300)
TIMED_M = (1, 64, 128, 4096)
#: Dense e4m3 by the data sheet, and HBM of the known GPUs.
NOMINAL_FLOPS = 1979e12
NOMINAL_HBM = {"H200": 4.8e12, "H100": 3.35e12, "H800": 3.35e12, "H20": 4.0e12}
CONTENDERS = ("cublaslt", "triton", "deepgemm")
#: What is said of a contender whose result is not ours.
DIFFERS = " COMPUTES SOMETHING ELSE"


@dataclass
class Run:
    """What one run is about, and what it found."""

    driver: Driver
    directory: Path
    device: str
    deadline: float
    deepgemm: Any = None
    results: dict[str, Any] = field(default_factory=dict)
    kernels: dict[str, Kernel] = field(default_factory=dict)

    def late(self) -> bool:
        return time.monotonic() > self.deadline

    def stream(self) -> int:
        return torch.cuda.current_stream().cuda_stream if self.device == "cuda" else 0

    def kernel(self, name: str) -> Kernel:
        if name not in self.kernels:
            self.kernels[name] = Kernel(self.driver, self.directory / f"{name}.json")
        return self.kernels[name]


def kernel_names(directory: Path) -> list[str]:
    return sorted(path.stem for path in directory.glob("sm90_*.json"))


def check_all(run: Run, only: list[str], rows: list[int]) -> int:
    """Every kernel at every M; how many products were wrong."""
    wrong = 0
    run.results["correctness"] = report = []
    for name in only or kernel_names(run.directory):
        try:
            kernel = run.kernel(name)
        except DriverError as error:
            wrong += 1
            report.append({"kernel": name, "M": 0, "wrong": str(error)})
            print(f"WRONG: {error}")
            continue
        # dequantize has no M; a large one shows what only many waves do.
        for m in [1] if kind_of(kernel) == "dequantize" else [*rows, *([4096] if run.device == "cuda" else [])]:
            # Before the launch: where a kernel hangs, this is the last line.
            print(f"{name} M = {m} ... ", end="", flush=True)
            fault = check(kernel, m, run.device, run.stream())
            wrong += bool(fault)
            report.append({"kernel": name, "M": m, "wrong": fault})
            print(f"WRONG: {fault}" if fault else "ok")
    return wrong


# --- Timing ---


def hbm_bytes_per_second(name: str) -> float:
    return next((value for key, value in NOMINAL_HBM.items() if key in name), 3.35e12)


def our_launches(run: Run, kernel: Kernel, m: int, sets: list[Inputs]) -> list[Any]:
    """A launch for each set; they share what the kernel needs as scratch."""
    launches = []
    shared: dict[str, torch.Tensor] = {}
    for inputs in sets:
        addresses = []
        for operand in kernel.operands(m):
            tensor = getattr(inputs, operand.name, None)
            if tensor is None:
                tensor = shared.setdefault(operand.name, torch.zeros(operand.bytes, dtype=torch.uint8, device=run.device))
            addresses.append(tensor.data_ptr())
        arguments = kernel.prepare(addresses, m)
        # The scratch lives as long as the launches do.
        arguments.alive.append(shared)
        launches.append(lambda arguments=arguments: kernel.launch(arguments, m, run.stream()))
    return launches


def agree(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    got, wanted = got[:, : wanted.shape[1]].float(), wanted.float()
    return bool((got - wanted).abs().mean() <= 0.01 * wanted.abs().mean())


def fastest(graphs: list[tuple[str, Graph]]) -> tuple[str, Graph]:
    measure([graph for _, graph in graphs], 3)
    note, best = min(graphs, key=lambda pair: pair[1].seconds)
    best.samples.clear()
    return note, best


def triton_graph(sets: list[Inputs], wanted: torch.Tensor) -> tuple[str, Graph]:
    """The fastest of its configs that run here."""
    by_config = list(zip(*(baselines.triton_matmul(inputs) for inputs in sets)))
    graphs, errors = [], []
    for config in by_config:
        try:
            graph = Graph([launch for _, launch in config])
            graphs.append((config[0][0] + ("" if agree(sets[0].d, wanted) else DIFFERS), graph))
        except Exception as error:  # noqa: BLE001 - whatever Triton's compiler raises
            errors.append(error)
    if not graphs:
        raise Unavailable(str(errors[0]))
    return fastest(graphs)


def contender_graph(run: Run, name: str, sets: list[Inputs], wanted: torch.Tensor) -> tuple[str, Graph]:
    """The contender's graph over all sets and a remark. Raises Unavailable."""
    if name == "triton":
        return triton_graph(sets, wanted)
    if name == "deepgemm" and run.deepgemm is None:
        raise Unavailable("not installed (--deepgemm=PATH)")
    make = baselines.torch_scaled_mm if name == "cublaslt" else lambda inputs: baselines.deepgemm(run.deepgemm, inputs)
    made = [make(inputs) for inputs in sets]
    result = made[0][1]()
    remark = "" if agree(sets[0].d if result is None else result, wanted) else DIFFERS
    return made[0][0] + remark, Graph([launch for _, launch in made])


def time_gemm(run: Run, problem: dict[str, Any], m: int) -> dict[str, Any]:
    n, k = problem["n"], problem["k"]
    name = next(variant["launch"] for variant in problem["variants"] if variant["m"][0] <= m <= variant["m"][1])
    kernel = run.kernel(name.removesuffix(".json"))
    set_bytes = m * k + n * k + 2 * m * n
    sets = [Inputs.random(m, n, k, run.device) for _ in range(rotation(set_bytes, run.driver.l2_bytes))]
    graphs = {"ours": Graph(our_launches(run, kernel, m, sets))}
    wanted = sets[0].d.clone()
    notes = {}
    for contender in CONTENDERS:
        try:
            notes[contender], graphs[contender] = contender_graph(run, contender, sets, wanted)
        except Exception as error:  # noqa: BLE001 - what others raise must not end the run
            notes[contender] = f"not run: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    measure(list(graphs.values()))
    seconds = graphs["ours"].seconds
    flops, moved = 2.0 * m * n * k, set_bytes + 4 * -(-k // 128) * (m + -(-n // 128))
    floor = max(flops / NOMINAL_FLOPS, moved / hbm_bytes_per_second(run.driver.name))
    peak = run.results["peaks"]
    reached = max(flops / peak["fp8_flops"], moved / peak["read_bytes_per_second"])
    return {"kernel": kernel.name, "M": m, "N": n, "K": k, "seconds": seconds, "spread": graphs["ours"].spread,
            "tflops": flops / seconds * 1e-12, "gigabytes_per_second": moved / seconds * 1e-9, "of_roofline": floor / seconds,
            "of_measured_peak": reached / seconds,
            "others": {key: graph.seconds for key, graph in graphs.items() if key != "ours"},
            "notes": {key: note for key, note in notes.items() if note}}  # fmt: skip


def time_memory_kernel(run: Run, name: str, m: int) -> dict[str, Any]:
    """quantize or dequantize, against the bandwidth of a copy."""
    kernel = run.kernel(name)
    quantizes = kind_of(kernel) == "quantize"
    moved = sum(operand.rows * operand.row_bytes for operand in kernel.operands(m))
    launches, keep = [], []
    for _ in range(rotation(moved, run.driver.l2_bytes)):
        operands = Operands(kernel, m, run.device)
        (fill_quantize if quantizes else fill_dequantize)(kernel, operands, m, run.device)
        arguments = kernel.prepare(operands.addresses(), m)
        keep.append((operands, arguments))
        launches.append(lambda arguments=arguments: kernel.launch(arguments, m, run.stream()))
    graph = Graph(launches)
    measure([graph])
    for operands, _ in keep:
        operands.close()
    bandwidth = moved / graph.seconds
    return {"kernel": name, "M": m, "seconds": graph.seconds, "gigabytes_per_second": bandwidth * 1e-9,
            "of_copy": bandwidth / run.results["peaks"]["copy_bytes_per_second"]}  # fmt: skip


def time_all(run: Run) -> None:
    index = json.loads((run.directory / "index.json").read_text())
    run.results["peaks"] = peaks()
    run.results["benchmark"], run.results["memory"], run.results["skipped"] = [], [], []
    for entry in index["memory"]:
        run.results["memory"].append(time_memory_kernel(run, entry["kernel"], entry["m"]))
    for problem in index["problems"]:
        for m in TIMED_M:
            what = f"{problem['n']} x {problem['k']}, M = {m}"
            if run.late():
                run.results["skipped"].append(what)
                continue
            print(f"timing {what} ...", flush=True)
            run.results["benchmark"].append(time_gemm(run, problem, m))
            torch.cuda.empty_cache()


# --- Tables ---


def print_tables(run: Run) -> None:
    peak = run.results["peaks"]
    print(f"\nmeasured peaks: copy {peak['copy_bytes_per_second'] * 1e-12:.2f} TB/s, "
          f"read {peak['read_bytes_per_second'] * 1e-12:.2f} TB/s, "
          f"FP8 (cuBLASLt, 8192^3, one scale) {peak['fp8_flops'] * 1e-12:.0f} TFLOPS")  # fmt: skip
    print(f"\n{'N x K':>13} {'M':>5} {'us':>8} {'TFLOPS':>7} {'GB/s':>6} {'% roof':>7} {'% peak':>7}"
          + "".join(f" {name + ' us':>12}" for name in CONTENDERS) + "  ours/best  kernel")  # fmt: skip
    for row in run.results["benchmark"]:
        others = row["others"]
        columns = "".join(f" {others[name] * 1e6:12.2f}" if name in others else f" {'-':>12}" for name in CONTENDERS)
        ahead = f"{min(others.values()) / row['seconds']:9.2f}x" if others else f"{'-':>10}"
        print(f"{row['N']:>6} x {row['K']:<5}{row['M']:>5} {row['seconds'] * 1e6:8.2f} {row['tflops']:7.0f} "
              f"{row['gigabytes_per_second']:6.0f} {100 * row['of_roofline']:7.1f} {100 * row['of_measured_peak']:7.1f}"
              f"{columns} {ahead}  {row['kernel'].split('_k')[-1]}")  # fmt: skip
    for row in run.results["memory"]:
        print(f"{row['kernel']}, M = {row['M']}: {row['seconds'] * 1e6:.2f} us, {row['gigabytes_per_second']:.0f} GB/s, "
              f"{100 * row['of_copy']:.1f} % of a copy")  # fmt: skip
    for name, notes in {c: {r["notes"].get(c) for r in run.results["benchmark"]} - {None} for c in CONTENDERS}.items():
        for note in sorted(notes):
            print(f"{name}: {note}")


def print_summary(run: Run, wrong: int, results: Path) -> None:
    checks = len(run.results["correctness"])
    line = f"{len(run.kernels)} kernels, {checks} products checked, {wrong} wrong"
    if wrong:
        line += ", NOT TIMED"
    elif rows := run.results.get("benchmark"):
        for name in CONTENDERS:
            ratios = [row["others"][name] / row["seconds"] for row in rows if name in row["others"]]
            if ratios:
                line += f"; ahead of {name} in {sum(r > 1 for r in ratios)} of {len(ratios)}"
        if run.results["skipped"]:
            line += f"; OUT OF TIME, not timed: {', '.join(run.results['skipped'])}"
    print(f"\n{line}; details in {results}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__)
    parser.add_argument("directory", type=Path, help="what the target gpu-kernels wrote")
    parser.add_argument("results", type=Path, nargs="?", default=Path("gpu-results.json"), help="file for all figures")
    parser.add_argument("--deepgemm", help="folder with deep_gemm, to time it too (an installed one is found without)")
    parser.add_argument("--seconds", type=float, default=400, help="begin no further measurement after this long")
    parser.add_argument("--check-only", action="store_true", help="no timing")
    parser.add_argument("--kernel", action="append", default=[], help="check this one only (may be repeated)")
    parser.add_argument("--m", type=int, action="append", default=[], help="check this M only (may be repeated)")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    if not kernel_names(arguments.directory):
        print(f"error: no kernels in {arguments.directory}; build the target gpu-kernels", file=sys.stderr)
        return 1
    try:
        if torch.cuda.is_available():
            torch.cuda.init()
            torch.zeros(1, device="cuda")
        driver = Driver()
    except NoGpu as error:
        print(f"no GPU test: {error}", file=sys.stderr)
        return 77
    device = "cpu" if driver.simulated else "cuda"
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    run = Run(driver, arguments.directory, device, time.monotonic() + arguments.seconds)
    run.results = {"gpu": driver.name, "driver": driver.version, "sms": driver.sms, "l2_bytes": driver.l2_bytes,
                   "torch": torch.__version__}  # fmt: skip
    print(f"{driver.name}, {driver.sms} multiprocessors, L2 {driver.l2_bytes >> 20} MiB, driver {driver.version}, "
          f"torch {torch.__version__}")  # fmt: skip
    wrong = check_all(run, arguments.kernel, arguments.m or list(CHECKED_M))
    # A wrong kernel's speed means nothing, and a simulator has none.
    if wrong == 0 and not arguments.check_only and device == "cuda":
        try:
            run.deepgemm = baselines.load_deepgemm(arguments.deepgemm)
        except Unavailable as error:
            print(f"*** {error}: DeepGEMM is SKIPPED ***")
        time_all(run)
        print_tables(run)
    arguments.results.write_text(json.dumps(run.results, indent=2) + "\n")
    print_summary(run, wrong, arguments.results)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
