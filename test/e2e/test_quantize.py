#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quant-convert quantize on models/tiny in every scheme: what comes out is sound, compiles, and predicts held-out text nearly as well.

    python3 test/e2e/test_quantize.py --bin build/bin [unittest arguments]

The whole table, on all of the text: quant-bench quality.
"""

from __future__ import annotations

import json
import subprocess
import unittest
from pathlib import Path

import numpy as np
import test_toys
from compare import SafetensorsFile
from test_perplexity import TINY
from test_toys import Context, call

TOKENS = 3060  # 12 pieces of 255
#: what --scheme=... and further options may cost in perplexity, in percent; on all of the text it is 0.03 to 0.7
WITHIN = {
    "w8a8": 0.3, "w8a16 --group-size=64 --zero-points": 0.3, "fp8-block": 0.5, "fp8-block --format=deepseek": 0.5, "fp8-channel": 0.5,
    "fp8-tensor": 0.6, "mxfp8": 0.6, "mxfp4": 2, "nvfp4": 1.5, "w4a16 --indivisible=smaller": 1.5, "w4a16 --group-size=-1": 2.5,
    "w4a16 --group-size=32 --zero-points": 1.2, "w4a16 --group-size=64 --method=mse": 1.5, "w4a8 --group-size=64": 1.5,
    "w4a16 --group-size=64 --format=gptq": 1.5, "w4a16 --group-size=32 --format=gptq_v2 --zero-points": 1.2,
    "w8a8 --method=percentile --percentile=99.99": 1,
}  # fmt: skip
POLICIES = {"int8-int4": 1.5, "experts-int4": 1.2, "fp8-experts-int4": 1.5}


class Quantize(unittest.TestCase):
    setUp = test_toys.Toys.setUp

    def perplexity(self, checkpoint: Path) -> float:
        module, text = self.folder / f"{checkpoint.name}.qmod", self.folder / "text.json"
        text.write_text(json.dumps(json.loads((TINY / "eval.tokens.json").read_text())["tokens"][:TOKENS]))
        call("quant-compile", checkpoint, "--host-isa=native", "-o", module)
        command = [Context.binaries / "quant-run", module, "--weights", checkpoint, "--perplexity", text, "--context", "256", "--json"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["perplexity"]

    def quantize(self, source: Path, *options: str) -> Path:
        out = self.folder / "quantized"
        call("quant-convert", "quantize", source, *options, "-o", out, "--force")
        call("quant-convert", "inspect", out, "--check-values")
        return out

    def check(self, cases: dict[str, float], flag: str, source: Path = TINY) -> None:
        plain = self.perplexity(TINY)
        for case, percent in cases.items():
            with self.subTest(case=case):
                cost = 100 * (self.perplexity(self.quantize(source, *f"{flag}={case}".split())) / plain - 1)
                print(f"{case}: {cost:+.3f} %")
                self.assertLess(abs(cost), percent)

    def test_every_scheme(self) -> None:
        self.check(WITHIN, "--scheme")

    def test_policies(self) -> None:
        self.check(POLICIES, "--policy")

    def test_from_fp8(self) -> None:
        """Blocks are dequantized on the way, those that stay too."""
        fp8 = self.folder / "fp8"
        call("quant-convert", "cast-fp8", "--input-bf16-hf-path", TINY, "--output-fp8-hf-path", fp8)
        self.check({"experts-int4": 1.2}, "--policy", fp8)
        config = json.loads((self.folder / "quantized" / "config.json").read_text())["quantization_config"]
        self.assertIn("re:model\\.layers\\.\\d+\\.self_attn\\.o_proj$", config["ignore"])
        self.assertIn("lm_head", config["ignore"])

    def test_mixed_policy(self) -> None:
        """Several groups, one of them in a layer by number, and files beside the weights."""
        policy = self.folder / "policy.json"
        policy.write_text(json.dumps({"default": {"scheme": "fp8-channel"}, "rules": [
            {"match": "mlp", "layers": [0], "scheme": "keep"},
            {"match": "mlp.experts", "layers": [2], "scheme": "w4a16", "group_size": 64, "zero_points": True},
            {"match": ["mlp.experts"], "scheme": "mxfp4"}]}))  # fmt: skip
        self.check({str(policy): 1.5}, "--policy")
        out = self.folder / "quantized"
        config = json.loads((out / "config.json").read_text())["quantization_config"]
        self.assertEqual(config["format"], "mixed-precision")
        self.assertEqual(len(config["config_groups"]), 3)
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            self.assertEqual((out / name).read_bytes(), (TINY / name).read_bytes())

    def test_calibrated(self) -> None:
        """Calibrated by one part of the text, judged by another: less output error in every layer, and less perplexity."""
        tokens, module = json.loads((TINY / "eval.tokens.json").read_text())["tokens"], self.folder / "plain.qmod"
        text, report = self.folder / "calibration.json", self.folder / "report.json"
        text.write_text(json.dumps(tokens[30000:40000]))
        call("quant-compile", TINY, "--host-isa=native", "-o", module)
        plain = self.perplexity(TINY)
        nearest = self.perplexity(self.quantize(TINY, "--scheme=w4a16", "--indivisible=smaller"))
        calibrated = self.perplexity(self.quantize(TINY, "--scheme=w4a16", "--indivisible=smaller", "--method=gptq", "--context=256",
                                                   f"--calibration={text}", f"--module={module}", f"--report={report}"))  # fmt: skip
        print(f"INT4 in groups of 128: to the nearest {100 * (nearest / plain - 1):+.3f} %, GPTQ {100 * (calibrated / plain - 1):+.3f} %")
        self.assertLess(calibrated, nearest)
        told = json.loads(report.read_text())
        self.assertEqual((len(told["layers"]), len(told["rounded_to_nearest"])), (184, 44))  # 44 of the MTP layer
        for layer, what in told["layers"].items():
            self.assertLess(what["of_nearest"], 1, layer)
        self.check_scaled(text, module, plain)

        for bad, message in (([1] * 100, "100 tokens are too few"), ([1] * 300 + [1536], "token 300 is id 1536"), ({}, "no tokens")):
            text.write_text(json.dumps(bad))
            command = [Context.binaries / "quant-convert", "quantize", TINY, "--scheme=w8a8", "--method=gptq", "--calibration", text,
                       "--module", module, "-o", self.folder / "no"]  # fmt: skip
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn(message, done.stderr)
            self.assertFalse((self.folder / "no").exists())

    def check_scaled(self, text: Path, module: Path, perplexity: float) -> None:
        """Two layers: columns are multiplied by what is divided before them, up to the rounding; inputs with one reader gain in each case."""
        report, policy = self.folder / "report.json", self.folder / "policy.json"
        policy.write_text(json.dumps({"default": {"scheme": "w4a16"}, "rules": [{"match": "model.layers", "layers": [0, 3, 4], "scheme": "keep"},
                                                                                {"match": "model.layers.5.", "scheme": "keep"}]}))  # fmt: skip
        scaled = self.quantize(TINY, f"--policy={policy}", "--indivisible=smaller", "--method=awq", "--context=256", f"--calibration={text}",
                               f"--module={module}", f"--report={report}")  # fmt: skip
        cost = 100 * (self.perplexity(scaled) / perplexity - 1)
        print(f"INT4 in two layers by AWQ: {cost:+.3f} %")
        self.assertLess(abs(cost), 0.6)
        told = json.loads(report.read_text())
        self.assertEqual(told["rounded_to_nearest"], [f"model.layers.{i}.self_attn.o_proj" for i in (1, 2)])
        for layer, what in told["layers"].items():
            if layer.endswith(("down_proj", "q_b_proj", "kv_b_proj")):
                self.assertLess(what["of_nearest"], 1, layer)
        readers = {"input_layernorm": ["self_attn.q_a_proj"], "self_attn.kv_a_layernorm": ["self_attn.kv_b_proj"],
                   "post_attention_layernorm": ["mlp.experts.3.gate_proj", "mlp.gate"]}  # fmt: skip
        self.check_products(scaled, readers, 0.2)
        policy.write_text(policy.read_text().replace("w4a16", "w8a8"))
        scaled = self.quantize(TINY, f"--policy={policy}", "--method=smoothquant", "--context=256", f"--calibration={text}", f"--module={module}")
        del readers["post_attention_layernorm"]
        self.check_products(scaled, readers, 0.02)

    def check_products(self, scaled: Path, readers: dict[str, list[str]], bound: float) -> None:
        """A norm times the columns of its readers is what it was, up to the rounding; some norm is another one."""
        back, changed = self.folder / "back", []
        call("quant-convert", "dequantize", scaled, back, "--dtype=f32", "--force")
        plain, after = SafetensorsFile(TINY / "model.safetensors"), SafetensorsFile(next(back.glob("*.safetensors")))
        for norm, names in readers.items():
            before, now = (file.values(f"model.layers.2.{norm}.weight") for file in (plain, after))
            changed.append(np.mean(before != now))
            for name in names:
                weights = [file.values(f"model.layers.2.{name}.weight") for file in (plain, after)]
                error = np.linalg.norm(weights[1] * now - weights[0] * before) / np.linalg.norm(weights[0] * before)
                self.assertLess(error, 0.005 if name == "mlp.gate" else bound, name)
        self.assertGreater(max(changed), 0.5)

    def test_dry_run(self) -> None:
        command = [Context.binaries / "quant-convert", "quantize", TINY, "--scheme=w8a8", "--dry-run", "--json", "-o", self.folder / "no"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=True)
        told = json.loads(done.stdout)
        self.assertEqual((told["quantized"], told["dry_run"]), (228, True))
        self.assertGreater(told["forecast"]["seconds"], 0)
        self.assertLess(told["forecast"]["memory_bytes"], 1 << 30)
        self.assertFalse((self.folder / "no").exists())

    def test_errors(self) -> None:
        for options, message in (
            ([], "say what to do"),
            (["--scheme=w4a16"], "has 576 columns, which groups of 128 do not divide"),
            (["--scheme=w4a16", "--format=gptq", "--indivisible=smaller"], "the layout holds one scheme"),
            (["--scheme=w8a8", "--ignore", "attention"], "names no layer that can be quantized"),
            (["--scheme=w8a8", "--ignore", "q_a_proj"], "give both the same scheme"),
            (["--scheme=w8a8", "--policy=fp8-experts-int4"], "has a default, fp8-block; leave --scheme out"),
            (["--policy=nothing"], "is no file, and none of the presets"),
            (["--scheme=w8a8", "--ignore", "model"], "nothing is to be quantized"),
        ):
            command = [Context.binaries / "quant-convert", "quantize", TINY, *options, "-o", self.folder / "no"]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn(message, done.stderr)
            self.assertFalse((self.folder / "no").exists())


if __name__ == "__main__":
    test_toys.main()
