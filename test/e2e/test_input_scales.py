#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Static scales of inputs by quant-convert quantize --scheme=fp8-tensor-static, beside the inputs of the float64 reference.

    python3 test/e2e/test_input_scales.py --bin build/bin [unittest arguments]
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
import unittest
from collections import defaultdict
from pathlib import Path

import numpy as np
import test_toys
from compare import Checkpoint, SafetensorsFile
from deepseek import Model
from fp8 import E4M3, encode_e4m3
from test_calibration import contents
from test_perplexity import TINY
from tiny import Tiny
from test_toys import Context, call

CONTEXT, TOKENS, BOS = 128, 300, 0  # pieces of 127, 127 and 46 tokens, each behind a BOS
WITHOUT_MTP = "--ignore=layers.5"


class Recorder(Model):
    """The reference, with the largest magnitude and the tokens of every linear layer's inputs, by piece; and static E4M3 inputs."""

    def __init__(self, checkpoint: Checkpoint, scales: dict[str, float] | None = None) -> None:
        super().__init__(checkpoint, mla="naive")
        self.pieces: list[dict[str, tuple[float, int]]] = []
        self.scales = scales or {}

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        if self.pieces:
            self.pieces[-1][name] = float(np.abs(x).max()), len(x)
        if name in self.scales:
            x = E4M3[encode_e4m3(x / self.scales[name])] * self.scales[name]
        return super().linear(name, x)

    def loss(self, tokens: list[int]) -> float:
        """Of all tokens, in nats; records the inputs."""
        sum_, margin = 0.0, np.inf
        for begin in range(0, len(tokens), CONTEXT - 1):
            piece = tokens[begin : begin + CONTEXT - 1]
            self.pieces.append({})
            output = self.forward([BOS, *piece])
            margin = min(margin, output.gate_margin.min())
            logits = output.logits[:-1]
            sum_ -= (logits[np.arange(len(piece)), piece] - np.log(np.exp(logits).sum(axis=-1))).sum()
        self.margin = margin
        return sum_ / len(tokens)


class InputScales(unittest.TestCase):
    setUp = test_toys.Toys.setUp

    @classmethod
    def setUpClass(cls) -> None:
        cls.tiny = Tiny(Context.binaries, "--kv-cache=f32")
        cls.text = Path(cls.tiny.folder.name) / "text.json"
        cls.tokens = cls.choose_text()

    @classmethod
    def choose_text(cls) -> list[int]:
        """Some of the evaluation text."""
        tokens = json.loads((TINY / "eval.tokens.json").read_text())["tokens"]
        begin = random.randrange(len(tokens) - TOKENS)
        cls.text.write_text(json.dumps(tokens[begin : begin + TOKENS]))
        return tokens[begin : begin + TOKENS]

    def command(self, out: Path, *options: object, source: Path = TINY, scheme: str = "--scheme=fp8-tensor-static",
                module: Path | None = None) -> list[str]:  # fmt: skip
        calibration = [f"--context={CONTEXT}", "--module", module or self.tiny.module, "--calibration", self.text]
        return list(map(str, [Context.binaries / "quant-convert", "quantize", source, scheme, *calibration, *options, "-o", out]))

    def quantize(self, out: Path, *options: object, **how: object) -> dict:
        done = subprocess.run([*self.command(out, *options, **how), "--json"], capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(out.with_name(out.name + ".input-scales").exists())
        return json.loads(done.stdout)

    def scales(self, out: Path) -> dict[str, float]:
        file = SafetensorsFile(out / "model.safetensors")
        names = [name for name in file.header if name.endswith(".input_scale")]
        for name in names:
            self.assertEqual((file.dtype(name), file.raw(name).shape), ("F32", (1,)))
        return {name.removesuffix(".input_scale"): float(file.raw(name)[0]) for name in names}

    def test_by_the_reference(self) -> None:
        """The scales of each recipe are those of the reference's inputs; a model with such inputs is as good as with others."""
        for _ in range(10):
            reference, tokens = Recorder(Checkpoint(TINY)), self.choose_text()
            plain = reference.loss(tokens)
            if reference.margin > 1e-5:  # both choose the same experts
                break
        histories: dict[str, list[float]] = defaultdict(list)
        for piece in reference.pieces:
            for layer, (largest, _) in piece.items():
                histories[layer].append(largest)
        recipes = {
            "": max,
            "--input-scales=delayed --amax-history=2": lambda history: max(history[-2:]),
            "--input-scales=percentile --input-percentile=30": lambda history: np.percentile(history, 30),
        }
        print(f"least gate margin {reference.margin:.2e}")
        for number, (options, reduce) in enumerate(recipes.items()):
            out = self.folder / f"out{number}"
            told = self.quantize(out, WITHOUT_MTP, "--expert-floor=0", *options.split(), f"--report={self.folder / 'report.json'}")
            scales, worst = self.scales(out), 0.0
            self.assertEqual("gives up the greatest" in str(told["notes"]), "percentile" in options)
            self.assertEqual(told["groups"], [{"scheme": "fp8-tensor-static", "layers": 184}])
            self.assertEqual(len(scales), 184)
            self.assertEqual({layer for layer in histories if re.search(r"self_attn|mlp\.(?!gate$)", layer)}, set(scales))
            for layer, scale in scales.items():
                wanted = reduce(histories[layer]) / 448
                worst = max(worst, abs(scale / wanted - 1))
            print(f"{options or 'running-max'}: {worst:.2e} from the reference")
            self.assertLess(worst, 1e-5)
            for layer in scales:
                for first, second in (("q_a_proj", "kv_a_proj_with_mqa"), ("gate_proj", "up_proj")):
                    if layer.endswith(first):
                        self.assertEqual(scales[layer], scales[layer.removesuffix(first) + second])
            report = json.loads((self.folder / "report.json").read_text())["input_scales"]
            self.assertEqual((report["pieces"], report["experts_by_their_layers_largest"]), (3, []))
            beyond = sum(scale["pieces_beyond"] for scale in report["layers"].values())
            self.assertEqual(beyond > 0, number > 0)
            for layer, told_ in report["layers"].items():
                self.assertEqual(np.float32(told_["scale"]), np.float32(scales[layer]))
                self.assertEqual(told_["tokens"], sum(piece[layer][1] for piece in reference.pieces if layer in piece))
        config = json.loads((self.folder / "out0" / "config.json").read_text())["quantization_config"]
        eight = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}
        self.assertEqual([config["format"], config["config_groups"]["group_0"]["input_activations"]], ["float-quantized", eight])
        self.check_model(plain, tokens)

    def check_model(self, plain: float, tokens: list[int]) -> None:
        """Weights and inputs in E4M3, each of one scale: little loss. Compiled, where inputs stay as they are: that of fp8-tensor."""
        static, dynamic = self.folder / "out0", self.folder / "dynamic"
        loss = Recorder(Checkpoint(static), self.scales(static)).loss(tokens)
        print(f"loss {plain:.4f}, with static inputs {loss:.4f}")
        self.assertLess(abs(loss - plain), 0.03)
        call("quant-convert", "inspect", static, "--check-values")
        call("quant-convert", "quantize", TINY, "--scheme=fp8-tensor", WITHOUT_MTP, "-o", dynamic)
        figures = []
        for folder in (static, dynamic):
            module = self.folder / f"{folder.name}.qmod"
            call("quant-compile", folder, "--host-isa=native", "-o", module)
            command = [Context.binaries / "quant-run", module, "--weights", folder, "--perplexity", self.text, "--context", CONTEXT, "--json"]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 0, done.stderr)
            figures.append(json.loads(done.stdout)["perplexity"])
        self.assertEqual(figures[0], figures[1])
        self.assertLess(abs(np.log(figures[0]) - plain), 0.03)

    def changed(self, name: str, raw: object) -> Path:
        """models/tiny with other values in a tensor."""
        out = self.folder / "changed"
        subprocess.run(["cp", "-r", TINY, out], check=True)
        file = SafetensorsFile(out / "model.safetensors")
        tensor = np.memmap(file.path, np.uint8, "r+")
        begin = int.from_bytes(tensor[:8].tobytes(), "little") + 8
        first, end = file.header[name]["data_offsets"]
        values = tensor[begin + first : begin + end].view({"F32": "<f4", "BF16": "<u2"}[file.dtype(name)])
        values[:] = raw(values)
        tensor.flush()
        return out

    def test_experts_without_tokens(self) -> None:
        """An expert that no token chose has its layer's largest scale, and the report says so; so have those with few tokens."""

        def never(bias: np.ndarray) -> np.ndarray:
            return np.where(np.arange(len(bias)) == 4, -100, bias)

        source, report = self.changed("model.layers.2.mlp.gate.e_score_correction_bias", never), self.folder / "report.json"
        for floor in (0, 60):
            out = self.folder / f"floor{floor}"
            told = self.quantize(out, WITHOUT_MTP, f"--expert-floor={floor}", f"--report={report}", source=source)
            scales, described = self.scales(out), json.loads(report.read_text())["input_scales"]
            lent = described["experts_by_their_layers_largest"]
            few = [layer for layer, what in described["layers"].items() if ".experts." in layer and what["tokens"] < max(1, floor)]
            self.assertEqual(lent, few)
            self.assertEqual([layer for layer in lent if ".2.mlp.experts.4." in layer],
                             [f"model.layers.2.mlp.experts.4.{part}_proj" for part in ("down", "gate", "up")])  # fmt: skip
            self.assertEqual(len(lent) == 3, floor == 0)
            self.assertIn(f"{len(lent)} layers, {lent[0]} first, belong to experts that fewer than {max(1, floor)} tokens", str(told["notes"]))
            for layer in lent:
                alike = [s for other, s in scales.items() if re.sub(r"experts\.\d+", "", other) == re.sub(r"experts\.\d+", "", layer)]
                self.assertEqual((scales[layer], len(alike)), (max(alike), 12))

    def test_policy_with_mtp(self) -> None:
        """MTP's layers, which no token reaches, scale their inputs per token."""
        policy = self.folder / "policy.json"
        policy.write_text(json.dumps({"default": {"scheme": "fp8-tensor-static"}, "rules": [{"match": "layers.5", "scheme": "fp8-tensor"}]}))
        out = self.folder / "out"
        self.quantize(out, scheme=f"--policy={policy}")
        config = json.loads((out / "config.json").read_text())["quantization_config"]
        inputs = [(group["input_activations"]["strategy"], group["input_activations"]["dynamic"]) for group in config["config_groups"].values()]
        self.assertEqual(sorted(inputs), [("tensor", False), ("token", True)])
        self.assertFalse([layer for layer in self.scales(out) if ".layers.5." in layer])
        call("quant-compile", out, "--host-isa=native", "-o", self.folder / "out.qmod")
        call("quant-convert", "dequantize", out, self.folder / "back")

    def test_beside_gptq(self) -> None:
        """Codes by GPTQ and scales of inputs by the same text: the scales are those of a plain run, from FP8 blocks, too."""
        plain, carried, fp8 = (self.folder / name for name in ("plain", "carried", "fp8"))
        options = [WITHOUT_MTP, f"--report={self.folder / 'report.html'}"]
        self.quantize(plain, *options)
        self.quantize(carried, *options, "--method=gptq")
        self.assertEqual(self.scales(plain), self.scales(carried))
        self.assertNotEqual(*((out / "model.safetensors").read_bytes() for out in (plain, carried)))
        self.assertFalse(carried.with_name("carried.calibration").exists())
        self.assertIn('"input_scales"', (self.folder / "report.html").read_text())
        call("quant-convert", "cast-fp8", "--input-bf16-hf-path", TINY, "--output-fp8-hf-path", fp8)
        call("quant-compile", fp8, "--host-isa=native", "--kv-cache=f32", "-o", self.folder / "fp8.qmod")
        self.quantize(self.folder / "from-fp8", WITHOUT_MTP, source=fp8, module=self.folder / "fp8.qmod")
        before, after = self.scales(plain), self.scales(self.folder / "from-fp8")
        self.assertEqual(set(before), set(after))
        dense = [name for name in before if ".experts." not in name]
        self.assertLess(max(abs(after[name] / before[name] - 1) for name in dense), 0.3)

    def test_killed_and_little_memory(self) -> None:
        """kill -9 in the midst, another number of threads, as many runs over the text as layers: the same bytes."""
        whole = self.folder / "whole"
        forecast = self.quantize(self.folder / "no", WITHOUT_MTP, "--dry-run")["input_scales_forecast"]
        self.assertFalse((self.folder / "no").exists())
        self.assertEqual((forecast["passes"], forecast["tokens"]), (1, TOKENS))
        self.quantize(whole, WITHOUT_MTP)
        expected = contents(whole)
        memory = f"--memory={forecast['least_memory_bytes']}"
        self.assertEqual(self.quantize(self.folder / "no", WITHOUT_MTP, memory, "--dry-run")["input_scales_forecast"]["passes"], 5)
        for number, options in enumerate((["--threads=1"], ["--threads=2", memory])):
            self.quantize(self.folder / f"out{number}", WITHOUT_MTP, *options)
            self.assertEqual(contents(self.folder / f"out{number}"), expected)
        out, kills, kept = self.folder / "killed", 0, 0
        for finished in sorted(random.choices(range(6), k=3)):  # files of the first stage
            process = subprocess.Popen(self.command(out, WITHOUT_MTP, memory), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and len(list(self.folder.glob("killed.input-scales/model-*.safetensors"))) < finished:
                time.sleep(0.001)
            time.sleep(random.uniform(0, 0.02))
            kills += process.poll() is None
            process.kill()
            process.wait()
            kept = max(kept, len(list(self.folder.glob("killed.input-scales/model-*.safetensors"))))
        print(f"killed {kills} times, up to {kept} files kept")
        if not (out / "model.safetensors.index.json").exists():
            self.quantize(out, WITHOUT_MTP, memory)
        self.assertEqual(contents(out), expected)
        self.check_error(["--memory=1kB", WITHOUT_MTP], "the least that this run can do with is")

    def check_error(self, options: list[object], message: str, status: int = 1, **how: object) -> None:
        out = self.folder / "no"
        done = subprocess.run(self.command(out, *options, **how), capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(message, done.stderr)
        self.assertFalse(out.exists() or out.with_name("no.input-scales").exists())

    def test_errors(self) -> None:
        self.check_error([], "44 layers, model.layers.5.mlp.experts.0.down_proj first, are not computed by the module")
        self.check_error([WITHOUT_MTP], "--calibration: no layer becomes fp8-tensor-static", scheme="--policy=experts-int4")
        gptq = ["--method=gptq", "--input-scales=delayed"]
        self.check_error(gptq, "--input-scales goes with fp8-tensor-static", 2, scheme="--scheme=w8a8")
        self.check_error(["--amax-history=3"], "--amax-history goes with --input-scales=delayed", 2)
        self.check_error(["--input-percentile=3"], "--input-percentile goes with --input-scales=percentile", 2)
        self.check_error(["--format=deepseek"], "has no form in the layout deepseek")
        base = [str(Context.binaries / "quant-convert"), "quantize", str(TINY), "-o", str(self.folder / "no")]
        policy = self.folder / "policy.json"
        policy.write_text(json.dumps({"default": {"scheme": "fp8-tensor-static"}}))
        for option, message, status in (("--scheme=fp8-tensor-static", "go together", 2), (f"--policy={policy}", "give --calibration and --module", 1)):
            done = subprocess.run([*base, option], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(message, done.stderr)

    def test_inputs_that_give_no_scale(self) -> None:
        norm = "model.layers.2.input_layernorm.weight"
        for raw, message in ((0, "model.layers.2.self_attn.kv_a_proj_with_mqa: the largest magnitude of its inputs on the calibration text is 0"),
                             (0x7F7F, "model.layers.2.self_attn.")):  # fmt: skip
            source = self.changed(norm, lambda values, raw=raw: np.full_like(values, raw))
            self.check_error([WITHOUT_MTP], message, source=source)
            if raw:
                self.check_error([WITHOUT_MTP], "its inputs reach inf in piece 0 of the calibration text", source=source)
            subprocess.run(["rm", "-rf", source], check=True)


if __name__ == "__main__":
    test_toys.main()
