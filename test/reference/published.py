# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The published models of test/models/published.json: their config.json, and the same cut down to a size that runs in a test."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parents[1] / "models" / "configs"

SIZES = {"hidden_size": 256, "intermediate_size": 320, "moe_intermediate_size": 128, "kv_lora_rank": 128, "q_lora_rank": 96,
         "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "num_attention_heads": 4, "num_key_value_heads": 4,
         "vocab_size": 384, "head_dim": 16, "qk_head_dim": 48, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}  # fmt: skip
ORIGINAL_POSITIONS = 128  # original_max_position_embeddings
EXPERTS, MOE_LAYERS = 32, 2


@dataclass
class Published:
    """One config.json, and the scheme of test/reference/schemes.py that its checkpoint is in, if quant-convert cannot make it."""

    name: str
    config: dict[str, Any]
    scheme: str | None = None


def merge(target: dict[str, Any], changes: dict[str, Any]) -> None:
    """Objects key by key, all else as it is, nulls included."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)


def published() -> list[Published]:
    file = json.loads((HERE.parent / "models" / "published.json").read_text())
    base = json.loads((CONFIGS / file["base"]).read_text())
    result = []
    for model in file["models"]:
        config = {key: value for key, value in copy.deepcopy(base).items() if key not in model.get("without", [])}
        merge(config, model["changes"])
        result.append(Published(model["name"], config, model.get("scheme")))
    return result


def cut_down(config: dict[str, Any]) -> dict[str, Any]:
    """Small sizes, two layers with experts, 32 experts. All that chooses a kind or a factor stays: gate, groups, experts per token,
    shared experts, scaling, epsilon, theta and YaRN's numbers, q_lora_rank null or not, dense layers in front, the quantization."""
    small = copy.deepcopy(config)
    small.update({key: size for key, size in SIZES.items() if small.get(key) is not None})
    small.update({key: EXPERTS for key in ("n_routed_experts", "num_local_experts") if key in small})
    small["num_hidden_layers"] = small["first_k_dense_replace"] + MOE_LAYERS
    small["max_position_embeddings"] = 2 * ORIGINAL_POSITIONS
    for rope in filter(None, (small.get("rope_scaling"), small.get("rope_parameters"))):
        rope["original_max_position_embeddings"] = ORIGINAL_POSITIONS
        small["max_position_embeddings"] = int(ORIGINAL_POSITIONS * rope["factor"])
    return small
