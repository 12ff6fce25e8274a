#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Calibrated runs of quant-convert quantize: killed at random moments, in little memory, by a text.

    python3 test/e2e/test_calibration.py --bin build/bin [unittest arguments]

QUANT_KILL_ROUNDS=50 kills more often (2 by default), QUANT_KILL_SEED repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import subprocess
import time
import unittest
from pathlib import Path

import test_toys
from test_perplexity import TINY
from tiny import Tiny
from test_toys import CONFIGS, Context, call

MB = 1000 * 1000


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Calibration(unittest.TestCase):
    setUp = test_toys.Toys.setUp

    @classmethod
    def setUpClass(cls) -> None:
        cls.tiny = Tiny(Context.binaries)

    def command(self, source: Path, out: Path, *options: object) -> list[str]:
        return list(map(str, [Context.binaries / "quant-convert", "quantize", source, *options, "-o", out]))

    def run_it(self, source: Path, out: Path, *options: object) -> dict:
        done = subprocess.run([*self.command(source, out, *options), "--json"], capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(out.with_name(out.name + ".calibration").exists())
        return json.loads(done.stdout)

    def prepare(self, tokens: int) -> list[object]:
        """Options of a run on models/tiny."""
        text = self.folder / "calibration.json"
        text.write_text(json.dumps(json.loads((TINY / "eval.tokens.json").read_text())["tokens"][30000 : 30000 + tokens]))
        return ["--scheme=w4a16", "--indivisible=smaller", "--context=256", f"--module={self.tiny.module}", f"--calibration={text}"]

    def test_killed(self) -> None:
        """kill -9 at random moments, then again: the same bytes as without."""
        rounds = int(os.environ.get("QUANT_KILL_ROUNDS", "2"))
        seed = int(os.environ.get("QUANT_KILL_SEED", random.randrange(1 << 30)))
        print(f"QUANT_KILL_SEED={seed}")
        chance, options = random.Random(seed), self.prepare(500)[1:]
        policy = self.folder / "policy.json"
        policy.write_text(json.dumps({"rules": [{"match": "model.layers", "layers": [1, 2], "scheme": "w4a16"}]}))
        options.append(f"--policy={policy}")
        for method in ("gptq", "awq"):
            killed, kept = 0, 0
            begin = time.monotonic()
            self.run_it(TINY, self.folder / "whole", *options, f"--method={method}", f"--report={self.folder / 'whole.json'}")
            once, whole = time.monotonic() - begin, contents(self.folder / "whole")
            for round_ in range(rounds if method == "gptq" else max(1, rounds // 5)):
                out, report = self.folder / f"out{round_}", self.folder / f"{method}{round_}.json"
                arguments = [*options, f"--method={method}", f"--report={report}"]
                is_done = False
                for _ in range(3):
                    process = subprocess.Popen(self.command(TINY, out, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    try:
                        is_done = process.wait(chance.uniform(0.02, once)) == 0
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
                        killed += 1
                        kept += len(list(self.folder.glob(f"out{round_}.calibration/model-*.safetensors")))
                    if is_done:
                        break
                if not is_done and not (out / "model.safetensors.index.json").exists():
                    self.run_it(TINY, out, *arguments)
                self.assertEqual(contents(out), whole, f"{method}, round {round_}")
                if report.exists():
                    told, expected = (json.loads(path.read_text()) for path in (report, self.folder / "whole.json"))
                    self.assertEqual(told["layers"], expected["layers"])
                for path in (out, out.with_name(out.name + ".calibration")):
                    subprocess.run(["rm", "-rf", path], check=True)
            subprocess.run(["rm", "-rf", self.folder / "whole"], check=True)
            print(f"{method}: killed {killed} times, {kept} files kept")

    def test_memory_changes_no_byte(self) -> None:
        """The text in one run, and in several of a few layers each, and on another number of threads."""
        options = [*self.prepare(600), "--method=gptq"]
        dry = {memory: self.run_it(TINY, self.folder / "no", *options, f"--memory={memory}", "--dry-run")["forecast"] for memory in ("8GB", "1MB")}
        self.assertEqual(dry["8GB"]["passes"], 1)
        least = dry["1MB"]["least_memory_bytes"]
        outs = []
        for number, extra in enumerate((["--memory=8GB"], [f"--memory={least}", "--threads=2"], [f"--memory={least}", "--threads=1"])):
            outs.append(self.folder / f"out{number}")
            forecast = self.run_it(TINY, self.folder / "no", *options, *extra, "--dry-run")["forecast"]
            print(f"{extra}: {forecast['passes']} passes, {forecast['memory_bytes'] / MB:.1f} MB")
            if number:
                self.assertGreater(forecast["passes"], 2)
                self.assertLessEqual(forecast["memory_bytes"], least)
            self.run_it(TINY, outs[-1], *options, *extra)
        self.assertFalse((self.folder / "no").exists())
        for out in outs[1:]:
            self.assertEqual(contents(out), contents(outs[0]))
        self.check_together(options, dry["8GB"]["sums_bytes"])
        done = subprocess.run(self.command(TINY, self.folder / "no", *options, "--memory=1MB"), capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the least that this run can do with is", done.stderr)
        self.assertFalse((self.folder / "no").exists())

    def check_together(self, options: list[object], sums: int) -> None:
        """One sum for gate_proj and up_proj of all experts: of all tokens, three pieces with their BOS."""
        report = self.folder / "together.json"
        forecast = self.run_it(TINY, self.folder / "no", *options, "--experts-together", "--dry-run")["forecast"]
        self.assertEqual(sums - forecast["sums_bytes"], 4 * 12 * 256 * 256 * 8)  # 12 experts and their mean less one, in four layers
        self.run_it(TINY, self.folder / "together", *options, "--experts-together", f"--report={report}")
        for layer, what in json.loads(report.read_text())["layers"].items():
            if re.search(r"experts\.\d+\.(gate|up)_proj", layer):
                self.assertEqual((what["tokens"], what["borrowed_tokens"]), (603, 0))
                self.assertLess(what["of_nearest"], 1)

    def test_memory_is_bounded(self) -> None:
        """Sums of 140 MB in a process that may have 150 MB of data: only where --memory says so."""
        config = json.loads((CONFIGS / "toy_v3.json").read_text())
        config.update(hidden_size=512, moe_intermediate_size=64, intermediate_size=128, n_routed_experts=32, num_hidden_layers=3, num_nextn_predict_layers=0)
        (self.folder / "config.json").write_text(json.dumps(config))
        model, module, text = self.folder / "wide", self.folder / "wide.qmod", self.folder / "text.json"
        call("quant-convert", "random", "--config", self.folder / "config.json", "--dtype", "bf16", "--output", model)
        call("quant-compile", model, "--host-isa=avx2", "-o", module)
        text.write_text(json.dumps([random.Random(1).randrange(2, 500) for _ in range(300)]))
        limit = 150 * MB
        options = ["--policy=experts-int4", "--method=gptq", "--context=64", "--threads=2", f"--calibration={text}", f"--module={module}"]
        forecast = self.run_it(model, self.folder / "no", *options, "--memory=95MB", "--dry-run")["forecast"]
        self.assertGreater(forecast["sums_bytes"], 0.9 * limit)
        self.assertGreater(forecast["passes"], 3)
        for memory, is_enough in (("95MB", True), ("8GB", False)):
            out = self.folder / memory
            done = subprocess.run(self.command(model, out, *options, f"--memory={memory}"), capture_output=True, text=True, timeout=600,
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))  # fmt: skip
            self.assertEqual(done.returncode == 0, is_enough, done.stderr)

    def test_by_text(self) -> None:
        """A text is the same as its tokens."""
        options = self.prepare(600)[:-1]
        words = (TINY / "eval.txt").read_text()[:3000]
        (self.folder / "words.txt").write_text(words)
        asked = [Context.binaries / "quant-run", self.tiny.module, "--weights", TINY, "--json", "--context=256", "--perplexity"]
        tokens = json.loads((TINY / "eval.tokens.json").read_text())["tokens"]
        judged = json.loads(subprocess.run(list(map(str, [*asked, self.folder / "words.txt"])), capture_output=True, text=True, check=True).stdout)
        self.assertEqual(judged["bytes"], 3000)
        (self.folder / "ids.json").write_text(json.dumps(tokens[: judged["tokens"]]))
        same = json.loads(subprocess.run(list(map(str, [*asked, self.folder / "ids.json"])), capture_output=True, text=True, check=True).stdout)
        self.assertEqual(same["tokens"], judged["tokens"])
        # The last token of a cut text may be another one.
        self.assertLess(abs(same["perplexity"] / judged["perplexity"] - 1), 0.01)
        for name in ("words.txt", "ids.json"):
            self.run_it(TINY, self.folder / name.replace(".", "-"), *options, "--method=gptq", f"--calibration={self.folder / name}")
        if same["perplexity"] == judged["perplexity"]:
            self.assertEqual(contents(self.folder / "words-txt"), contents(self.folder / "ids-json"))
        (self.folder / "words.txt").write_text("")
        command = self.command(TINY, self.folder / "no", *options, "--method=gptq", f"--calibration={self.folder / 'words.txt'}")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("words.txt: is empty", done.stderr)


if __name__ == "__main__":
    test_toys.main()
