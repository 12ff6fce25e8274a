# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random FP8 checkpoints in DeepSeek's published layout, for the tests of the reference and of the e2e harness."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from checkpoint import Checkpoint, to_bf16, write_safetensors
from fp8 import encode_e4m3

_YARN = {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 0.8, "mscale_all_dim": 1.0,
         "original_max_position_embeddings": 64}  # fmt: skip
_COMMON = {
    "vocab_size": 64, "num_hidden_layers": 2, "first_k_dense_replace": 1, "num_experts_per_tok": 2, "n_routed_experts": 8,
    "n_group": 4, "topk_group": 2, "hidden_size": 144, "intermediate_size": 136, "moe_intermediate_size": 24, "num_attention_heads": 3,
    "kv_lora_rank": 40, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 24, "rms_norm_eps": 1e-6, "rope_theta": 10000,
    "rope_scaling": _YARN, "max_position_embeddings": 2560, "tie_word_embeddings": False, "eos_token_id": None,
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
}  # fmt: skip


def v3() -> dict[str, Any]:
    return _COMMON | {"model_type": "deepseek_v3", "q_lora_rank": 32, "n_shared_experts": 1, "scoring_func": "sigmoid",
                      "topk_method": "noaux_tc", "norm_topk_prob": True, "routed_scaling_factor": 2.5}  # fmt: skip


def v2() -> dict[str, Any]:
    return _COMMON | {"model_type": "deepseek_v2", "q_lora_rank": None, "n_shared_experts": 2, "scoring_func": "softmax",
                      "topk_method": "group_limited_greedy", "norm_topk_prob": False, "routed_scaling_factor": 4.0}  # fmt: skip


def _projections(config: dict[str, Any], layer: int) -> Iterator[tuple[str, int, int]]:
    """(name, out, in) of every linear of a layer that is FP8 in the published checkpoints."""
    hidden, heads, rank = config["hidden_size"], config["num_attention_heads"], config["kv_lora_rank"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    attention = f"model.layers.{layer}.self_attn."
    if config["q_lora_rank"]:
        yield attention + "q_a_proj", config["q_lora_rank"], hidden
        yield attention + "q_b_proj", heads * (nope + rope), config["q_lora_rank"]
    else:
        yield attention + "q_proj", heads * (nope + rope), hidden
    yield attention + "kv_a_proj_with_mqa", rank + rope, hidden
    yield attention + "kv_b_proj", heads * (nope + value), rank
    yield attention + "o_proj", hidden, heads * value
    mlps = {"mlp.": config["intermediate_size"]}
    if layer >= config["first_k_dense_replace"]:
        mlps = {f"mlp.experts.{e}.": config["moe_intermediate_size"] for e in range(config["n_routed_experts"])}
        mlps["mlp.shared_experts."] = config["moe_intermediate_size"] * config["n_shared_experts"]
    for prefix, inner in mlps.items():
        yield f"model.layers.{layer}.{prefix}gate_proj", inner, hidden
        yield f"model.layers.{layer}.{prefix}up_proj", inner, hidden
        yield f"model.layers.{layer}.{prefix}down_proj", hidden, inner


def write(folder: Path, config: dict[str, Any], seed: int) -> Checkpoint:
    """Writes config.json and model.safetensors: FP8 linears with [128, 128] block scales, the rest BF16, the gate's bias F32."""
    random = np.random.default_rng(seed)
    tensors: dict[str, tuple[str, np.ndarray]] = {}

    def bf16(name: str, *shape: int, mean: float = 0.0, spread: float = 1.0) -> None:
        tensors[name] = ("BF16", to_bf16(mean + spread * random.standard_normal(shape)))

    vocab, hidden = config["vocab_size"], config["hidden_size"]
    bf16("model.embed_tokens.weight", vocab, hidden)
    if not config["tie_word_embeddings"]:
        bf16("lm_head.weight", vocab, hidden, spread=hidden**-0.5)
    bf16("model.norm.weight", hidden, mean=1.0, spread=0.1)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        norms = {"input_layernorm": hidden, "post_attention_layernorm": hidden, "self_attn.kv_a_layernorm": config["kv_lora_rank"]}
        if config["q_lora_rank"]:
            norms["self_attn.q_a_layernorm"] = config["q_lora_rank"]
        for name, size in norms.items():
            bf16(f"{prefix}{name}.weight", size, mean=1.0, spread=0.1)
        if layer >= config["first_k_dense_replace"]:
            bf16(prefix + "mlp.gate.weight", config["n_routed_experts"], hidden, spread=hidden**-0.5)
            if config["scoring_func"] == "sigmoid":
                bias = 0.3 * random.standard_normal(config["n_routed_experts"]) - 0.3
                tensors[prefix + "mlp.gate.e_score_correction_bias"] = ("F32", bias)
        for name, rows, columns in _projections(config, layer):
            blocks = (-(-rows // 128), -(-columns // 128))
            scales = (0.5 + random.random(blocks)) * columns**-0.5 / 64
            tensors[name + ".weight"] = ("F8_E4M3", encode_e4m3(64 * random.standard_normal((rows, columns))))
            tensors[name + ".weight_scale_inv"] = ("F32", scales)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    write_safetensors(folder / "model.safetensors", tensors)
    return Checkpoint(folder)
