#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quant-compile --kernel: what it writes, what it explains, what it refuses and how.

    python3 test/tools/quant-compile/test_kernels.py --bin build/bin [unittest arguments]

That the kernels compute the right numbers: test/gpu/test_harness.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

GEMM = ("--kernel=fp8_gemm", "--n=576", "--k=512")


class Context:
    """Set by main(): where the binaries are."""

    binaries = Path()


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(Context.binaries / "quant-compile"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False)


class KernelTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="kernels-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.out = self.folder / "out"

    def good(self, *arguments: str | Path) -> str:
        done = call(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def compile(self, *arguments: str | Path) -> dict[str, Any]:
        """kernels.json of what is written to self.out."""
        self.good(*arguments, "-o", self.out)
        return json.loads((self.out / "kernels.json").read_text())

    def refused(self, status: int, text: str, *arguments: str | Path) -> None:
        done = call(*arguments)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(text, done.stderr)
        self.assertFalse(self.out.exists() and any(self.out.iterdir()), "nothing is written where it fails")
        self.assertEqual([path for path in self.folder.iterdir() if path.name.endswith(".tmp")], [])


class Writes(KernelTest):
    def test_projections_of_heads(self) -> None:
        expand = ("--kernel=mla_expand", "-o", self.out)
        self.refused(2, "--rope: mla_expand has no such option", *expand, "--heads=3", "--rope=halves")
        self.refused(2, "--heads: mla_expand needs it", *expand)
        self.refused(1, "absorb takes no swapAB", "--kernel=mla_absorb", "--heads=3", "--tile=16x64,swap", "-o", self.out)
        index = self.compile("--kernel=mla_absorb", "--heads=3", "--rope=halves", "--m=1-64")
        self.assertEqual(index["request"], {"heads": 3, "m": "1-64", "gpu": "h200", "out": "bf16", "rope": "halves"})
        recipe = json.loads((self.out / index["variants"][0]["launch"]).read_text())
        self.assertEqual([operand["name"] for operand in recipe["operands"]], ["a", "b", "d", "rope"])

    def test_variants_by_m(self) -> None:
        index = self.compile(*GEMM, "--target=sm_90a")
        self.assertEqual(index["request"] | {"n": 576, "k": 512, "m": "dynamic", "gpu": "h200"}, index["request"])
        ranges = [variant["m"] for variant in index["variants"]]
        self.assertEqual(ranges[0][0], 1)
        for before, after in itertools.pairwise(ranges):
            self.assertEqual(after[0], before[1] + 1)
        names = {variant["launch"].removesuffix(".json") for variant in index["variants"]}
        self.assertLessEqual(len(names), 4)
        for variant in index["variants"]:
            self.assertIn("% of the time", variant["reason"])
            self.assertGreater(variant["predicted"]["microseconds"], 0)
        suffixes = [".json", ".mlir", ".ptx"] + ([".cubin"] if shutil.which("ptxas") else [])
        self.assertEqual({path.name for path in self.out.iterdir()},
                         {"kernels.json"} | {name + suffix for name in names for suffix in suffixes})  # fmt: skip
        limits = set()
        for name in names:
            recipe = json.loads((self.out / f"{name}.json").read_text())
            self.assertEqual(recipe["kernel"], name)
            self.assertIn(f".entry {name}(", (self.out / f"{name}.ptx").read_text())
            limits.add(recipe["limits"]["M"])
        self.assertIn(ranges[-1][1], limits, "the last one serves every M that it can")

    def test_one_m(self) -> None:
        index = self.compile(*GEMM, "--m=64")
        self.assertEqual([variant["m"] for variant in index["variants"]], [[64, 64]])
        index = self.compile(*GEMM, "--m=3-80", "--max-kernels=1")
        self.assertEqual([variant["m"] for variant in index["variants"]], [[3, 80]])

    def test_what_is_asked_for_is_in_the_name(self) -> None:
        index = self.compile(*GEMM, "--m=64", "--tile=128x64,stages=4,multicast=b", "--bias", "--accumulate", "--out=f32")
        self.assertEqual(index["variants"][0]["launch"], "sm90_fp8_gemm_1d2d_n576_k512_bm128_bn64_st4_mcb_bias_acc_f32.json")
        recipe = json.loads((self.out / index["variants"][0]["launch"]).read_text())
        operands = {operand["name"]: operand for operand in recipe["operands"]}
        self.assertEqual(operands["bias"]["shape"], [576])
        self.assertEqual((operands["d"]["dtype"], operands["d"]["access"]), ("f32", "readwrite"))

    def test_batch_invariant(self) -> None:
        split = json.loads(self.good("--kernel=fp8_gemm", "--n=576", "--k=7168", "--m=64", "--explain", "--json"))
        whole = json.loads(self.good("--kernel=fp8_gemm", "--n=576", "--k=7168", "--m=64", "--explain", "--json", "--batch-invariant"))
        self.assertIn("split-k", split["variants"][0]["tile"])
        self.assertNotIn("split-k", json.dumps(whole))

    def test_groups(self) -> None:
        grouped = ("--kernel=fp8_grouped_gemm", "--groups=8", "--n=136", "--k=256")
        index = self.compile(*grouped, "--layout=masked", "--m=1-64", "--max-kernels=2")
        self.assertEqual(index["request"] | {"groups": 8, "layout": "masked", "align": 1}, index["request"])
        ranges = [variant["rows_per_group"] for variant in index["variants"]]
        self.assertEqual((ranges[0][0], ranges[-1][1]), (1, 64))
        self.assertIn("8 groups of", index["variants"][0]["reason"])
        self.assertIn("_g8_masked_", index["variants"][0]["launch"])
        recipe = json.loads((self.out / index["variants"][0]["launch"]).read_text())
        operands = {operand["name"]: operand for operand in recipe["operands"]}
        self.assertEqual(operands["a"]["shape"], [8, "M", 256])
        self.assertEqual(operands["counts"]["shape"], [8])
        index = self.compile(*grouped, "--align=128", "--m=100", "--tile=128x128")
        self.assertEqual(index["variants"][0]["launch"], "sm90_fp8_grouped_gemm_1d2d_g8_align128_n136_k256_bm128_bn128.json")

    def test_other_elements(self) -> None:
        index = self.compile("--kernel=int8_gemm", "--n=136", "--k=256", "--m=100", "--weight-scales=bf16", "--out=f32")
        self.assertEqual(index["request"]["weight_scales"], "bf16")
        recipe = json.loads((self.out / index["variants"][0]["launch"]).read_text())
        operands = [(operand["name"], operand["dtype"], operand["shape"]) for operand in recipe["operands"]]
        self.assertEqual(operands, [("a", "i8", ["M", 256]), ("scale_a", "f32", ["M"]), ("b", "i8", [136, 256]),
                                    ("scale_b", "bf16", [136]), ("d", "f32", ["M", 136])])  # fmt: skip
        index = self.compile("--kernel=bf16_grouped_gemm", "--groups=3", "--n=136", "--k=100", "--m=1-64", "--max-kernels=1")
        recipe = json.loads((self.out / index["variants"][0]["launch"]).read_text())
        self.assertEqual([(operand["name"], operand["dtype"]) for operand in recipe["operands"]],
                         [("a", "bf16"), ("b", "bf16"), ("d", "bf16"), ("ends", "i32")])  # fmt: skip
        shutil.rmtree(self.out)
        self.refused(2, "--weight-scales: fp8_gemm has no such option", *GEMM, "--weight-scales=bf16", "-o", self.out)
        self.refused(2, "--swiglu: bf16_gemm has no such option", "--kernel=bf16_gemm", "--n=128", "--k=128", "--swiglu", "-o", self.out)
        self.refused(1, "INT8 takes no split K", "--kernel=int8_gemm", "--n=128", "--k=512", "--tile=64x64,split-k=2", "-o", self.out)

    def test_swiglu(self) -> None:
        fused = ("--kernel=fp8_grouped_gemm", "--groups=4", "--n=256", "--k=256", "--swiglu", "--m=100")
        index = self.compile(*fused, "--scale-format=ue8m0")
        self.assertEqual(index["request"] | {"out": "f8E4M3FN", "swiglu": True, "scale_format": "ue8m0"}, index["request"])
        self.assertIn("_swiglu_ue8m0.json", index["variants"][0]["launch"])
        shutil.rmtree(self.out)
        self.refused(2, "--scale-format: is of a quantized d", *GEMM, "--scale-format=ue8m0", "-o", self.out)
        self.refused(1, "takes neither a bias", "--kernel=fp8_gemm", "--n=512", "--k=512", "--swiglu", "--bias", "-o", self.out)

    def test_quantize_and_dequantize(self) -> None:
        index = self.compile("--kernel=quantize", "--k=200", "--scale-format=ue8m0")
        self.assertEqual(index["variants"][0]["m"][0], 1)
        index = self.compile("--kernel=dequantize", "--n=130", "--k=200", "--out=f32")
        self.assertNotIn("m", index["variants"][0])

    def test_mla_decode(self) -> None:
        index = self.compile("--kernel=mla_decode", "--heads=16", "--pages=40", "--softmax-scale=0.1352", "--lse")
        self.assertEqual(index["request"], {"heads": 16, "pages": 40, "softmax_scale": 0.1352, "splits": 1, "lse": True})
        recipe = json.loads((self.out / index["variants"][0]["launch"]).read_text())
        operands = {operand["name"]: operand["shape"] for operand in recipe["operands"]}
        self.assertEqual(operands["q"], ["M", 16, 576])
        self.assertEqual(operands["pages"], ["sequences", 40])
        self.assertEqual(operands["lse"], ["M", 16])
        index = self.compile("--kernel=mla_decode", "--heads=16", "--pages=40", "--splits=4")
        self.assertTrue(index["variants"][0]["launch"].endswith("_sk4.json"))
        index = self.compile("--kernel=mla_combine", "--heads=16", "--splits=4")
        self.assertEqual(index["variants"][0]["launch"], "sm90_mla_combine_h16_sk4.json")
        explained = json.loads(self.good("--kernel=mla_decode", "--heads=128", "--pages=512", "--explain", "--json"))["best"]
        splits = {(case["tokens"], case["keys"]): case["splits"] for case in explained}
        self.assertGreater(splits[1, 32768], 16)
        self.assertEqual(splits[128, 4096], 1)
        self.assertIn("predicted", self.good("--kernel=mla_decode", "--heads=16", "--pages=512", "--explain"))
        shutil.rmtree(self.out)
        self.refused(1, "--lse: parts of the keys always have", "--kernel=mla_decode", "--heads=16", "--pages=4", "--splits=2", "--lse", "-o", self.out)
        self.refused(1, "1 parts of the keys", "--kernel=mla_combine", "--heads=16", "--splits=1", "-o", self.out)
        self.refused(2, "--pages: mla_decode needs it", "--kernel=mla_decode", "--heads=16", "-o", self.out)
        self.refused(2, "--bias: mla_decode has no such option", "--kernel=mla_decode", "--heads=16", "--pages=4", "--bias", "-o", self.out)

    def test_a_folder_of_ours_is_replaced(self) -> None:
        self.compile(*GEMM, "--m=1")
        index = self.compile(*GEMM, "--m=8192")
        names = {path.stem for path in self.out.iterdir()} - {"kernels"}
        self.assertEqual(names, {variant["launch"].removesuffix(".json") for variant in index["variants"]})

    def test_summary_as_json(self) -> None:
        summary = json.loads(self.good(*GEMM, "--m=64", "--json", "-o", self.out))
        self.assertEqual(sorted(summary["files"]), sorted(str(path) for path in self.out.iterdir()))
        self.assertEqual(summary["bytes"], sum(path.stat().st_size for path in self.out.iterdir()))
        self.assertEqual(summary["kernels"], json.loads((self.out / "kernels.json").read_text()))


class Explains(KernelTest):
    def test_list(self) -> None:
        text = self.good("--list-kernels")
        kinds = json.loads(self.good("--list-kernels", "--json"))
        self.assertEqual([kind["kernel"] for kind in kinds], ["fp8_gemm", "fp8_grouped_gemm", "int8_gemm",
                         "int8_grouped_gemm", "bf16_gemm", "bf16_grouped_gemm", "mla_absorb", "mla_expand", "mla_decode",
                         "mla_combine", "quantize", "dequantize"])
        for kind in kinds:
            self.assertIn(kind["summary"], text)
            for flag in kind["flags"]:
                self.assertIn(flag["flag"], text)

    def test_explain(self) -> None:
        text = self.good(*GEMM, "--explain")
        self.assertIn("the fastest kernel by M, predicted", text)
        for m in (1, 64, 4096, 8192):
            self.assertRegex(text, rf"(?m)^ *{m}  \S+x\S+ .*% of the time$")
        self.assertFalse(self.out.exists())
        data = json.loads(self.good(*GEMM, "--explain", "--json", "--gpu=h100"))
        self.assertEqual(data["gpu"], "h100")
        self.assertEqual([row["m"] for row in data["best"]], sorted(row["m"] for row in data["best"]))

    def test_help_teaches(self) -> None:
        text = self.good("--help")
        for words in ("--list-kernels", "--kernel=fp8_gemm --n=7168 --k=2048 -o gemm/", "One GPU kernel instead of a model"):
            self.assertIn(words, text)


class Refuses(KernelTest):
    def test_usage(self) -> None:
        out = ("-o", self.out)
        for text, *arguments in (
            ("--k: fp8_gemm needs it", "--kernel=fp8_gemm", "--n=8", *out),
            ("--groups: fp8_grouped_gemm needs it", "--kernel=fp8_grouped_gemm", "--n=8", "--k=8", *out),
            ("--bias: fp8_grouped_gemm has no such option", "--kernel=fp8_grouped_gemm", "--n=8", "--k=8", "--groups=2", "--bias", *out),
            ("--bias: quantize has no such option, it takes --k, --in, --scale-format", "--kernel=quantize", "--k=8", "--bias", *out),
            ("--n: needs --kernel", "--n=8"),
            ("--explain: there is nothing to choose for quantize", "--kernel=quantize", "--k=8", "--explain"),
            ("--max-tokens: is for a model, not for --kernel", *GEMM, "--max-tokens=8", *out),
            ("--launch-dependents: is for a model, not for --kernel", *GEMM, "--launch-dependents=never", *out),
            ("--target: --kernel is for sm_90a alone", *GEMM, "--target=host", *out),
            ("--output: say with -o which folder", *GEMM),
            ("--output: a kernel is several files", *GEMM, "-o", "-"),
            ("--m=9-3: is neither dynamic nor", *GEMM, "--m=9-3", *out),
            ("--m=0: is neither", *GEMM, "--m=0", *out),
            ("--tile=128: must begin with", *GEMM, "--tile=128", *out),
            ("--tile=64x64,fast: 'fast' is none of swap", *GEMM, "--tile=64x64,fast", *out),
            ("--gpu: b200 not in", *GEMM, "--gpu=b200", *out),
            ("--kernel: gemv not in", "--kernel=gemv", *out),
            ("--n: Value 0 not in range", "--kernel=fp8_gemm", "--n=0", "--k=8", *out),
            ("--list-kernels: takes no input", "--list-kernels", *out),
            ("input: name a checkpoint's folder", *out),
        ):
            with self.subTest(arguments=arguments):
                self.refused(2, text, *arguments)

    def test_what_there_is_not(self) -> None:
        self.refused(1, "take neither an alignment", "--kernel=fp8_grouped_gemm", "--n=8", "--k=128", "--groups=2",
                     "--layout=masked", "--align=128", "-o", self.out)  # fmt: skip
        self.refused(1, "--n=12 --k=128: ", "--kernel=fp8_gemm", "--n=12", "--k=128", "-o", self.out)
        self.refused(1, "--tile=100x128: ", *GEMM, "--tile=100x128", "-o", self.out)
        self.refused(1, "--tile=128x128,stages=40: ", *GEMM, "--tile=128x128,stages=40", "-o", self.out)
        self.refused(1, "cannot run ", *GEMM, "--m=1", "--ptxas=/nonexistent/ptxas", "-o", self.out)

    def test_folders_that_are_not_ours(self) -> None:
        foreign = self.folder / "foreign"
        foreign.mkdir()
        (foreign / "thesis.tex").write_text("years of work")
        self.refused(1, "holds thesis.tex, which quant-compile did not write there", *GEMM, "--m=1", "-o", foreign)
        self.assertEqual((foreign / "thesis.tex").read_text(), "years of work")
        self.refused(1, "is no folder", *GEMM, "--m=1", "-o", foreign / "thesis.tex")
        self.refused(1, "cannot write there", *GEMM, "--m=1", "-o", self.folder / "no" / "such")
        # Ours, and something else in it.
        self.compile(*GEMM, "--m=1")
        (self.out / "notes.txt").write_text("mine")
        done = call(*GEMM, "--m=1", "-o", self.out)
        self.assertEqual(done.returncode, 1)
        self.assertIn("holds notes.txt", done.stderr)
        self.assertTrue((self.out / "kernels.json").exists())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=Path, required=True)
    arguments, rest = parser.parse_known_args()
    Context.binaries = arguments.bin.resolve()
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
