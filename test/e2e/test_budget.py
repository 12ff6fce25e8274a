#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sensitivities of models/tiny, the mix that --budget makes of them, and the report.

    python3 test/e2e/test_budget.py --bin build/bin [unittest arguments]
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
import unittest
from pathlib import Path

import test_toys
from test_perplexity import TINY
from test_toys import Context, call

TOKENS = 300  # two pieces


class Budget(unittest.TestCase):
    setUp = test_toys.Toys.setUp

    def run_tool(self, tool: str, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(list(map(str, [Context.binaries / tool, *arguments])), capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def prepare(self) -> tuple[Path, Path]:
        text, module = self.folder / "text.json", self.folder / "tiny.qmod"
        text.write_text(json.dumps(json.loads((TINY / "eval.tokens.json").read_text())["tokens"][:TOKENS]))
        call("quant-compile", TINY, "--host-isa=avx2", "-o", module)
        return text, module

    def sensitivity(self, out: Path, text: Path, module: Path, *more: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run_tool("quant-convert", "sensitivity", TINY, "--module", module, "--text", text, "--context=256", "-o", out, *more, code=code)

    def test_sensitivity_and_budget(self) -> None:
        text, module = self.prepare()
        file, schemes = self.folder / "s.json", "--schemes=w4a16:32,w8a16"
        printed = self.sensitivity(file, text, module, schemes).stdout
        measured = json.loads(file.read_text())
        self.assertEqual(len(measured["units"]), 14)  # five of attention, a dense layer, four of routed and of shared experts
        self.assertEqual(len(re.findall(r"^\d+ +(?:attention|dense|experts|shared_experts) ", printed, re.MULTILINE)), 14)
        costs = {scheme: [unit["schemes"][scheme]["kl"] for unit in measured["units"]] for scheme in ("w4a16:32", "w8a16")}
        self.assertGreater(sum(costs["w4a16:32"]), 3 * sum(costs["w8a16"]))  # of one unit a token's other experts may turn it round
        self.assertGreater(min(min(each) for each in costs.values()), 0)
        self.check_against_files(measured, text, module)
        self.check_killed(measured, text, module)
        self.check_budget(measured, file)
        self.check_refused(file, text, module)
        self.check_report(file, text, module)

    def check_against_files(self, measured: dict, text: Path, module: Path) -> None:
        """A unit quantized, written, compiled and judged costs what was measured, up to bf16's rounding of its values."""
        policy, out = self.folder / "one.json", self.folder / "one"
        policy.write_text(json.dumps({"rules": [{"match": "mlp.experts", "layers": [2], "scheme": "w4a16", "group_size": 32}]}))
        call("quant-convert", "quantize", TINY, f"--policy={policy}", "-o", out)
        call("quant-compile", out, "--host-isa=avx2", "-o", self.folder / "one.qmod")
        told = self.run_tool("quant-run", self.folder / "one.qmod", "--weights", out, "--perplexity", text, "--context=256", "--json",
                             "--against", module, "--against-weights", TINY)  # fmt: skip
        against = json.loads(told.stdout)["against"]
        unit = next(unit for unit in measured["units"] if (unit["layer"], unit["kind"]) == (2, "experts"))
        cost = unit["schemes"]["w4a16:32"]
        self.assertLess(abs(cost["kl"] / against["kl_mean"] - 1), 0.05)
        self.assertLess(abs(cost["loss_difference"] - against["loss_difference"]), 0.2 * against["loss_difference_standard_error"])
        self.assertLess(abs(measured["perplexity"] / against["perplexity"] - 1), 1e-6)

    def check_killed(self, measured: dict, text: Path, module: Path) -> None:
        """Killed and started again, it has the same figures, and measures nothing twice."""
        schemes = "--schemes=w8a16"
        out = self.folder / "killed.json"
        command = [Context.binaries / "quant-convert", "sensitivity", TINY, "--module", module, "--text", text, "--context=256", "-o", out, schemes]
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
        while process.poll() is None and not out.exists():
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
        process.kill()
        process.wait()
        self.sensitivity(out, text, module, schemes)
        resumed = json.loads(out.read_text())
        self.assertFalse(out.with_name("killed.json.scratch").exists())
        for unit, before in zip(resumed["units"], measured["units"], strict=True):
            self.assertEqual(unit["schemes"], {"w8a16": before["schemes"]["w8a16"]})
        self.assertEqual(resumed["loss"], measured["loss"])
        # Whole: nothing is run any more.
        changed = out.stat().st_mtime_ns
        self.sensitivity(out, text, module, schemes)
        self.assertEqual(out.stat().st_mtime_ns, changed)

    def check_budget(self, measured: dict, file: Path) -> None:
        policy, out, same = self.folder / "mix.json", self.folder / "mix", self.folder / "same"
        told = json.loads(self.run_tool("quant-convert", "quantize", TINY, "--budget=6.5bits", "--sensitivity", file, "--write-policy", policy,
                                        "-o", out, "--json").stdout)  # fmt: skip
        budget = told["budget"]
        self.assertLessEqual(budget["bits"], 6.5)
        self.assertGreater(budget["bits"], 6.2)
        self.assertEqual(budget["bytes"], sum(shard["bytes"] for shard in told["shards"]))
        self.assertLess(budget["kl"], next(each["kl"] for each in budget["uniform"] if each["scheme"] == "w4a16:32"))
        costs = {(unit["layer"], unit["kind"]): unit["schemes"] for unit in measured["units"]}
        for part in budget["parts"]:
            if part["layer"] < 5:  # behind it is MTP's, which goes with layer 4
                cost = costs[part["layer"], part["kind"]].get(part["scheme"], {"kl": 0})
                self.assertEqual((part["scheme"] == "keep", part["kl"]), (cost["kl"] == 0, cost["kl"]))
        by_unit = {(part["layer"], part["kind"]): part["scheme"] for part in budget["parts"]}
        for kind in ("attention", "experts", "shared_experts"):
            self.assertEqual(by_unit[5, kind], by_unit[4, kind])
        # The policy by itself, and a size instead of bits, make the same files.
        call("quant-convert", "quantize", TINY, f"--policy={policy}", "--indivisible=smaller", "-o", same)
        for path in out.iterdir():
            self.assertEqual(path.read_bytes(), (same / path.name).read_bytes(), path.name)
        size = budget["bytes"] + 100
        told = json.loads(self.run_tool("quant-convert", "quantize", TINY, f"--budget={size / 1000}kB", "--sensitivity", file, "--dry-run", "--json",
                                        "-o", self.folder / "no").stdout)  # fmt: skip
        self.assertLessEqual(told["budget"]["kl"], budget["kl"] + 1e-12)
        self.assertLessEqual(told["bytes"], size)

    def check_refused(self, file: Path, text: Path, module: Path) -> None:
        for arguments, message in (
            (["--budget=3bits"], "the smallest of the measured schemes everywhere take"),
            (["--budget=7"], "give bits a weight, as in 4.25bits, or a size"),
        ):
            done = self.run_tool("quant-convert", "quantize", TINY, *arguments, "--sensitivity", file, "-o", self.folder / "no", code=1)
            self.assertIn(message, done.stderr)
        for arguments in (["--budget=4bits"], ["--budget=4bits", "--sensitivity", file, "--scheme=w8a8"], ["--scheme=w8a8", "--sensitivity", file]):
            self.run_tool("quant-convert", "quantize", TINY, *arguments, "-o", self.folder / "no", code=2)
        other = self.folder / "other.json"
        other.write_text(json.dumps(json.loads(text.read_text())[:-1]))
        self.assertIn("was measured of another model", self.sensitivity(file, other, module, code=1).stderr)
        self.assertIn("is no scheme", self.sensitivity(self.folder / "x.json", text, module, "--schemes=w5", code=1).stderr)
        fp8 = self.folder / "fp8"
        call("quant-convert", "cast-fp8", "--input-bf16-hf-path", TINY, "--output-fp8-hf-path", fp8)
        done = self.run_tool("quant-convert", "sensitivity", fp8, "--module", module, "--text", text, "-o", self.folder / "x.json", code=1)
        self.assertIn("is stored as F8_E4M3; only BF16 and F32 can be judged with other values", done.stderr)
        self.assertFalse((self.folder / "x.json.scratch").exists())
        self.assertFalse((self.folder / "no").exists())

    def check_report(self, file: Path, text: Path, module: Path) -> None:
        """What was written, judged: as quant-run judges it."""
        out, page, data = self.folder / "reported", self.folder / "report.html", self.folder / "report.json"
        shared = ["--method=gptq", "--calibration", text, "--module", module, "--context=256", "--held-out", text, "--sensitivity", file,
                  "--expert-floor=200", "--scheme=w4a16", "--group-size=32"]  # fmt: skip
        for report in (page, data):
            call("quant-convert", "quantize", TINY, *map(str, shared), "--report", report, "-o", out, "--force")
        told = json.loads(data.read_text())
        self.assertEqual(len(told["tensors"]), 228)
        self.assertEqual(sum(group["layers"] for group in told["groups"]), 228)
        self.assertAlmostEqual(told["bits"], 4.5, delta=0.1)
        self.assertEqual(told["bytes_after"], (out / "model.safetensors").stat().st_size - self.header(out / "model.safetensors"))
        by_name = {tensor["name"]: tensor for tensor in told["tensors"]}
        lent = by_name["model.layers.1.mlp.experts.0.up_proj.weight"]
        self.assertEqual(lent["tokens"] + lent["borrowed_tokens"], max(200, lent["tokens"]))
        self.assertGreater(lent["sqnr"], 15)
        self.assertEqual(told["sensitivities"]["units"], json.loads(file.read_text())["units"])
        call("quant-compile", out, "--host-isa=avx2", "-o", self.folder / "reported.qmod")
        judged = json.loads(self.run_tool("quant-run", self.folder / "reported.qmod", "--weights", out, "--perplexity", text, "--context=256", "--json",
                                          "--against", module, "--against-weights", TINY).stdout)  # fmt: skip
        self.assertLess(abs(told["held_out"]["perplexity_after"] / judged["perplexity"] - 1), 1e-3)
        self.assertLess(abs(told["held_out"]["kl"] / judged["against"]["kl_mean"] - 1), 0.1)
        html = page.read_text()
        self.assertNotIn("sample/bf16", html)
        self.assertNotRegex(html, r"(?:src|href)=\"?http")
        self.assertIn("model.layers.1.mlp.experts.0.up_proj", html)

    @staticmethod
    def header(path: Path) -> int:
        return 8 + int.from_bytes(path.read_bytes()[:8], "little")


if __name__ == "__main__":
    test_toys.main()
