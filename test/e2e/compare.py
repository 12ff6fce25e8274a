#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares what quant-run computes from a compiled module with the NumPy float64 reference on the same checkpoint bytes.

Logits: relative error ||got - want|| / ||want|| over all prompt positions, and at the worst one, for prefill in one call, in chunks,
and token by token, which must also agree with each other. Greedy tokens: with the run's own tokens fed to the reference, each must be
the reference's best unless that is a matter of less than the measured error. NumPy only. Exit status 1 on a failure, 2 on bad usage.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))

from checkpoint import Checkpoint, SafetensorsFile  # noqa: E402
from deepseek import Model  # noqa: E402

MODES = ("prefill", "chunks", "tokenwise")
MAX_RELATIVE_ERROR = 1e-2
MAX_MODE_ERROR = 1e-3  # between the first mode and the others
WORST_POSITION = 4  # the worst position may err this many times the bound over all positions
GATE_HAIR = 1e-4  # expert scores closer than this may be ranked otherwise by a correct float32 program
TIMEOUT_SECONDS = 300


class RunError(RuntimeError):
    """quant-run failed, or answered something that is not what its command line promises."""


@dataclass
class Run:
    """What quant-run said: logits [prompt, vocab], the generated tokens, and whose code ran."""

    logits: np.ndarray
    tokens: list[int]
    isa: str | None = None


def quant_run(binary: Path, module: Path, weights: Path, prompt: list[int], count: int, *options: str) -> Run:
    """Runs `quant-run module --weights weights ...` and reads its JSON and its logits file."""
    with tempfile.TemporaryDirectory(prefix="quant-run-") as folder:
        file = Path(folder) / "logits.safetensors"
        command = [str(binary), str(module), "--weights", str(weights), "--tokens", ",".join(map(str, prompt))]
        command += ["--max-new-tokens", str(count), "--json", "--logits", str(file), *options]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RunError(f"cannot run {binary}: {error}") from error
        if done.returncode != 0:
            raise RunError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-2000:]}")
        try:
            answer = json.loads(done.stdout)
            run = Run(SafetensorsFile(file).values("logits").copy(), [int(token) for token in answer["tokens"]], answer.get("isa"))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise RunError(f"cannot read the answer of {' '.join(command)}: {error!r}\n{done.stdout[-500:]}") from error
    if answer.get("prompt", prompt) != prompt:
        raise RunError(f"quant-run was given {prompt} and echoes {answer['prompt']}")
    return run


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def worst_position(got: np.ndarray, want: np.ndarray) -> tuple[float, int]:
    """(relative error, position) where that is largest; a NaN is the largest."""
    errors = np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)
    position = int(np.argmax(np.nan_to_num(errors, nan=np.inf)))
    return float(errors[position]), position


@dataclass
class Logits:
    """A comparison of logits; `problems` is empty when it holds."""

    error: float = np.nan
    worst: float = np.nan
    position: int = -1
    absolute: float = np.inf
    problems: list[str] = field(default_factory=list)


def compare_logits(what: str, got: np.ndarray, want: np.ndarray, bound: float) -> Logits:
    if got.shape != want.shape:
        return Logits(problems=[f"{what}: logits have shape {list(got.shape)}, not {list(want.shape)}"])
    worst, position = worst_position(got, want)
    result = Logits(relative_error(got, want), worst, position, float(np.abs(got - want).max()))
    if not result.error <= bound:  # a NaN fails, too
        result.problems.append(f"{what}: relative error {result.error:.3e} is more than {bound:.1e}")
    if not worst <= WORST_POSITION * bound:
        result.problems.append(
            f"{what}: relative error {worst:.3e} at position {position} is more than {WORST_POSITION * bound:.1e}"
        )
    return result


@dataclass
class Tokens:
    """How many generated tokens were checked; the rest came after a decision too close to call."""

    checked: int = 0
    total: int = 0
    problems: list[str] = field(default_factory=list)


def compare_tokens(model: Model, prompt: list[int], tokens: list[int], count: int, tolerance: float) -> Tokens:
    """Feeds the run's own tokens to the reference. A token may differ from its best by a gap of at most `tolerance` in logits."""
    result = Tokens(total=len(tokens))
    vocab, end = model.config["vocab_size"], model.config.get("eos_token_id")
    if len(tokens) > count or (len(tokens) < count and (not tokens or tokens[-1] != end)):
        result.problems.append(f"{len(tokens)} tokens were generated, not {count}")
    if any(not 0 <= token < vocab for token in tokens):
        result.problems.append(f"a generated token is not in the vocabulary of {vocab}: {tokens}")
    if result.problems or not tokens:
        return result
    output = model.forward(prompt + tokens[:-1])
    for step, token in enumerate(tokens):
        position = len(prompt) - 1 + step
        row = output.logits[position]
        if step > 0 and output.gate_margin[position] < GATE_HAIR:
            return result
        gap = float(row.max() - row[token])
        if gap > tolerance:
            result.problems.append(
                f"generated token {step} is {token}, the reference has {int(row.argmax())} by {gap:.3e} (tolerance {tolerance:.1e})"
            )
            return result
        result.checked += 1
    return result


@dataclass
class Golden:
    """What Hugging Face transformers answered (test/reference/make_golden.py)."""

    prompt: list[int]
    tokens: list[int]
    margins: list[float]
    logits: np.ndarray
    bf16_error: float

    @staticmethod
    def load(folder: Path) -> Golden:
        data: dict[str, Any] = json.loads((folder / "golden.json").read_text())
        logits = np.load(folder / "logits.npy").astype(np.float64)
        return Golden(data["prompt"], data["tokens"], data["margins"], logits, data["relative_error"]["transformers_bf16_vs_f32"])

    def compare(self, run: Run, bound: float) -> Logits:
        """Logits within the bound, and within what transformers itself shows in bf16; tokens up to the first close decision."""
        result = compare_logits("against transformers", run.logits, self.logits, min(bound, self.bf16_error))
        for step, (got, want, margin) in enumerate(zip(run.tokens, self.tokens, self.margins)):
            if margin <= 4 * result.absolute:
                break
            if got != want:
                result.problems.append(f"generated token {step} is {got}, transformers has {want} by {margin:.3e}")
                break
        return result


def mode_options(mode: str, prompt: list[int], isa: str | None) -> list[str]:
    chunk = {"prefill": None, "chunks": max(2, len(prompt) // 3), "tokenwise": 1}[mode]
    return ([] if chunk is None else ["--chunk", str(chunk)]) + (["--isa", isa] if isa else [])


@dataclass
class Settings:
    """Everything that one comparison needs; `golden` and `isa` are optional."""

    checkpoint: Path
    module: Path
    quant_run: Path
    prompt: list[int]
    count: int = 16
    golden: Golden | None = None
    max_relative_error: float = MAX_RELATIVE_ERROR
    modes: tuple[str, ...] = MODES
    isa: str | None = None


def compare(settings: Settings) -> list[str]:
    """Runs every mode, prints a table, and returns the problems."""
    model, prompt, bound = Model(Checkpoint(settings.checkpoint)), settings.prompt, settings.max_relative_error
    want = model.forward(prompt)
    problems, first = [], None
    print(
        f"{settings.module.name}: {len(prompt)} positions, {settings.count} new tokens, isa {settings.isa or 'best'}, bound {bound:.1e}"
    )
    print("  mode       rel. error  worst position     transformers  vs first mode  tokens")
    for mode in settings.modes:
        try:
            options = mode_options(mode, prompt, settings.isa)
            run = quant_run(settings.quant_run, settings.module, settings.checkpoint, prompt, settings.count, *options)
        except RunError as error:
            problems.append(f"{mode}: {error}")
            continue
        logits = compare_logits("against the reference", run.logits, want.logits, bound)
        tolerance = 4 * logits.absolute if not logits.problems else 0.0
        tokens = compare_tokens(model, prompt, run.tokens, settings.count, tolerance)
        golden = settings.golden.compare(run, bound) if settings.golden else Logits()
        first = first or run
        agreement = compare_logits("against the first mode", run.logits, first.logits, MAX_MODE_ERROR)
        if settings.isa and run.isa not in (None, settings.isa):
            problems.append(f"{mode}: asked for {settings.isa}, {run.isa} ran")
        problems += [f"{mode}: {p}" for p in logits.problems + tokens.problems + golden.problems + agreement.problems]
        against_golden = f"{golden.error:12.3e}" if settings.golden else f"{'-':>12s}"
        print(
            f"  {mode:9s}  {logits.error:10.3e}  {logits.worst:10.3e} @{logits.position:<4d}  {against_golden}  "
            f"{agreement.error:13.3e}  {tokens.checked}/{tokens.total} checked"
        )
    closest = float(want.gate_margin.min())
    if problems and closest < GATE_HAIR:
        position = int(want.gate_margin.argmin())
        problems.append(
            f"note: an expert was chosen by only {closest:.1e} at position {position}; a correct program may choose another"
        )
    return problems


def clear_prompt(model: Model, length: int, seed: int, tries: int = 300) -> list[int]:
    """The first seeded random prompt on which no expert selection hangs by a hair (of `tries`, else the clearest)."""
    random, best = np.random.default_rng(seed), (-1.0, [0])
    for _ in range(tries):
        prompt = random.integers(0, model.config["vocab_size"], length).tolist()
        best = max(best, (float(model.forward(prompt).gate_margin.min()), prompt))
        if best[0] >= 2 * GATE_HAIR:
            break
    return best[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="the Hugging Face folder")
    parser.add_argument("--module", type=Path, required=True, help="the compiled .qmod")
    parser.add_argument("--quant-run", type=Path, required=True, help="the quant-run binary")
    parser.add_argument("--tokens", help="the prompt, as 1,2,3; default: the golden's")
    parser.add_argument("--golden", type=Path, help="a folder with golden.json and logits.npy")
    parser.add_argument("--max-new-tokens", type=int, default=16)
    parser.add_argument("--max-rel-error", type=float, default=MAX_RELATIVE_ERROR)
    parser.add_argument("--modes", default=",".join(MODES), help="of prefill, chunks, tokenwise")
    parser.add_argument("--isa", help="passed on to quant-run: avx2, avx512")
    arguments = parser.parse_args()
    golden = Golden.load(arguments.golden) if arguments.golden else None
    modes = tuple(arguments.modes.split(","))
    if unknown := set(modes) - set(MODES):
        parser.error(f"unknown modes {sorted(unknown)}")
    if arguments.tokens:
        prompt = [int(token) for token in arguments.tokens.split(",")]
    elif golden:
        prompt = golden.prompt
    else:
        parser.error("--tokens or --golden is needed")
    if golden and prompt != golden.prompt:
        parser.error("--tokens differs from the golden's prompt")
    settings = Settings(
        arguments.checkpoint, arguments.module, arguments.quant_run, prompt, arguments.max_new_tokens, golden,
        arguments.max_rel_error, modes, arguments.isa,
    )  # fmt: skip
    problems = compare(settings)
    for problem in problems:
        print(f"FAILED {problem}", file=sys.stderr)
    print("FAILED" if problems else "ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
