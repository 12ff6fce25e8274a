#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`quant-convert inspect --for`: small checkpoints that break one rule each are flagged by that rule, intact ones by none.

    python3 test/tools/quant-convert/test_lint.py --bin build/bin [unittest arguments]
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "reference"))
from checkpoint import to_bf16, write_safetensors

BIN = Path()
SERVERS, ALL = "vllm,sglang", "vllm,sglang,transformers"

Tensors = dict[str, tuple[str, np.ndarray]]
Config = dict[str, Any]

#: modules and their shapes: a dense layer, and one of two experts
ATTENTION = {"q_a_proj": (256, 256), "q_b_proj": (256, 256), "kv_a_proj_with_mqa": (256, 256), "kv_b_proj": (256, 128),
             "o_proj": (256, 256)}  # fmt: skip
MLP = {"gate_proj": (512, 256), "up_proj": (512, 256), "down_proj": (256, 512)}


def modules() -> dict[str, tuple[int, int]]:
    result = {}
    for layer in range(2):
        at = f"model.layers.{layer}."
        result |= {f"{at}self_attn.{name}": shape for name, shape in ATTENTION.items()}
        owners = ["mlp"] if layer == 0 else ["mlp.shared_experts", "mlp.experts.0", "mlp.experts.1"]
        result |= {f"{at}{owner}.{name}": shape for owner in owners for name, shape in MLP.items()}
    return result


def plain(shape: tuple[int, ...]) -> tuple[str, np.ndarray]:
    return "BF16", to_bf16(np.ones(shape))


def wide() -> Tensors:
    tensors = {f"model.layers.{layer}.input_layernorm.weight": plain((256,)) for layer in range(2)}
    return tensors | {"model.embed_tokens.weight": plain((64, 256)), "lm_head.weight": plain((64, 256)),
                      "model.norm.weight": plain((256,)), "model.layers.1.mlp.gate.weight": plain((2, 256))}  # fmt: skip


def fp8(name: str, shape: tuple[int, int], scale: float = 0.5) -> Tensors:
    blocks = (-(-shape[0] // 128), -(-shape[1] // 128))
    return {f"{name}.weight": ("F8_E4M3", np.full(shape, 0x38, np.uint8)),
            f"{name}.weight_scale_inv": ("F32", np.full(blocks, scale, np.float32))}  # fmt: skip


def int4(name: str, shape: tuple[int, int], group: int = 128) -> Tensors:
    rows, columns = shape
    return {f"{name}.weight_packed": ("I32", np.zeros((rows, -(-columns // 8)), np.int32)),
            f"{name}.weight_scale": plain((rows, -(-columns // group))),
            f"{name}.weight_shape": ("I64", np.array(shape))}  # fmt: skip


def int8(name: str, shape: tuple[int, int]) -> Tensors:
    return {f"{name}.weight": ("I8", np.ones(shape, np.int8)), f"{name}.weight_scale": plain((shape[0], 1))}


def model_config(quantization: Config) -> Config:
    return {"model_type": "deepseek_v3", "hidden_size": 256, "n_routed_experts": 2, "kv_lora_rank": 128,
            "torch_dtype": "bfloat16", "quantization_config": quantization}  # fmt: skip


def group_of(weights: Config, inputs: Config | None = None) -> Config:
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "dynamic": False, **weights}
    return {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "output_activations": None}


def compressed(format_: str, group: Config, ignore: list[str]) -> Config:
    return model_config({"quant_method": "compressed-tensors", "format": format_, "quantization_status": "compressed",
                         "config_groups": {"group_0": group}, "ignore": ignore, "kv_cache_scheme": None})  # fmt: skip


WIDE = ["lm_head", "re:.*mlp\\.gate$"]
ONLY_EXPERTS = [*WIDE, "re:.*self_attn\\..*", "re:.*shared_experts.*", "re:.*layers\\.0\\.mlp\\..*"]
PER_TOKEN = {"num_bits": 8, "type": "int", "strategy": "token", "symmetric": True, "dynamic": True}


def deepseek_fp8() -> tuple[Config, Tensors]:
    tensors = wide()
    for name, shape in modules().items():
        tensors |= fp8(name, shape)
    return model_config({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}), tensors


def int4_experts() -> tuple[Config, Tensors]:
    tensors = wide()
    for name, shape in modules().items():
        tensors |= int4(name, shape) if ".experts." in name else {f"{name}.weight": plain(shape)}
    return compressed("pack-quantized", group_of({"group_size": 128}), list(ONLY_EXPERTS)), tensors


def int4_all() -> tuple[Config, Tensors]:
    tensors = wide()
    for name, shape in modules().items():
        tensors |= int4(name, shape)
    return compressed("pack-quantized", group_of({"group_size": 128}), list(WIDE)), tensors


def w8a8() -> tuple[Config, Tensors]:
    tensors = wide()
    for name, shape in modules().items():
        tensors |= int8(name, shape)
    return compressed("int-quantized", group_of({"num_bits": 8, "strategy": "channel"}, PER_TOKEN), list(WIDE)), tensors


def gptq() -> tuple[Config, Tensors]:
    tensors = wide()
    for name, (rows, columns) in modules().items():
        if "self_attn" in name:
            tensors[f"{name}.weight"] = plain((rows, columns))
            continue
        tensors |= {f"{name}.qweight": ("I32", np.zeros((columns // 8, rows), np.int32)),
                    f"{name}.qzeros": ("I32", np.full((columns // 128, rows // 8), 0x77777777, np.int32)),
                    f"{name}.scales": ("F16", np.full((columns // 128, rows), 0x3C00, np.uint16).view(np.float16)),
                    f"{name}.g_idx": ("I32", (np.arange(columns) // 128).astype(np.int32))}  # fmt: skip
    return model_config({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True,
                         "checkpoint_format": "gptq"}), tensors  # fmt: skip


#: (checkpoint, engines, more arguments): nobody minds.
INTACT = [
    (deepseek_fp8, ALL, "--tp=2"), (deepseek_fp8, ALL, "--gpu=sm100 --ep=2 --tp=2"), (int4_experts, ALL, ""),
    (int4_experts, ALL, "--tp=4"), (w8a8, SERVERS, "--tp=8"), (gptq, ALL, ""), (int4_all, "vllm", ""),
]  # fmt: skip

Change = Callable[[Config, Tensors], None]
ATTN0, ATTN1, MLP0, MOE = "model.layers.0.self_attn.", "model.layers.1.self_attn.", "model.layers.0.mlp.", "model.layers.1.mlp.experts."


def replace(tensors: Tensors, module: str, new: Tensors) -> None:
    for name in [name for name in tensors if name.startswith(module + ".")]:
        del tensors[name]
    tensors.update(new)


def quantization(config: Config) -> Config:
    return config["quantization_config"]


def weights_of(config: Config) -> Config:
    return quantization(config)["config_groups"]["group_0"]["weights"]


def set_group(config: Config, tensors: Tensors, size: int) -> None:
    weights_of(config)["group_size"] = size
    for name, shape in modules().items():
        if ".experts." in name:
            replace(tensors, name, int4(name, shape, size))


def asymmetric(config: Config, tensors: Tensors) -> None:
    weights_of(config)["symmetric"] = False
    for name, (rows, columns) in modules().items():
        if ".experts." in name:
            tensors[f"{name}.weight_zero_point"] = ("I32", np.zeros((rows // 8, columns // 128), np.int32))


def one_expert_wide(config: Config, tensors: Tensors) -> None:
    replace(tensors, f"{MOE}1.down_proj", {f"{MOE}1.down_proj.weight": plain((256, 512))})
    quantization(config)["ignore"].append(f"{MOE}1.down_proj")


def wide_half(config: Config, tensors: Tensors) -> None:
    """kv_a_proj_with_mqa stays wide, q_a_proj does not."""
    for layer in range(2):
        name = f"model.layers.{layer}.self_attn.kv_a_proj_with_mqa"
        replace(tensors, name, {f"{name}.weight": plain((256, 256))})
    quantization(config)["ignored_layers"] = [f"model.layers.{layer}.self_attn.kv_a_proj_with_mqa" for layer in range(2)]


def spoil_scale(name: str, value: float) -> Change:
    return lambda config, tensors: tensors[name][1].__setitem__((0, 0), value)


def inputs(config: Config, args: Config) -> None:
    quantization(config)["config_groups"]["group_0"]["input_activations"] = args


#: what is broken, the checkpoint, what is changed, engines, more arguments, the rule, a tensor or ""
BROKEN: list[tuple[str, Any, Change, str, str, str, str]] = [
    ("status", int4_experts, lambda c, t: quantization(c).update(quantization_status="frozen"), ALL, "", "quantization-status", ""),
    ("status missing", int4_experts, lambda c, t: quantization(c).pop("quantization_status"), ALL, "", "quantization-status", ""),
    ("unknown key", int4_experts, lambda c, t: weights_of(c).update(groups=2), ALL, "", "unknown-argument", ""),
    ("actorder", int4_experts, lambda c, t: weights_of(c).update(actorder="group"), ALL, "", "unknown-argument", ""),
    ("ignore misspelt", int4_experts, lambda c, t: quantization(c)["ignore"].append("re:.*kv_b_prj"), ALL, "", "ignore-without-match", ""),
    ("blockwise_int8", deepseek_fp8, lambda c, t: quantization(c).update(quant_method="blockwise_int8"), "vllm", "", "method-vllm", ""),
    ("unknown method", deepseek_fp8, lambda c, t: quantization(c).update(quant_method="hqq"), "sglang", "", "method-sglang", ""),
    ("unknown method", deepseek_fp8, lambda c, t: quantization(c).update(quant_method="hqq"), "transformers", "",
     "method-transformers", ""),
    ("no scale of an expert", int4_experts, lambda c, t: t.pop(f"{MOE}1.up_proj.weight_scale"), ALL, "", "broken-layout",
     f"{MOE}1.up_proj.weight_packed"),
    ("NaN scale", deepseek_fp8, spoil_scale(f"{ATTN0}o_proj.weight_scale_inv", np.nan), ALL, "", "broken-scale",
     f"{ATTN0}o_proj.weight_scale_inv"),
    ("zero scale", deepseek_fp8, spoil_scale(f"{ATTN1}o_proj.weight_scale_inv", 0), ALL, "", "zero-scale",
     f"{ATTN1}o_proj.weight_scale_inv"),
    ("f32 scales of bf16", w8a8, lambda c, t: t.update({f"{MLP0}up_proj.weight_scale": ("F32", np.full((512, 1), 0.1, np.float32))}),
     "transformers", "", "rounded-scale", f"{MLP0}up_proj.weight_scale"),
    ("no powers of two", deepseek_fp8, spoil_scale(f"{ATTN0}o_proj.weight_scale_inv", 0.3), SERVERS, "--gpu=sm100", "ue8m0-scale",
     f"{ATTN0}o_proj.weight_scale_inv"),
    ("half of q_a|kv_a", deepseek_fp8, wide_half, SERVERS, "", "fused-schemes", f"{ATTN0}q_a_proj.weight"),
    ("one expert wide", int4_experts, one_expert_wide, SERVERS, "", "experts-differ", f"{MOE}1.down_proj.weight"),
    ("asymmetric experts", int4_experts, asymmetric, SERVERS, "", "moe-scheme", f"{MOE}0.down_proj.weight_packed"),
    ("asymmetric experts", int4_experts, asymmetric, "transformers", "", "asymmetric-transformers", f"{MOE}0.down_proj.weight_packed"),
    ("groups of 96", int4_experts, lambda c, t: set_group(c, t, 96), ALL, "", "short-group", f"{MOE}0.down_proj.weight_packed"),
    ("a split cuts groups", int4_experts, lambda c, t: None, SERVERS, "--tp=8", "group-split", f"{MOE}0.down_proj.weight_packed"),
    ("a split cuts blocks", deepseek_fp8, lambda c, t: None, SERVERS, "--tp=8", "block-split", f"{MLP0}down_proj.weight"),
    ("groups of 256", int4_experts, lambda c, t: set_group(c, t, 256), SERVERS, "", "marlin-tiles", f"{MOE}0.down_proj.weight_packed"),
    ("kv_b packed", int4_all, lambda c, t: None, "sglang", "", "kv-b-packed", f"{ATTN0}kv_b_proj.weight_packed"),
    ("q_a packed", int4_all, lambda c, t: None, "sglang", "", "qkv-a-packed", f"{ATTN0}kv_a_proj_with_mqa.weight_packed"),
    ("not ignored", int4_experts, lambda c, t: quantization(c)["ignore"].remove("lm_head"), ALL, "", "stored-plain", "lm_head.weight"),
    ("ignored and packed", int4_experts, lambda c, t: quantization(c)["ignore"].append("re:.*experts\\.1\\.up_proj"), ALL, "",
     "stored-quantized", f"{MOE}1.up_proj.weight_packed"),
    ("router in FP8", deepseek_fp8, lambda c, t: t.update(fp8("model.layers.1.mlp.gate", (2, 256))), ALL, "", "router-quantized",
     "model.layers.1.mlp.gate.weight"),
    ("ragged blocks", deepseek_fp8, lambda c, t: replace(t, f"{ATTN0}kv_a_proj_with_mqa", fp8(f"{ATTN0}kv_a_proj_with_mqa", (192, 256))),
     "transformers", "", "ragged-blocks", f"{ATTN0}kv_a_proj_with_mqa.weight"),
    ("INT8 experts", w8a8, lambda c, t: None, "transformers", "", "moe-transformers", f"{MOE}0.down_proj.weight"),
    ("INT4 experts, INT8 inputs", int4_experts, lambda c, t: inputs(c, PER_TOKEN), SERVERS, "", "moe-int8-inputs",
     f"{MOE}0.down_proj.weight_packed"),
    ("INT4 experts, FP8 inputs", int4_experts, lambda c, t: inputs(c, PER_TOKEN | {"type": "float"}), "vllm", "--gpu=sm100",
     "moe-fp8-inputs", f"{MOE}0.down_proj.weight_packed"),
    ("name in part", deepseek_fp8, lambda c, t: (replace(t, f"{ATTN0}kv_b_proj", {f"{ATTN0}kv_b_proj.weight": plain((256, 128))}),
                                                 quantization(c).update(modules_to_not_convert=["layers.0.self_attn.kv_b_proj"])),
     "vllm", "", "ignored-layers", f"{ATTN0}kv_b_proj.weight"),
    ("experts and ranks", int4_experts, lambda c, t: None, SERVERS, "--ep=3", "expert-count", ""),
    ("scales of a cache", int4_experts, lambda c, t: quantization(c).update(kv_cache_scheme={"num_bits": 8, "type": "float"}), "vllm", "",
     "kv-cache-scheme", ""),
    ("act-order", gptq, lambda c, t: quantization(c).update(desc_act=True), "vllm", "", "gptq-vllm", ""),
    ("asymmetric GPTQ", gptq, lambda c, t: quantization(c).update(sym=False), "vllm", "", "gptq-vllm", ""),
    ("half an indexer", deepseek_fp8, lambda c, t: t.update({**fp8(f"{ATTN0}indexer.wk", (128, 256)),
                                                             f"{ATTN0}indexer.weights_proj.weight": plain((64, 256))}),
     "vllm", "", "indexer", f"{ATTN0}indexer.wk.weight"),
]  # fmt: skip

#: Rules that only warn.
WARNINGS = {"ignore-without-match", "zero-scale", "rounded-scale", "ue8m0-scale", "kv-cache-scheme"}


class Lint(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)

    def lint(self, config: Config, tensors: Tensors, engines: str, more: str) -> tuple[int, list[dict[str, Any]], str]:
        (self.dir / "config.json").write_text(json.dumps(config))
        write_safetensors(self.dir / "model.safetensors", tensors)
        command = [BIN / "quant-convert", "inspect", self.dir, f"--for={engines}", *more.split(), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)["findings"], done.stderr

    def test_intact(self) -> None:
        for make, engines, more in INTACT:
            with self.subTest(make=make.__name__, more=more):
                self.assertEqual(self.lint(*make(), engines, more), (0, [], ""))

    def test_broken(self) -> None:
        for what, make, change, engines, more, rule, tensor in BROKEN:
            with self.subTest(what=what, engines=engines):
                config, tensors = copy.deepcopy(make())
                change(config, tensors)
                code, findings, error = self.lint(config, tensors, engines, more)
                mine = [finding for finding in findings if finding["rule"] == rule]
                self.assertTrue(mine, f"{rule} in {findings}")
                self.assertEqual(mine[0]["tensor"] or "", tensor)
                self.assertTrue(set(mine[0]["engines"]) <= set(engines.split(",")))
                self.assertEqual(mine[0]["severity"], "warning" if rule in WARNINGS else "error")
                self.assertTrue(mine[0]["source"] and mine[0]["way_out"])
                has_errors = any(finding["severity"] == "error" for finding in findings)
                self.assertEqual(code, 1 if has_errors else 0)
                self.assertEqual("rule " in error, has_errors, error)

    def test_every_rule_is_broken_once(self) -> None:
        text = (Path(__file__).resolve().parents[3] / "tools/quant-convert/check/lint_rules.cpp").read_text()
        names = {line.split('"')[1] for line in text.split("kRules[] = {")[1].split("\n};")[0].splitlines() if '{"' in line}
        self.assertEqual({case[5] for case in BROKEN}, names)

    def test_text(self) -> None:
        self.lint(*int4_all(), "sglang", "")
        done = subprocess.run([BIN / "quant-convert", "inspect", self.dir, "--for=sglang"], capture_output=True, text=True, check=False)
        self.assertIn(f"error: sglang: {ATTN0}kv_b_proj.weight_packed (and 1 more such) is ct-w4a16 in 1x128", done.stdout)
        self.assertIn("  way out: leave kv_b_proj in BF16 or FP8\n", done.stdout)
        self.assertIn("sglang on sm90, tp 1, ep 1: 3 errors, 0 warnings\n", done.stdout)
        wrong = subprocess.run([BIN / "quant-convert", "inspect", self.dir, "--for=ollama"], capture_output=True, text=True, check=False)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("'ollama' is not known, only vllm, sglang, transformers", wrong.stderr)


def main() -> None:
    global BIN
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=Path, required=True)
    arguments, rest = parser.parse_known_args()
    BIN = arguments.bin.resolve()
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
