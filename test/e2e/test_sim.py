#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole sm_90a modules, run in the simulator: checkpoint -> quant-compile --target=sm_90a -> quant-run --device=sim.

    python3 test/e2e/test_sim.py --bin build/bin [--seed N] [unittest arguments]

quant-run ends with an error at the first finding, so a run that ends well had none. Logits are compared with the float64 reference
that quantizes activations and rounds matmuls to bf16 as the GPU does. NumPy only.
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

import numpy as np

from compare import clear_prompt, quant_run, relative_error  # puts test/reference on the path
from checkpoint import Checkpoint
from deepseek import Model
from schemes import SCHEMES, quantize
from tiny import CHECKPOINT
import toys

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bad_input"))
from module_file import edit_json, read_sections, write_sections  # noqa: E402

#: Sizes at which q_a|kv_a and gate|up end on blocks' edges and are merged, of the shared and of the routed experts.
MERGED = {"hidden_size": 320, "q_lora_rank": 128, "moe_intermediate_size": 128}
#: Sizes that neither TMA nor 16-byte loads can read.
ODD = {
    "hidden_size": 145, "q_lora_rank": 33, "kv_lora_rank": 37, "v_head_dim": 21, "intermediate_size": 133, "moe_intermediate_size": 21,
    "num_experts_per_tok": 3,
}  # fmt: skip


class Context:
    """Set by main()."""

    binaries = Path()
    seed = 0


def call(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(Context.binaries / tool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)


class Simulated(unittest.TestCase):
    """A rounding difference of 1e-7 flips one code or one bf16 now and then, which is worth 1e-5 to 1e-1 in all that follows it. So
    short prompts are run one by one: most agree to rounding, which a wrong kernel never does, and one must; each must agree within
    what the formats allow."""

    PROMPTS, LENGTH, NEW_TOKENS, MUST_AGREE = 6, 3, 3, 1
    ROUNDING, FORMATS = 1e-5, 5e-1

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sim-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def compile(self, checkpoint: Path, *options: str, max_tokens: int = 7) -> Path:
        module = self.folder / f"{checkpoint.name}.qmod"
        done = call("quant-compile", checkpoint, "--target=sm_90a", "-o", module, "--max-tokens", str(max_tokens), "--json", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["unsupported"], [])
        self.units = {kernel["kernel"]: kernel["unit"] for kernel in report["units"]}
        self.reasons = {kernel["kernel"]: kernel.get("why", "") for kernel in report["units"]}
        return module

    def run_sim(self, module: Path, checkpoint: Path, prompt: list[int], *options: str) -> tuple[np.ndarray, list[int]]:
        run = quant_run(
            Context.binaries / "quant-run", module, checkpoint, prompt, self.NEW_TOKENS, "--device", "sim", *options
        )
        self.assertEqual(run.isa, "ptx")
        return run.logits, run.tokens

    def check_exact(self, config: dict[str, object]) -> None:
        """Without quantized activations nothing is rounded but to f32."""
        checkpoint = self.folder / "checkpoint"
        model = Model(toys.write(checkpoint, config, Context.seed))
        prompt = clear_prompt(model, self.LENGTH, Context.seed)
        logits, tokens = self.run_sim(self.compile(checkpoint, "--activations=f32", "--kv-cache=f32"), checkpoint, prompt, "--chunk", "2")
        error = relative_error(logits, model.forward(prompt).logits)
        print(f"{config['model_type']} without quantized activations: relative error {error:.1e}")
        self.assertLess(error, self.ROUNDING)
        self.assertEqual(tokens, model.generate(prompt, self.NEW_TOKENS)[1])

    def check_scheme(self, name: str, config: dict[str, object]) -> None:
        """Weights in another scheme, which plain kernels read."""
        plain, checkpoint = self.folder / f"{name}-plain", self.folder / name
        toys.write(plain, config, Context.seed)
        self.assertGreater(quantize(plain, checkpoint, name), 0)
        model = Model(Checkpoint(checkpoint))
        prompt = clear_prompt(model, self.LENGTH, Context.seed)
        logits, _ = self.run_sim(self.compile(checkpoint, "--activations=f32", "--kv-cache=f32"), checkpoint, prompt)
        error = relative_error(logits, model.forward(prompt).logits)
        print(f"{name}: relative error {error:.1e}")
        self.assertLess(error, self.ROUNDING)

    def test_schemes(self) -> None:
        for name in SCHEMES:
            with self.subTest(name):
                self.check_scheme(name, toys.v3())

    def check(self, config: dict[str, object], scale_format: str | None = None) -> None:
        checkpoint = self.folder / "checkpoint"
        if scale_format:
            config["quantization_config"] = {**config["quantization_config"], "scale_fmt": scale_format}  # type: ignore[dict-item]
        self.check_model(Model(toys.write(checkpoint, config, Context.seed), activations="fp8", rounding="sm_90a"), scale_format or "f32")

    def check_model(self, model: Model, words: str) -> None:
        checkpoint = model.checkpoint.folder
        module, errors = self.compile(checkpoint, "--kv-cache=f32"), []
        for number in range(self.PROMPTS):
            prompt = clear_prompt(model, self.LENGTH, Context.seed + number)
            # Token by token, in chunks of which the last is smaller, and in one call: the cache is read from earlier calls.
            chunk = ["1", "2", str(self.LENGTH)][number % 3]
            logits, tokens = self.run_sim(module, checkpoint, prompt, "--chunk", chunk)
            # The reference sees the run's own tokens.
            want = model.forward(prompt + tokens[:-1]).logits
            errors.append(relative_error(logits, want[: len(prompt)]))
            for step, token in enumerate(tokens):
                row = want[len(prompt) - 1 + step]
                gap, bound = float(row.max() - row[token]), self.FORMATS * float(np.linalg.norm(row))
                self.assertLess(gap, bound, f"token {step} after {prompt}")
        print(f"{model.config['model_type']} {words} scales: relative errors {', '.join(f'{e:.1e}' for e in errors)}")
        self.assertLess(max(errors), self.FORMATS)
        self.assertGreaterEqual(sum(error < self.ROUNDING for error in errors), self.MUST_AGREE)

    def units_of_experts(self) -> set[str]:
        """What computes the experts' matmuls of what was compiled last."""
        return {unit for kernel, unit in self.units.items() if kernel.startswith("grouped_")}

    def test_v3(self) -> None:
        self.check(toys.v3())
        # Rows of 24 bytes go to plain threads, x of the gate and of the head is rounded to bf16.
        self.assertEqual(self.units_of_experts(), {"tensor", "simt"})
        self.assertEqual({unit for kernel, unit in self.units.items() if kernel.startswith("matmul_bf16")}, {"tensor"})

    def test_v3_with_merged_projections_and_power_of_two_scales(self) -> None:
        self.check(toys.v3() | MERGED, "ue8m0")
        self.assertEqual(self.units_of_experts(), {"tensor"})
        self.assertTrue(any(kernel.startswith("grouped_swiglu") for kernel in self.units), "gate|up and SwiGLU are one kernel")

    def test_v2(self) -> None:
        self.check(toys.v2())

    def check_int8(self, config: dict[str, object]) -> None:
        """W8A8: what the scheme says of inputs is the target's habit."""
        plain, checkpoint = self.folder / "plain", self.folder / "w8a8"
        toys.write(plain, config, Context.seed)
        self.assertGreater(quantize(plain, checkpoint, "ct-w8a8"), 0)
        self.check_model(Model(Checkpoint(checkpoint), activations="int8", rounding="sm_90a"), "INT8")

    def test_int8(self) -> None:
        """Dense and grouped matmuls on tensor cores, and the host with the same inputs, whose results are f32, not bf16."""
        self.check_int8(toys.v3() | MERGED)
        self.assertEqual(self.units_of_experts(), {"tensor"})
        checkpoint, host = self.folder / "w8a8", self.folder / "host.qmod"
        done = call("quant-compile", checkpoint, "--host-isa=native", "--activations=int8", "--kv-cache=f32", "-o", host)
        self.assertEqual(done.returncode, 0, done.stderr)
        prompt = clear_prompt(Model(Checkpoint(checkpoint), activations="int8"), self.LENGTH, Context.seed)
        on_host = quant_run(Context.binaries / "quant-run", host, checkpoint, prompt, self.NEW_TOKENS)
        logits, _ = self.run_sim(self.folder / "w8a8.qmod", checkpoint, prompt)
        error = relative_error(logits, on_host.logits)
        print(f"INT8 against the host: relative error {error:.1e}")
        self.assertLess(error, 2e-1)

    def test_int8_in_odd_sizes(self) -> None:
        """Rows that TMA cannot read are multiplied by plain threads, from the same codes, and say so."""
        self.check_int8(toys.v3() | {"moe_intermediate_size": 24})
        self.assertEqual(self.units_of_experts(), {"tensor", "simt"})
        self.assertTrue(any("rows of 24 bytes" in why for why in self.reasons.values()), self.reasons)

    def test_many_tokens_take_other_kernels(self) -> None:
        checkpoint, tokens = self.folder / "checkpoint", 70
        wide = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 1}
        model = Model(toys.write(checkpoint, toys.v3() | wide, Context.seed), activations="fp8", rounding="sm_90a")
        module = self.compile(checkpoint, "--kv-cache=f32", max_tokens=256)
        kernels = json.loads(read_sections(module)["manifest.json"])["targets"][0]["kernels"]
        splits = [kernel["variants"][0]["m"][1] for kernel in kernels if "variants" in kernel]
        self.assertTrue(any(split < tokens for split in splits), f"variants end at {splits}")
        prompt = np.random.default_rng(Context.seed).integers(0, model.config["vocab_size"], tokens).tolist()
        logits, _ = self.run_sim(module, checkpoint, prompt)
        want = model.forward(prompt).logits
        errors = np.linalg.norm(logits - want, axis=1) / np.linalg.norm(want, axis=1)
        agree = int((errors < self.ROUNDING).sum())
        print(f"{tokens} tokens in one call: {agree} agree to rounding, relative error {relative_error(logits, want):.1e}")
        self.assertLess(float(errors.max()), self.FORMATS)
        self.assertGreaterEqual(agree, self.MUST_AGREE)

    def test_a_token_does_not_depend_on_how_many_come_with_it(self) -> None:
        """Tokens in one call and a few at a time take other kernels, of the experts, too; the bits are the same, here at least."""
        checkpoint, tokens = self.folder / "checkpoint", 100
        toys.write(checkpoint, toys.v3() | MERGED | {"num_hidden_layers": 2}, Context.seed)
        module = self.compile(checkpoint, max_tokens=256)
        kernels = json.loads(read_sections(module)["manifest.json"])["targets"][0]["kernels"]
        splits = [k["variants"][0]["m"][1] for k in kernels if "variants" in k and k["name"].startswith("grouped_matmul")]
        self.assertTrue(any(split < tokens for split in splits), f"variants end at {splits}")
        prompt = np.random.default_rng(Context.seed).integers(0, 64, tokens).tolist()
        whole, _ = self.run_sim(module, checkpoint, prompt)
        parts, _ = self.run_sim(module, checkpoint, prompt, "--chunk", "34")
        np.testing.assert_array_equal(whole, parts)

    def write_bf16(self, config: dict[str, object]) -> Path:
        checkpoint = self.folder / "checkpoint"
        config = {name: value for name, value in config.items() if name != "quantization_config"}
        (self.folder / "config.json").write_text(json.dumps(config))
        done = call("quant-convert", "random", "--config", self.folder / "config.json", "--dtype", "bf16", "--output", checkpoint,
                    "--seed", str(Context.seed))  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        return checkpoint

    def test_bf16(self) -> None:
        """A checkpoint in bf16: x is rounded, and dense matmuls, the head's and the gate's, too, run on tensor cores."""
        checkpoint = self.write_bf16(toys.v3() | MERGED)
        self.check_model(Model(Checkpoint(checkpoint), rounding="sm_90a"), "no")
        dense = {kernel: unit for kernel, unit in self.units.items() if kernel.startswith("matmul_bf16")}
        self.assertEqual(set(dense.values()), {"tensor"}, dense)

    def test_attention_on_tensor_cores(self) -> None:
        """DeepSeek's latents and a rank's 16 heads, so that the kernel of mla_decode runs: several tokens of a sequence in a tile, a
        page's end in between, keys of earlier calls. It rounds queries, weights and results to bf16."""
        checkpoint, host = self.folder / "checkpoint", self.folder / "host.qmod"
        published = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "num_attention_heads": 16, "num_hidden_layers": 1}
        model = Model(toys.write(checkpoint, toys.v3() | published, Context.seed), kv_cache="bf16")
        options = ("--activations=bf16", "--kv-cache=bf16")
        module = self.compile(checkpoint, *options, max_tokens=62)
        self.assertEqual({unit for kernel, unit in self.units.items() if kernel.startswith("mla_decode")}, {"tensor"})
        self.assertFalse(any(kernel.startswith("mla_core") for kernel in self.units))
        self.assertIn("no tensor cores: kv_b is not bf16", self.reasons[self.kernel("mla_absorb")])
        prompt = np.random.default_rng(Context.seed).integers(0, model.config["vocab_size"], 66).tolist()
        logits, tokens = self.run_sim(module, checkpoint, prompt, "--chunk", "62")
        want = model.forward(prompt + tokens[:-1]).logits
        error = relative_error(logits, want[: len(prompt)])
        print(f"attention on tensor cores: relative error {error:.1e}")
        self.assertLess(error, 1e-2)
        done = call("quant-compile", checkpoint, "--host-isa=native", "--kv-cache=bf16", "--max-tokens", "62", "-o", host)
        self.assertEqual(done.returncode, 0, done.stderr)
        on_host = quant_run(Context.binaries / "quant-run", host, checkpoint, prompt, self.NEW_TOKENS, "--chunk", "62")
        self.assertLess(relative_error(logits, on_host.logits), 1e-2)

    def test_projections_of_heads_on_tensor_cores(self) -> None:
        """DeepSeek's widths of a head and kv_b in bf16, so that mla_absorb, with its rope, and mla_expand run on tensor cores, too:
        whole tiles of tokens, a few, and one at a time. With a cache that mla_decode does not read absorb gives latents alone."""
        published = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
        checkpoint = self.write_bf16(toys.v3() | published | {"num_attention_heads": 3, "num_hidden_layers": 1})
        for kv_cache, attention in (("bf16", "mla_decode"), ("f32", "mla_core")):
            model = Model(Checkpoint(checkpoint), kv_cache=kv_cache)
            module = self.compile(checkpoint, f"--kv-cache={kv_cache}", max_tokens=66)
            for op in ("mla_absorb", "mla_expand"):
                self.assertEqual(self.units[self.kernel(op)], "tensor", self.reasons)
            self.assertIsNotNone(self.kernel(attention))
            prompt = np.random.default_rng(Context.seed).integers(0, model.config["vocab_size"], 70).tolist()
            logits, tokens = self.run_sim(module, checkpoint, prompt, "--chunk", "66")
            error = relative_error(logits, model.forward(prompt + tokens[:-1]).logits[: len(prompt)])
            print(f"projections of heads on tensor cores, {attention}: relative error {error:.1e}")
            self.assertLess(error, 1e-2)

    def test_attention_on_plain_threads_says_why(self) -> None:
        checkpoint = self.folder / "checkpoint"
        published = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "num_hidden_layers": 1}
        toys.write(checkpoint, toys.v3() | published, Context.seed)
        self.compile(checkpoint, "--kv-cache=f32")
        self.assertIn("no tensor cores: the KV cache is not bf16", self.reasons[self.kernel("mla_core")])
        toys.write(checkpoint, toys.v3() | published | {"kv_lora_rank": 256}, Context.seed)
        self.compile(checkpoint, "--kv-cache=bf16")
        self.assertIn("latents of 256 and a rope part of 64: the kernel is for 512 and 64", self.reasons[self.kernel("mla_core")])

    def kernel(self, op: str) -> str:
        """The kernel of an op in what was compiled last."""
        return next(name for name in self.units if name.startswith(op))

    def test_odd_sizes(self) -> None:
        self.check(toys.v3() | ODD)
        self.assertEqual(self.units_of_experts(), {"simt"})
        reason = next(why for kernel, why in self.reasons.items() if kernel.startswith("grouped_matmul"))
        self.assertIn("no tensor cores: ", reason)

    def test_without_quantized_activations(self) -> None:
        self.check_exact(toys.v3())

    def test_without_quantized_activations_in_odd_sizes(self) -> None:
        self.check_exact(toys.v2() | ODD | {"q_lora_rank": None})

    def test_mtp(self) -> None:
        """Guesses on the trained model: as many are made and right as on the host, whose guesses test_mtp.py compares with PyTorch's."""
        tokens = json.loads((CHECKPOINT / "eval.tokens.json").read_text())["tokens"]
        start = random.Random(Context.seed).randrange(len(tokens) - 8)
        options = ("--weights", str(CHECKPOINT), "--mtp", "--ignore-eos", "--max-new-tokens=7", "--json", "--tokens",
                   ",".join(map(str, tokens[start : start + 8])))  # fmt: skip
        module = self.folder / "tiny.qmod"
        compiled = call("quant-compile", CHECKPOINT, "--target=host,sm_90a", "--host-isa=avx2", "--activations=f32", "--kv-cache=f32",
                        "--mtp", "-o", module)
        self.assertEqual(compiled.returncode, 0, compiled.stderr)
        results = []
        for device in ("host", "sim"):
            done = call("quant-run", module, *options, f"--device={device}")
            self.assertEqual(done.returncode, 0, done.stderr)
            told = json.loads(done.stdout)
            results.append((told["tokens"], told["mtp"]))
        self.assertEqual(results[0], results[1], f"seed {Context.seed}")
        self.assertGreater(results[0][1]["guesses"], 0)

    def test_what_cannot_run_is_named(self) -> None:
        checkpoint, module = self.folder / "checkpoint", self.folder / "spoilt.qmod"
        toys.write(checkpoint, toys.v3(), Context.seed)
        good = self.compile(checkpoint)

        def refused(path: Path, *texts: str, device: str = "sim") -> None:
            done = call("quant-run", path, "--device", device, "--weights", checkpoint, "--tokens", "1,2", "--max-new-tokens", "1")
            self.assertEqual(done.returncode, 1, done.stderr)
            for text in texts:
                self.assertIn(text, done.stderr)

        def drop_launch(manifest: dict) -> None:
            kernel = next(k for k in manifest["targets"][0]["kernels"] if k["name"].startswith("moe_gate"))
            del kernel["launch"]
            kernel["unsupported"] = "not today"

        def shrink(manifest: dict) -> None:
            kernel = next(k for k in manifest["targets"][0]["kernels"] if k["name"].startswith("embed"))
            kernel["launch"]["operands"][-1]["shape"][-1] = 8

        refused(good, "the module has no code of target 'host'", device="host")
        refused(edit_json(good, module, "manifest.json", drop_launch), "there is no sm_90a code for moe_gate", "(not today)")
        refused(edit_json(good, module, "manifest.json", shrink), "bytes, the program's", "has 1152")
        sections = read_sections(good)
        # A norm that reads the warps' sums before they are there.
        ptx = sections["code.sm_90a.ptx"].decode()
        at = ptx.index("bar.sync", ptx.index(".entry rms_norm_144"))
        sections["code.sm_90a.ptx"] = (ptx[:at] + ptx[ptx.index("\n", at) :]).encode()
        write_sections(module, sections)
        refused(module, "kernel 'rms_norm_144' (model.layers.0.input_layernorm)", "shared")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other arguments go to unittest.")
    parser.add_argument(
        "--bin", type=Path, default=os.environ.get("QUANT_BIN"), metavar="DIR", help="the build's bin directory (or QUANT_BIN)"
    )
    parser.add_argument("--seed", type=int, default=os.environ.get("QUANT_TOY_SEED"), help="of the random toys")
    arguments, rest = parser.parse_known_args()
    if not arguments.bin:
        parser.error("--bin is needed")
    Context.binaries = arguments.bin.resolve()
    Context.seed = random.SystemRandom().randrange(2**31) if arguments.seed is None else int(arguments.seed)
    print(f"seed {Context.seed} (repeat with --seed {Context.seed})", flush=True)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
