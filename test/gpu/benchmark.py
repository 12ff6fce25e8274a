# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ours beside others on the same operands: who takes part in a row of the table, and what is measured."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import torch

import baselines
from baselines import Inputs, Launch, Unavailable
from context import Run, first_line
from problems import PROGRAMMATIC, Operands, expand_scales, fill_decode, fill_dequantize, fill_quantize, kind_of, size_decode
from recipe import Arguments, Kernel
from timing import Graph, launches_for, measure, peaks, rotation

TIMED_M = (1, 64, 128, 4096)
#: Dense e4m3 by the data sheet, and HBM of the known GPUs.
NOMINAL_FLOPS = 1979e12
NOMINAL_HBM = {"H200": 4.8e12, "H100": 3.35e12, "H800": 3.35e12, "H20": 4.0e12}
#: What is said of a contender whose result is another.
DIFFERS = "COMPUTES SOMETHING ELSE"
#: A contender that spoilt as many processes is left out.
MAX_FAULTS = 2


class WrongResult(Exception):
    """Ours computes something else."""


def hbm_bytes_per_second(name: str) -> float:
    return next((value for key, value in NOMINAL_HBM.items() if key in name), 3.35e12)


def launch_here(run: Run, kernel: Kernel, arguments: Arguments, m: int, programmatic: bool) -> None:
    """On the stream that is current at this moment: a capture has its own."""
    kernel.launch(arguments, m, run.stream(), programmatic)


def our_launches(run: Run, kernel: Kernel, m: int, sets: list[Inputs], programmatic: bool) -> list[Launch]:
    """A launch for each set; they share what the kernel needs as scratch."""
    launches: list[Launch] = []
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
        launches.append(functools.partial(launch_here, run, kernel, arguments, m, programmatic))
    return launches


def reference(inputs: Inputs) -> torch.Tensor:
    """The product in float32."""
    (m, k), n = inputs.a.shape, inputs.b.shape[0]
    a = inputs.a.float() * expand_scales(inputs.scale_a[:, :m].t(), m, k, (1, 128))
    return a @ (inputs.b.float() * expand_scales(inputs.scale_b, n, k, (128, 128))).t()


def agree(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    got = got[: wanted.shape[0], : wanted.shape[1]].float()
    return bool((got - wanted).abs().mean() <= 0.01 * wanted.abs().mean())


class Row:
    """The timing of one product at one M: the operand sets, and who has a graph."""

    def __init__(self, run: Run, kernel: Kernel, m: int, n: int, k: int) -> None:
        self.run, self.kernel, self.m, self.n, self.k = run, kernel, m, n, k
        set_bytes = m * k + n * k + 2 * m * n
        self.flops, self.moved = 2.0 * m * n * k, set_bytes + 4 * -(-k // 128) * (m + -(-n // 128))
        self.floor = max(self.flops / NOMINAL_FLOPS, self.moved / hbm_bytes_per_second(run.driver.name))
        self.sets = [Inputs.random(m, n, k, run.device) for _ in range(rotation(set_bytes, run.driver.l2_bytes))]
        self.count = launches_for(self.floor, len(self.sets))
        self.wanted = reference(self.sets[0])
        self.graphs: dict[str, Graph] = {}
        self.notes: dict[str, str] = {}

    @property
    def what(self) -> str:
        return f"{self.n} x {self.k}, M = {self.m}"

    def poison(self) -> None:
        """So that nobody passes with the result of the one before."""
        for inputs in self.sets:
            inputs.d.fill_(float("nan"))

    def graph_of(self, launches: list[Launch]) -> Graph:
        """Raises Unavailable if the first launch computes something else."""
        self.poison()
        result = launches[0]()
        if not agree(self.sets[0].d if result is None else result, self.wanted):
            raise Unavailable(DIFFERS)
        return Graph(launches, self.count)

    def contender(self, form: baselines.Form) -> Graph:
        return self.graph_of([form[1](inputs) for inputs in self.sets])

    # --- Contenders: each gives its graph and a remark ---

    def ours(self) -> tuple[str, Graph]:
        return "", self.graph_of(our_launches(self.run, self.kernel, self.m, self.sets, False))

    def ours_programmatic(self) -> tuple[str, Graph]:
        if not self.kernel.programmatic:
            raise Unavailable("the recipe is not programmatic")
        if self.run.faults_of(self.kernel.name):
            raise Unavailable("wrong in the checks")
        graph = self.graph_of(our_launches(self.run, self.kernel, self.m, self.sets, True))
        self.graphs["ours"].run()
        bits = [inputs.d.view(torch.int16).clone() for inputs in self.sets]
        self.poison()
        graph.run()
        if not all(torch.equal(inputs.d.view(torch.int16), plain) for inputs, plain in zip(self.sets, bits)):
            raise WrongResult("other bits than the plain launches")
        return "", graph

    def cublaslt(self) -> tuple[str, Graph]:
        errors = []
        for form in baselines.cublaslt_forms(self.m, self.n):
            try:
                return form[0], self.contender(form)
            except Exception as error:  # noqa: BLE001 - torch's own, or a function that this torch does not have
                self.run.stop_if_spoilt(error)
                errors.append(first_line(error))
        raise Unavailable(f"{'; '.join(dict.fromkeys(errors))} (torch {torch.__version__}, CUDA {torch.version.cuda})")

    def triton(self) -> tuple[str, Graph]:
        """The fastest of its configs that run here."""
        graphs, errors = [], []
        for form in baselines.triton_forms(self.m):
            try:
                graphs.append((form[0], self.contender(form)))
            except Exception as error:  # noqa: BLE001 - whatever Triton's compiler raises
                self.run.stop_if_spoilt(error)
                errors.append(first_line(error))
        if not graphs:
            raise Unavailable(errors[0])
        measure([graph for _, graph in graphs], 3)
        remark, best = min(graphs, key=lambda pair: pair[1].seconds)
        best.samples.clear()
        return remark, best

    def deepgemm(self, programmatic: bool) -> tuple[str, Graph]:
        remark, make = baselines.deepgemm_form(self.run.deepgemm, programmatic)
        return remark, self.contender((remark, make))

    def makers(self) -> dict[str, Callable[[], tuple[str, Graph]]]:
        return {"ours": self.ours, "ours, pdl": self.ours_programmatic, "cublaslt": self.cublaslt, "triton": self.triton,
                "deepgemm": lambda: self.deepgemm(False), "deepgemm, pdl": lambda: self.deepgemm(True)}  # fmt: skip

    def enter(self, name: str, make: Callable[[], tuple[str, Graph]]) -> None:
        """Gives the contender a graph, or a note why it has none."""
        faults = [fault for fault in self.run.results.list("faults") if fault.get("contender") == name]
        here = [fault["wrong"] for fault in faults if fault["what"] == self.what]
        spoilt = sum(fault.get("ended", False) for fault in faults)
        if here or (spoilt >= MAX_FAULTS and name != "ours"):
            self.notes[name] = f"not run: {here[0] if here else f'it spoilt {spoilt} processes'}"
            return
        self.run.results.begin("time", what=self.what, contender=name)
        try:
            remark, self.graphs[name] = make()
            if remark:
                self.notes[name] = remark
        except WrongResult as error:
            self.run.results.list("faults").append({"what": self.what, "contender": name, "wrong": str(error)})
            self.notes[name] = f"WRONG: {error}"
        except Exception as error:  # noqa: BLE001 - what others raise must not end the run
            self.run.stop_if_spoilt(error)
            self.notes[name] = f"not run: {first_line(error)}"
            if name == "ours":
                raise WrongResult(first_line(error)) from error

    def measured(self) -> dict[str, Any]:
        for name, make in self.makers().items():
            self.enter(name, make)
        self.run.results.begin("time", what=self.what, contender="all in turn")
        measure(list(self.graphs.values()))
        ours = self.graphs["ours"]
        load = ours.under_load(self.run.nvml.figures)
        seconds, peak = ours.seconds, self.run.results["peaks"]
        reached = max(self.flops / peak.get("fp8_flops", NOMINAL_FLOPS), self.moved / peak["read_bytes_per_second"])
        return {"kernel": self.kernel.name, "M": self.m, "N": self.n, "K": self.k,
                "seconds_of": {name: graph.seconds for name, graph in self.graphs.items()}, "spread": ours.spread,
                "tflops": self.flops / seconds * 1e-12, "gigabytes_per_second": self.moved / seconds * 1e-9,
                "of_roofline": self.floor / seconds, "of_measured_peak": reached / seconds, "load": load,
                "sets": len(self.sets), "launches": self.count, "notes": self.notes}  # fmt: skip


def time_gemm(run: Run, name: str, m: int, n: int, k: int) -> dict[str, Any]:
    return Row(run, run.kernel(name), m, n, k).measured()


def time_memory_kernel(run: Run, name: str, m: int) -> dict[str, Any]:
    """What memory bounds, against the bandwidth of a copy; attention with a token of each sequence and all keys there can be."""
    kernel = run.kernel(name)
    fill = {"quantize": fill_quantize, "dequantize": fill_dequantize,
            "mla_decode": functools.partial(fill_decode, full=True)}[kind_of(kernel.recipe)]  # fmt: skip
    if kind_of(kernel.recipe) == "mla_decode":
        size_decode(kernel, m, full=True)
    moved = sum(operand.rows * operand.row_bytes for operand in kernel.operands(m))
    launches: list[Launch] = []
    keep = []
    for _ in range(rotation(moved, run.driver.l2_bytes)):
        operands = Operands(kernel, m, run.device)
        fill(kernel, operands, m, run.device)
        arguments = kernel.prepare(operands.addresses(), m)
        keep.append(operands)
        launches.append(functools.partial(launch_here, run, kernel, arguments, m, False))
    graph = Graph(launches, launches_for(moved / hbm_bytes_per_second(run.driver.name), len(launches)))
    measure([graph])
    for operands in keep:
        operands.close()
    bandwidth = moved / graph.seconds
    return {"kernel": name, "M": m, "seconds": graph.seconds, "gigabytes_per_second": bandwidth * 1e-9,
            "of_copy": bandwidth / run.results["peaks"]["copy_bytes_per_second"]}  # fmt: skip


def timed(run: Run, what: str, name: str, into: str, measure_it: Callable[[], dict[str, Any]]) -> None:
    """One measurement, unless the time is over, its kernel is wrong or it spoilt a process before."""
    spoilt = any(
        (fault.get("what"), fault.get("contender")) in ((what, "ours"), (what, "all in turn"))
        for fault in run.results.list("faults")
    )
    plain = [fault for fault in run.faults_of(name) if not fault.startswith(PROGRAMMATIC)]
    reason = "out of time" if run.late() else "it crashed" if spoilt else "the kernel is wrong" if plain else ""
    if reason:
        run.results.list("skipped").append(f"{what}: not timed, {reason}")
        return
    print(f"timing {what} ...", flush=True)
    run.results.begin("time", what=what, contender="ours")
    try:
        run.results.list(into).append(measure_it())
    except Exception as error:  # noqa: BLE001 - out of memory, say: the next one is measured all the same
        run.stop_if_spoilt(error)
        run.results.list("faults").append({"what": what, "contender": "ours", "wrong": first_line(error)})
    if run.device == "cuda":
        torch.cuda.empty_cache()
    run.results.done()


def find_peaks(run: Run) -> None:
    """What this GPU reaches or, where that cannot be measured, what its data sheet says."""
    if "peaks" in run.results.values:
        return
    bandwidth = hbm_bytes_per_second(run.driver.name)
    run.results["peaks"] = {"copy_bytes_per_second": bandwidth, "read_bytes_per_second": bandwidth, "of": "data sheet"}
    run.results.begin("time", what="peaks", contender="peaks")
    try:
        run.results["peaks"] = {**peaks(run.device), "of": "measured"}
    except Exception as error:  # noqa: BLE001 - the kernels are timed all the same
        run.stop_if_spoilt(error)
        run.results.list("faults").append({"what": "peaks", "contender": "peaks", "wrong": first_line(error)})


def time_all(run: Run) -> None:
    index = json.loads((run.directory / "index.json").read_text())
    find_peaks(run)
    done = {(row["kernel"], row["M"]) for row in run.results.list("memory")}
    products = {(row["N"], row["K"], row["M"]) for row in run.results.list("benchmark")}
    for entry in index["memory"]:
        name, m = entry["kernel"], entry["m"]
        if (name, m) not in done:
            timed(run, f"{name}, M = {m}", name, "memory", functools.partial(time_memory_kernel, run, name, m))
    for problem in index["problems"]:
        n, k = problem["n"], problem["k"]
        for m in TIMED_M:
            launch = next(variant["launch"] for variant in problem["variants"] if variant["m"][0] <= m <= variant["m"][1])
            name = launch.removesuffix(".json")
            if (n, k, m) not in products:
                timed(run, f"{n} x {k}, M = {m}", name, "benchmark", functools.partial(time_gemm, run, name, m, n, k))
