#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""End to end on toys: checkpoint -> quant-compile -> quant-run, against transformers' goldens and the float64 reference.

    python3 test/e2e/test_toys.py --bin build/bin [--seed N] [--max-rel-error 1e-2] [unittest arguments]

The FP8 toys are made by quant-convert from a fresh random seed, which is printed; --seed (or QUANT_TOY_SEED) repeats a run.
NumPy only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np

from compare import MAX_RELATIVE_ERROR, MODES, Golden, Settings, clear_prompt, compare
from checkpoint import Checkpoint, SafetensorsFile, write_safetensors  # compare puts test/reference on the path
from deepseek import Model
from schemes import quantize

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parents[1] / "models" / "configs"
#: Units of --host-isa, the best first, with a flag of /proc/cpuinfo that the units after them do without.
UNITS = {"amx": "amx_int8", "avx512bf16": "avx512_bf16", "avx512": "avx512vbmi", "avx2": "avx2"}
PROMPT, NEW_TOKENS = 37, 16


class Context:
    """Set by main(): where the binaries are, the seed of the random toys, and the bound on the relative error."""

    binaries = Path()
    seed = 0
    max_error = MAX_RELATIVE_ERROR


def manifest(module: Path) -> dict[str, Any]:
    """manifest.json of a .qmod (docs/module-format.md: u32 at 16 = number of sections, a table of 72-byte entries at 64)."""
    data = module.read_bytes()
    for entry in range(64, 64 + 72 * int.from_bytes(data[16:20], "little"), 72):
        if data[entry : entry + 48].rstrip(b"\0") == b"manifest.json":
            offset, size = (int.from_bytes(data[at : at + 8], "little") for at in (entry + 48, entry + 56))
            return json.loads(data[offset : offset + size])
    raise AssertionError(f"{module} has no manifest.json")


def cpu_flags() -> set[str]:
    return set(next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "").split())


def cpu_units() -> str:
    """For --host-isa: code that this CPU cannot run need not be compiled."""
    flags = cpu_flags()
    return "--host-isa=" + ",".join(unit for unit, flag in UNITS.items() if flag in flags)


def host_objects(module: Path) -> list[dict[str, Any]]:
    return next(target["objects"] for target in manifest(module)["targets"] if target["name"] == "host")


def runnable_isas(module: Path) -> list[str]:
    """The instruction sets that the module has host code for and this CPU can run."""
    flags = cpu_flags()
    isas = [item["isa"] for item in host_objects(module) if set(item["requires"]) <= flags]
    if not isas:
        raise AssertionError(f"this CPU can run none of the code in {module}")
    return isas


def call(tool: str, *arguments: str | Path) -> None:
    """Runs a tool of the build; what it said is in the error when it fails."""
    command = [str(Context.binaries / tool), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-3000:]}")


def respell(source: Path, target: Path) -> None:
    """Copies a checkpoint into two shards with an index, its rope keys in transformers 5's spelling (rope_parameters)."""
    target.mkdir()
    config = json.loads((source / "config.json").read_text())
    scaling = config.pop("rope_scaling")
    config["rope_parameters"] = {"rope_type": scaling.pop("type"), "rope_theta": config.pop("rope_theta"), **scaling}
    (target / "config.json").write_text(json.dumps(config))
    file = SafetensorsFile(source / "model.safetensors")
    names = sorted(file.header)
    shard_of: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"model-{number:05d}-of-00002.safetensors"
        write_safetensors(target / shard, {name: (file.dtype(name), file.raw(name)) for name in part}, {"format": "pt"})
        shard_of |= dict.fromkeys(part, shard)
    index = {"metadata": {"total_size": sum(file.raw(name).nbytes for name in names)}, "weight_map": shard_of}
    (target / "model.safetensors.index.json").write_text(json.dumps(index))


class Toys(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="toys-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def check(self, checkpoint: Path, prompt: list[int], golden: Golden | None = None, modes: tuple[str, ...] = MODES) -> None:
        """Compiles once, and compares under every ISA that this CPU has."""
        module = self.folder / f"{checkpoint.name}.qmod"
        call("quant-compile", checkpoint, cpu_units(), "--kv-cache=f32", "-o", module)
        for isa in runnable_isas(module):
            with self.subTest(isa=isa):
                count = len(golden.tokens) if golden else NEW_TOKENS
                run = Context.binaries / "quant-run"
                settings = Settings(checkpoint, module, run, prompt, count, golden, Context.max_error, modes, isa)
                problems = compare(settings)
                self.assertFalse(problems, "\n".join(problems))

    def test_units(self) -> None:
        """A module has code for every kind of CPU, unless --host-isa says for which."""
        module = self.folder / "units.qmod"
        native = next(unit for unit in ("amx", "avx512", "avx2") if UNITS[unit] in cpu_flags())
        for options, wanted in (([], {"amx", "avx512", "avx2"}), (["--host-isa=native"], {native})):
            call("quant-compile", HERE / "golden" / "v3", *options, "-o", module)
            self.assertEqual({item["isa"] for item in host_objects(module)}, wanted)

    def check_golden(self, name: str) -> None:
        golden = Golden.load(HERE / "golden" / name)
        self.check(HERE / "golden" / name, golden.prompt, golden)

    def check_random(self, config: str) -> None:
        checkpoint = self.folder / config
        call("quant-convert", "random", "--config", CONFIGS / f"{config}.json", "--output", checkpoint, "--seed", str(Context.seed))
        loaded = Checkpoint(checkpoint)
        self.assertTrue(any(map(loaded.is_fp8, loaded.names())), f"{config} has no FP8 weight")
        self.check(checkpoint, clear_prompt(Model(loaded), PROMPT, Context.seed))

    def test_golden_v3(self) -> None:
        self.check_golden("v3")

    def test_golden_v2(self) -> None:
        self.check_golden("v2")

    def test_golden_v3_in_shards_and_in_transformers_5_spelling(self) -> None:
        golden = Golden.load(HERE / "golden" / "v3")
        respell(HERE / "golden" / "v3", self.folder / "respelled")
        self.check(self.folder / "respelled", golden.prompt, golden, modes=("prefill",))

    def test_random_fp8_v3(self) -> None:
        self.check_random("toy_v3")

    def test_random_fp8_v2(self) -> None:
        self.check_random("toy_v2")


class QuantizedActivations(unittest.TestCase):
    """--activations=fp8 or int8 on the host against the reference that quantizes alike.

    Rounding differences of 1e-7 flip a code in about one of ten prompts, and a flipped code is worth a few percent in all that
    follows it. So short prompts are run one by one: those without a flip, nearly all, must agree to rounding.
    """

    PROMPTS, LENGTH, MUST_AGREE = 9, 2, 2

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="quantized-activations-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def random(self, config: str, *options: str) -> Path:
        checkpoint = self.folder / "checkpoint"
        config = CONFIGS / f"{config}.json"
        call("quant-convert", "random", "--config", config, *options, "--output", checkpoint, "--seed", str(Context.seed))
        return checkpoint

    def check(self, model: Model, activations: str, lengths: tuple[int, ...] = (LENGTH,)) -> None:
        module = self.folder / "model.qmod"
        call("quant-compile", model.checkpoint.folder, cpu_units(), "--kv-cache=f32", f"--activations={activations}", "-o", module)
        for length in lengths:
            self.check_prompts(model, activations, module, length)

    def check_prompts(self, model: Model, activations: str, module: Path, length: int) -> None:
        checkpoint, logits = model.checkpoint.folder, self.folder / "logits.safetensors"
        prompts = [clear_prompt(model, length, Context.seed + number) for number in range(self.PROMPTS)]
        wanted = [model.generate(prompt, 0, None)[0].logits for prompt in prompts]
        for isa in runnable_isas(module):
            errors = []
            for prompt, want in zip(prompts, wanted):
                tokens = ",".join(map(str, prompt))
                call("quant-run", module, "--weights", checkpoint, "--tokens", tokens, "--max-new-tokens", "1", "--logits", logits,
                     "--isa", isa)
                got = SafetensorsFile(logits).values("logits").astype(np.float64)
                errors.append(float(np.linalg.norm(got - want) / np.linalg.norm(want)))
            agree = sum(error < 1e-5 for error in errors)
            print(f"{activations} {isa}: {agree} of {len(errors)} prompts agree, best {min(errors):.1e}")
            self.assertGreaterEqual(agree, self.MUST_AGREE)

    def check_fp8(self, config: str, scale_format: str) -> None:
        checkpoint = self.random(config)
        path = checkpoint / "config.json"
        settings = json.loads(path.read_text())
        if scale_format != "none":
            settings["quantization_config"]["scale_fmt"] = scale_format
        path.write_text(json.dumps(settings))
        model = Model(Checkpoint(checkpoint), activations="fp8")
        self.assertEqual(model.ue8m0, scale_format == "ue8m0")
        self.check(model, "fp8")

    def test_fp8_v3(self) -> None:
        self.check_fp8("toy_v3", "none")

    def test_fp8_v3_with_power_of_two_scales(self) -> None:
        self.check_fp8("toy_v3", "ue8m0")

    def test_fp8_v2(self) -> None:
        self.check_fp8("toy_v2", "none")

    def test_int8(self) -> None:
        """W8A8, and W4A8 in groups: few rows of x and many, which other kernels multiply."""
        plain = self.random("toy_v3", "--dtype", "bf16")
        for scheme in ("ct-w8a8", random.Random(Context.seed).choice(["ct-w4a8", "ct-w4a8-bytes"])):
            with self.subTest(scheme):
                coded = self.folder / scheme
                self.assertGreater(quantize(plain, coded, scheme), 0)
                self.check(Model(Checkpoint(coded), activations="int8"), "int8", (self.LENGTH, 9))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other arguments go to unittest.")
    parser.add_argument(
        "--bin", type=Path, default=os.environ.get("QUANT_BIN"), metavar="DIR", help="the build's bin directory (or QUANT_BIN)"
    )
    parser.add_argument("--seed", type=int, default=os.environ.get("QUANT_TOY_SEED"), help="of the random toys")
    parser.add_argument("--max-rel-error", type=float, default=MAX_RELATIVE_ERROR)
    arguments, rest = parser.parse_known_args()
    if not arguments.bin:
        parser.error("--bin is needed")
    missing = [tool for tool in ("quant-compile", "quant-convert", "quant-run") if not (arguments.bin / tool).exists()]
    if missing:
        parser.error(f"{arguments.bin} lacks {', '.join(missing)}")
    Context.binaries = arguments.bin.resolve()
    Context.max_error = arguments.max_rel_error
    Context.seed = random.SystemRandom().randrange(2**31) if arguments.seed is None else int(arguments.seed)
    print(f"seed {Context.seed} (repeat with --seed {Context.seed})", flush=True)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
