#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quant-bench model: what it counts is what the configuration says, the peer takes its turns, and the plot has the kernels.

    python3 test/tools/quant-bench/test_model.py --bin build/bin
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

TINY = Path(__file__).resolve().parents[3] / "models" / "tiny"
CONFIG = json.loads((TINY / "config.json").read_text())
PROMPT, STEPS = 24, 4

#: Prints what llama-bench -o json does, with a log's line in between as ik_llama.cpp's has, and notes how often it was called and
#: with what.
PEER = """#!/usr/bin/env python3
import json, pathlib, sys
calls = pathlib.Path(__file__).with_suffix(".calls")
calls.open("a").write(" ".join(sys.argv[1:]) + "\\n")
text = json.dumps([{"n_prompt": 24, "n_gen": 0, "avg_ts": 100.0}, {"n_prompt": 0, "n_gen": 4, "avg_ts": 50.0}], indent=2)
print(text.replace("\\n", "\\nComputed blk.0.attn_k_b.weight as 128 x 512 x 16\\n", 1))
"""


class Context:
    binaries: Path


def bench(*options: object) -> subprocess.CompletedProcess[str]:
    command = [Context.binaries / "quant-bench", "model", *options]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


class Model(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.gguf = self.folder / "model.gguf"
        self.gguf.write_text("as it were")

    def peer(self, text: str) -> Path:
        path = self.folder / "llama-bench"
        path.write_text(text)
        path.chmod(0o755)
        return path

    def test_counts_peer_and_plot(self) -> None:
        svg = self.folder / "roofline.svg"
        done = bench(TINY, "--prompt", PROMPT, "--steps", STEPS, "--rounds", 2, "--json", "--svg", svg, "--peer", self.peer(PEER),
                     "--peer-model", self.gguf)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertGreater(min(result["read_gb_per_s"], result["peak_gflop_per_s"]), 0)
        prompt, decode = result["phases"]
        for phase, tokens in ((prompt, PROMPT), (decode, 1)):
            rows = {row["label"]: row for row in phase["kernels"]}
            self.check_counts(rows, tokens)
            self.assertLessEqual(sum(row["share"] for row in rows.values()), 1.2)
            self.assertAlmostEqual(phase["tokens_per_s"] * phase["seconds"], phase["tokens"])
        self.assertEqual((prompt["peer_tokens_per_s"], decode["peer_tokens_per_s"]), (100, 50))
        self.assertAlmostEqual(decode["of_peer"], decode["tokens_per_s"] / 50, delta=0.5 * decode["of_peer"])
        calls = (self.folder / "llama-bench.calls").read_text().splitlines()
        self.assertEqual(calls, [f"-m {self.gguf} -p {PROMPT} -n {STEPS} -t {result['threads']} -r 1 -o json"] * 2)
        titles = [element.text for element in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}title")]
        self.assertEqual(sum("lm_head" in title for title in titles), 2)

    def check_counts(self, rows: dict[str, dict], tokens: int) -> None:
        """Bytes of bf16 weights and operations, from the configuration alone."""
        hidden, experts, chosen = CONFIG["hidden_size"], CONFIG["n_routed_experts"], CONFIG["num_experts_per_tok"]
        layers, dense = CONFIG["num_hidden_layers"], CONFIG["first_k_dense_replace"]
        head = CONFIG["vocab_size"] * hidden
        self.assertEqual((rows["lm_head"]["bytes"], rows["lm_head"]["operations"]), (2 * head, 2 * head))  # of one token's logits
        self.assertEqual(rows["embed_tokens"]["bytes"], 2 * hidden * tokens)
        expert = 3 * hidden * CONFIG["moe_intermediate_size"]
        routed = rows["model.layers.*.mlp.experts"]
        self.assertAlmostEqual(routed["operations"], (layers - dense) * tokens * chosen * 2 * expert)
        touched = experts * (1 - (1 - chosen / experts) ** tokens)
        self.assertAlmostEqual(routed["bytes"], (layers - dense) * touched * 2 * expert, delta=1)
        latents, rope = CONFIG["kv_lora_rank"], CONFIG["qk_rope_head_dim"]
        nope, value, heads = CONFIG["qk_nope_head_dim"], CONFIG["v_head_dim"], CONFIG["num_attention_heads"]
        keys = (tokens + 1) / 2 if tokens > 1 else PROMPT + (STEPS + 1) / 2
        attention = rows["model.layers.*.self_attn.attention"]
        expected = 2 * heads * tokens * (latents * (nope + value) + keys * (2 * latents + rope))
        self.assertAlmostEqual(attention["operations"], layers * expected)
        cache = 2 * (latents + rope) * (keys + tokens)  # read, and written
        self.assertAlmostEqual(attention["bytes"], layers * (2 * heads * (nope + value) * latents + cache + 2 * latents), delta=1)

    def test_random_weights_of_some_layers(self) -> None:
        weights = self.folder / "weights"
        options = ("--prompt", 8, "--steps", 2, "--rounds", 1, "--layers", 2, "--weights", weights, "--json")
        for _ in range(2):  # the second time they are there
            done = bench(TINY, *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout)["layers"], 2)
        self.assertTrue((weights / "model.safetensors.index.json").exists() or (weights / "model.safetensors").exists())

    def test_refusals(self) -> None:
        self.refused("belong together", TINY, "--peer", self.peer(PEER))
        self.refused("--layers 9 asked for of 5", TINY, "--layers", 9)
        silent = self.peer("#!/bin/sh\necho no\n")
        self.refused("printed no 'avg_ts'", TINY, "--prompt", 8, "--steps", 2, "--rounds", 1, "--peer", silent, "--peer-model", self.gguf)

    def refused(self, message: str, *options: object) -> None:
        done = bench(*options)
        self.assertEqual(done.returncode, 1)
        self.assertIn(message, done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, required=True)
    options, rest = parser.parse_known_args()
    Context.binaries = options.bin.resolve()
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
