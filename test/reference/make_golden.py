#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes test/e2e/golden/{v3,v2}: toy checkpoints of Hugging Face transformers' own DeepSeek classes, and what those classes answer.

Needs torch and transformers (not used in CI):
    python3.11 -m venv /tmp/venv && /tmp/venv/bin/pip install torch==2.13.0 transformers==5.23.0 safetensors
    /tmp/venv/bin/python test/reference/make_golden.py

A folder gets: config.json (the published spelling: rope_theta, rope_scaling), model.safetensors (the published tensor names,
one tensor an expert), logits.npy [prompt, vocab] and decode_logits.npy [generated, vocab] (from transformers in float32) and
golden.json. The prompt is the first of a seeded series on which no expert selection hangs by a hair.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM

from checkpoint import Checkpoint
from deepseek import Model

GOLDEN = Path(__file__).resolve().parents[1] / "e2e" / "golden"
PROMPT, GENERATED = 40, 32
#: the plain loops: no SDPA, no grouped_mm (which wants strides of 16 bytes)
EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}
MIN_TOKEN_MARGIN = 2e-2

COMMON = {
    "vocab_size": 256, "num_hidden_layers": 3, "first_k_dense_replace": 1, "moe_layer_freq": 1, "num_experts_per_tok": 4,
    "n_routed_experts": 16, "n_group": 4, "topk_group": 2, "hidden_act": "silu", "attention_bias": False, "attention_dropout": 0.0,
    "max_position_embeddings": 10240, "bos_token_id": 0, "eos_token_id": None, "tie_word_embeddings": False, "use_cache": True,
}  # fmt: skip

#: rms_norm_eps is large so that taking it for q_a/kv_a_layernorm (which have 1e-6) shows; the rope window is small so that 40
#: positions reach the ramp between interpolated and extrapolated frequencies.
V3 = COMMON | {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 72, "intermediate_size": 136,
    "moe_intermediate_size": 24, "num_attention_heads": 3, "num_key_value_heads": 3, "q_lora_rank": 40, "kv_lora_rank": 40,
    "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 40, "n_shared_experts": 1, "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": True, "rms_norm_eps": 0.05, "rope_theta": 10000.0,
    "rope_scaling": {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0,
                     "original_max_position_embeddings": 256},
    "num_nextn_predict_layers": 0, "torch_dtype": "float32",
}  # fmt: skip

#: mscale and mscale_all_dim differ, so that the factor of cos and sin is not 1.
V2 = COMMON | {
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 88, "intermediate_size": 152,
    "moe_intermediate_size": 20, "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": None, "kv_lora_rank": 48,
    "qk_nope_head_dim": 32, "qk_rope_head_dim": 8, "v_head_dim": 24, "n_shared_experts": 2, "routed_scaling_factor": 4.0,
    "scoring_func": "softmax", "topk_method": "group_limited_greedy", "norm_topk_prob": False, "rms_norm_eps": 0.05,
    "rope_theta": 5000.0,
    "rope_scaling": {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 1.0,
                     "original_max_position_embeddings": 256},
    "torch_dtype": "bfloat16",
}  # fmt: skip

#: configuration, classes, dtype of the stored weights, least gap of an expert's score (softmax scores lie closer together)
TOYS = {
    "v3": (V3, DeepseekV3Config, DeepseekV3ForCausalLM, torch.float32, 1e-3),
    "v2": (V2, DeepseekV2Config, DeepseekV2ForCausalLM, torch.bfloat16, 4e-4),
}


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Every weight anew: norms about 1, gate biases mostly negative, gain 1.3 where a branch ends and 0.6 elsewhere.

    Logits then spread (std 1.3) and every semantic choice shows (test_reference.py), yet bf16 rounding stays near 1e-2.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = sorted([*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if n.endswith("correction_bias"))])
    for name, tensor in tensors:
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("norm.weight"):
            value = 1 + 0.25 * noise
        elif name.endswith("correction_bias"):
            value = 0.3 * noise - 0.5
        elif name.endswith("gate.weight"):
            value = noise * 1.5 * tensor.shape[-1] ** -0.5
        elif name.endswith("embed_tokens.weight"):
            value = noise * 0.7
        else:
            ends_branch = name.endswith(("o_proj.weight", "down_proj", "down_proj.weight", "lm_head.weight"))
            value = noise * (1.3 if ends_branch else 0.6) * tensor.shape[-1] ** -0.5
        tensor.data.copy_(value)


def publish(folder: Path, config: dict[str, Any]) -> str:
    """Checks that save_pretrained wrote the published tensor names, and puts the published config spelling in place of transformers 5's."""
    names = Checkpoint(folder).names()
    for expert in range(config["n_routed_experts"]):
        for part in ("gate_proj", "up_proj", "down_proj"):
            if f"model.layers.1.mlp.experts.{expert}.{part}.weight" not in names:
                raise SystemExit(f"save_pretrained did not write expert {expert} {part} by its published name: {names}")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").unlink(missing_ok=True)
    return "save_pretrained wrote per-expert names; config.json was rewritten to rope_theta and rope_scaling"


def answer(model: torch.nn.Module, prompt: list[int]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """(logits [prompt, vocab], decode_logits [generated, vocab], tokens) by prefill and greedy decode over transformers' cache."""
    with torch.no_grad():
        run = model(torch.tensor([prompt]), use_cache=True)
        logits, rows, tokens = run.logits[0].float().numpy(), [], []
        for _ in range(GENERATED):
            rows.append(run.logits[0, -1].float().numpy())
            tokens.append(int(rows[-1].argmax()))
            run = model(torch.tensor([tokens[-1:]]), past_key_values=run.past_key_values, use_cache=True)
    return logits, np.stack(rows), tokens


def relative(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def choose_prompt(reference: Model, vocab: int, seed: int, gate_margin: float) -> tuple[list[int], int]:
    """A prompt on whose run, generated tokens included, neither an expert nor a token hangs by a hair; and how many were tried."""
    random = np.random.default_rng(seed)
    for tries in range(1, 20001):
        prompt = random.integers(0, vocab, PROMPT).tolist()
        if reference.forward(prompt).gate_margin.min() < gate_margin:
            continue
        output, tokens = reference.generate(prompt, GENERATED)
        rows = np.sort(output.logits[PROMPT - 1 :], axis=-1)
        token_margin = (rows[:, -1] - rows[:, -2]).min()
        if output.gate_margin.min() >= gate_margin and token_margin >= MIN_TOKEN_MARGIN and len(set(tokens)) > GENERATED // 4:
            return prompt, tries
    raise SystemExit("no prompt has clear margins; change the seed")


def make(name: str, folder: Path, seed: int) -> None:
    config, config_class, model_class, storage, gate_margin = TOYS[name]
    shutil.rmtree(folder, ignore_errors=True)
    model = model_class(config_class(**copy.deepcopy(config))).eval()  # transformers writes into rope_scaling
    randomise(model, seed)
    model.to(storage).save_pretrained(folder, safe_serialization=True)
    note = publish(folder, config)
    model = model_class.from_pretrained(folder, dtype=torch.float32, **EAGER).eval()
    reference = Model(Checkpoint(folder))
    prompt, tries = choose_prompt(reference, config["vocab_size"], seed, gate_margin)
    logits, decode_logits, tokens = answer(model, prompt)
    bf16 = model_class.from_pretrained(folder, dtype=torch.bfloat16, **EAGER).eval()
    with torch.no_grad():
        bf16_logits = bf16(torch.tensor([prompt])).logits[0].float().numpy()
    output, reference_tokens = reference.generate(prompt, GENERATED)
    both = np.concatenate([logits, decode_logits[1:]])
    if reference_tokens != tokens:
        raise SystemExit(f"{name}: the NumPy reference generates {reference_tokens}, transformers {tokens}")
    ranked = np.sort(decode_logits, axis=-1)
    np.save(folder / "logits.npy", logits)
    np.save(folder / "decode_logits.npy", decode_logits)
    (folder / "model.safetensors").chmod(0o644)
    golden = {
        "made_by": "test/reference/make_golden.py", "seed": seed, "prompts_tried": tries, "note": note,
        "transformers": transformers.__version__, "torch": torch.__version__, "class": model_class.__name__, "stored_as": str(storage),
        "prompt": prompt, "tokens": tokens, "margins": (ranked[:, -1] - ranked[:, -2]).round(6).tolist(),
        "min_gate_margin": float(output.gate_margin.min()),
        "relative_error": {"transformers_bf16_vs_f32": relative(bf16_logits, logits),
                           "transformers_bf16_vs_f32_median_position": float(np.median([*map(relative, bf16_logits, logits)])),
                           "numpy_f64_vs_transformers_f32": relative(output.logits, both),
                           "numpy_f64_vs_transformers_f32_worst_position": max(map(relative, output.logits, both))},
    }  # fmt: skip
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    print(name, "tries", tries, golden["relative_error"], "least margins", min(golden["margins"]), golden["min_gate_margin"], sizes)
    print("  logits std", logits.std(), "distinct tokens", len(set(tokens)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=GOLDEN)
    parser.add_argument("--seed", type=int, default=20260)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    for name in TOYS:
        make(name, arguments.output / name, arguments.seed)


if __name__ == "__main__":
    main()
