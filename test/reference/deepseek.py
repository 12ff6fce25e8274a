#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""DeepSeek V2/V3 inference in NumPy float64, straight from a checkpoint's bytes: the oracle for the compiled model.

It follows shared/reference/formats.md section 4: groups masked with -inf, group score with bias = sum of the top 2, YaRN whenever
rope_scaling is set, softmax scale times mscale(mscale_all_dim)^2, epsilon 1e-6 in q_a_layernorm and kv_a_layernorm.
Letters in shapes: T tokens, S cached positions, D hidden, H heads, R kv_lora_rank, N/P/V = nope/rope/value head dims, E experts.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from checkpoint import Checkpoint, round_to_bf16
from fp8 import quantize_dequantize, quantize_dequantize_int8
from kv_cache import stored

Probabilities = Callable[[np.ndarray], np.ndarray]  # position-free scores [T, H, S] -> attention probabilities

LORA_NORM_EPS = 1e-6  # whatever rms_norm_eps says (DeepSeek, the shipped remote code and transformers agree)
CLOSED_GROUP = -np.inf  # the score of experts in groups not taken (DeepSeek, transformers 5.23; older transformers has 0.0)


def rope_settings(config: dict[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """(theta, YaRN parameters or None) from the published spelling (rope_theta, rope_scaling) or transformers 5's rope_parameters."""
    parameters = config.get("rope_parameters") or {}
    scaling = parameters or config.get("rope_scaling") or {}
    theta = float(parameters.get("rope_theta") or config.get("rope_theta") or 10000.0)
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind == "default":
        return theta, None
    if kind not in ("yarn", "deepseek_yarn"):
        raise ValueError(f"rope type {kind} is not one of DeepSeek's")
    return theta, scaling


def mscale(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def yarn_frequencies(dim: int, theta: float, yarn: dict[str, Any] | None, max_position: int) -> tuple[np.ndarray, float]:
    """(inverse frequencies [dim/2], factor of cos and sin), as transformers' modeling_rope_utils._compute_yarn_parameters."""
    plain = theta ** -(np.arange(0, dim, 2) / dim)
    if yarn is None:
        return plain, 1.0
    original = yarn.get("original_max_position_embeddings") or max_position
    factor = yarn.get("factor") or max_position / original

    def correction_dim(rotations: float) -> float:
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(correction_dim(yarn.get("beta_fast") or 32)), 0)
    high = min(math.ceil(correction_dim(yarn.get("beta_slow") or 1)), dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / ((high - low) or 0.001), 0, 1)
    attention_factor = yarn.get("attention_factor")
    if attention_factor is None:
        scale, all_dim = yarn.get("mscale"), yarn.get("mscale_all_dim")
        attention_factor = mscale(factor, scale) / mscale(factor, all_dim) if scale and all_dim else mscale(factor, 1.0)
    return plain / factor * ramp + plain * (1 - ramp), attention_factor


def softmax_scale(head_dim: int, yarn: dict[str, Any] | None) -> float:
    """head_dim^-0.5, times mscale(mscale_all_dim)^2 under YaRN; head_dim = N + P."""
    if yarn is None or not yarn.get("mscale_all_dim"):
        return head_dim**-0.5
    return head_dim**-0.5 * mscale(yarn["factor"], yarn["mscale_all_dim"]) ** 2


def rotate(x: np.ndarray, positions: np.ndarray, frequencies: np.ndarray, factor: float, interleaved: bool) -> np.ndarray:
    """x [T, ..., P] rotated in place of its pairs: (x0,x1),(x2,x3).. when interleaved, else (x0,x_{P/2}).. ."""
    angles = positions[:, None] * frequencies
    turn = (factor * np.exp(1j * angles)).reshape(len(x), *[1] * (x.ndim - 2), -1)
    half = x.shape[-1] // 2
    real, imaginary = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    turned = (real + 1j * imaginary) * turn
    return np.stack([turned.real, turned.imag], axis=-1 if interleaved else -2).reshape(x.shape)


def rms_norm(x: np.ndarray, weight: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def top_k(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """scores [T, E] -> (indices [T, k] best first, the lower index on a tie; gap [T] from the k-th to the next, inf if none)."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=-1)
    if k >= scores.shape[-1]:
        return order, np.full(len(scores), np.inf)
    return order[:, :k], ranked[:, k - 1] - ranked[:, k]


@dataclass(frozen=True)
class Gate:
    """How experts are chosen; `bias` (e_score_correction_bias) only selects, never weighs."""

    experts_per_token: int
    groups: int
    groups_per_token: int
    sigmoid: bool
    normalise: bool
    scale: float

    def __call__(self, logits: np.ndarray, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """logits [T, E] -> (experts [T, k], weights [T, k], margin [T]: the least gap that any selection hung on)."""
        scores = sigmoid(logits) if self.sigmoid else softmax(logits)
        biased = scores if bias is None else scores + bias
        margin = np.full(len(scores), np.inf)
        if self.groups > 1:
            grouped = biased.reshape(len(scores), self.groups, -1)
            counted = 1 if bias is None else min(2, grouped.shape[-1])
            group_scores = np.sort(grouped, axis=-1)[..., -counted:].sum(axis=-1)
            taken, margin = top_k(group_scores, self.groups_per_token)
            open_groups = np.zeros(group_scores.shape, bool)
            np.put_along_axis(open_groups, taken, True, axis=-1)
            biased = np.where(open_groups[..., None], grouped, CLOSED_GROUP).reshape(scores.shape)
        experts, gap = top_k(biased, self.experts_per_token)
        weights = np.take_along_axis(scores, experts, axis=-1)
        if self.normalise:
            weights = weights / (weights.sum(axis=-1, keepdims=True) + 1e-20)
        return experts, weights * self.scale, np.minimum(margin, gap)


def gate_of(config: dict[str, Any]) -> Gate:
    v3 = config["model_type"] in ("deepseek_v3", "kimi_k2")
    method = config.get("topk_method") or ("noaux_tc" if v3 else "greedy")
    use_sigmoid = (config.get("scoring_func") or ("sigmoid" if v3 else "softmax")) == "sigmoid"
    normalise = bool(config.get("norm_topk_prob", v3))
    if normalise and not use_sigmoid:
        raise ValueError("norm_topk_prob with a softmax gate: the sources disagree on what it means")
    return Gate(
        experts_per_token=config.get("num_experts_per_tok") or 1,
        groups=1 if method == "greedy" else config.get("n_group") or 1,
        groups_per_token=config.get("topk_group") or 1,
        sigmoid=use_sigmoid,
        normalise=normalise,
        scale=float(config.get("routed_scaling_factor", 1.0)),
    )


@dataclass
class Cache:
    """Per layer the latent after its norm [S, R] and the key's rotary part after rope [S, P]: MLA's compressed cache."""

    latent: list[np.ndarray]
    rope_key: list[np.ndarray]
    length: int = 0


@dataclass
class Output:
    """logits [T, vocab]; gate_margin [T]; hidden: the residual stream [T, D] after the embedding and after each layer."""

    logits: np.ndarray
    gate_margin: np.ndarray
    hidden: list[np.ndarray] = field(default_factory=list)


class Model:
    """One checkpoint, run in float64. Weights are read once, when first needed.

    mla: "absorb" or "naive" (equal but for rounding, and for FP8 activations of kv_b_proj).
    activations: "none"; "fp8": per-token-group E4M3 on the input of every FP8 linear; or "int8": per token on that of every INT8
        linear. kv_b_proj is excluded under "absorb".
    ue8m0: power-of-two activation scales; None reads quantization_config.scale_fmt.
    rounding: "exact", or "sm_90a": to bf16 what the GPU's tensor cores write and read so: results of linears with quantized inputs,
        and inputs of linears by bf16 weights whose sizes TMA takes, the gate's and the head's, too, but not the routed experts'.
    kv_cache: what latents and rope keys are rounded to when they are written to the cache, this call's own, too (kv_cache.py).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        mla: str = "absorb",
        activations: str = "none",
        ue8m0: bool | None = None,
        rounding: str = "exact",
        kv_cache: str = "f32",
    ) -> None:
        config = self.config = checkpoint.config
        self.checkpoint, self.mla, self.activations, self.rounding = checkpoint, mla, activations, rounding
        self.kv_cache = kv_cache
        quantization = config.get("quantization_config") or {}
        self.ue8m0 = quantization.get("scale_fmt") == "ue8m0" if ue8m0 is None else ue8m0
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.nope, self.rope, self.value = (config[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
        self.rank, self.epsilon = config["kv_lora_rank"], config.get("rms_norm_eps", 1e-6)
        theta, yarn = rope_settings(config)
        self.frequencies, self.rope_factor = yarn_frequencies(self.rope, theta, yarn, config.get("max_position_embeddings", 4096))
        self.scale = softmax_scale(self.nope + self.rope, yarn)
        self.interleaved = bool(config.get("rope_interleave", True))
        self.gate = gate_of(config)
        self._weights: dict[str, np.ndarray] = {}

    def weight(self, name: str) -> np.ndarray:
        if name not in self._weights:
            self._weights[name] = self.checkpoint.tensor(name)
        return self._weights[name]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        """x [.., in] by `name`.weight [out, in], plus `name`.bias when the checkpoint has one."""
        is_fp8 = self.activations == "fp8" and self.checkpoint.is_fp8(name + ".weight")
        if is_fp8:
            x = quantize_dequantize(x, self.checkpoint.block(name)[1], self.ue8m0)
        is_int8 = self.activations == "int8" and self.checkpoint.is_integer(name + ".weight")
        if is_int8:
            x = quantize_dequantize_int8(x)
        weight = self.weight(name + ".weight")
        if self.rounding == "sm_90a" and self.is_rounded(name, weight.shape):
            x = round_to_bf16(x)
        y = x @ weight.T
        if (is_fp8 or is_int8) and self.rounding == "sm_90a":
            y = round_to_bf16(y)
        return y + self.weight(name + ".bias") if name + ".bias" in self.checkpoint else y

    def is_rounded(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether the tensor cores of sm_90a multiply `name`.weight by x in bf16."""
        return self.checkpoint.is_bf16(name + ".weight") and ".experts." not in name and all(size % 8 == 0 for size in shape)

    def new_cache(self) -> Cache:
        return Cache([np.zeros((0, self.rank))] * self.layers, [np.zeros((0, self.rope))] * self.layers)

    def is_moe(self, layer: int) -> bool:
        if not self.config.get("n_routed_experts") or layer < self.config.get("first_k_dense_replace", 0):
            return False
        return layer % (self.config.get("moe_layer_freq") or 1) == 0

    def attention(self, layer: int, x: np.ndarray, cache: Cache) -> np.ndarray:
        """x [T, D] (normed) -> [T, D]; extends the cache's layer by T rows."""
        prefix, start = f"model.layers.{layer}.self_attn.", cache.length
        positions = np.arange(start, start + len(x))
        if self.config.get("q_lora_rank"):
            low = rms_norm(self.linear(prefix + "q_a_proj", x), self.weight(prefix + "q_a_layernorm.weight"), LORA_NORM_EPS)
            query = self.linear(prefix + "q_b_proj", low)
        else:
            query = self.linear(prefix + "q_proj", x)
        query = query.reshape(len(x), self.heads, self.nope + self.rope)
        compressed = self.linear(prefix + "kv_a_proj_with_mqa", x)
        latent = rms_norm(compressed[:, : self.rank], self.weight(prefix + "kv_a_layernorm.weight"), LORA_NORM_EPS)
        turn = (positions, self.frequencies, self.rope_factor, self.interleaved)
        rope_query, rope_key = rotate(query[..., self.nope :], *turn), rotate(compressed[:, self.rank :], *turn)
        latent, rope_key = stored(self.kv_cache, latent, rope_key)
        latent = cache.latent[layer] = np.concatenate([cache.latent[layer], latent])
        rope_key = cache.rope_key[layer] = np.concatenate([cache.rope_key[layer], rope_key])
        rope_scores = np.einsum("thp,sp->ths", rope_query, rope_key)
        causal = np.where(np.arange(len(latent)) <= positions[:, None], 0.0, -np.inf)[:, None]

        def probabilities(scores: np.ndarray) -> np.ndarray:
            return softmax((scores + rope_scores) * self.scale + causal)

        attend = self.absorbed if self.mla == "absorb" else self.naive
        context = attend(prefix + "kv_b_proj", query[..., : self.nope], latent, probabilities)
        return self.linear(prefix + "o_proj", context.reshape(len(x), -1))

    def naive(self, name: str, query: np.ndarray, latent: np.ndarray, probabilities: Probabilities) -> np.ndarray:
        """Expands latent [S, R] to per-head keys and values. query [T, H, N] -> [T, H, V]."""
        expanded = self.linear(name, latent).reshape(len(latent), self.heads, self.nope + self.value)
        p = probabilities(np.einsum("thn,shn->ths", query, expanded[..., : self.nope]))
        return np.einsum("ths,shv->thv", p, expanded[..., self.nope :])

    def absorbed(self, name: str, query: np.ndarray, latent: np.ndarray, probabilities: Probabilities) -> np.ndarray:
        """Moves the query into the latent space instead: of kv_b_proj's rows per head the first N are K, the last V are V."""
        kv_b = self.weight(name + ".weight").reshape(self.heads, self.nope + self.value, self.rank)
        p = probabilities(np.einsum("thn,hnr,sr->ths", query, kv_b[:, : self.nope], latent, optimize=True))
        return np.einsum("ths,sr,hvr->thv", p, latent, kv_b[:, self.nope :], optimize=True)

    def mlp(self, prefix: str, x: np.ndarray) -> np.ndarray:
        """down(silu(gate(x)) * up(x)). x [T, D] -> [T, D]."""
        return self.linear(prefix + "down_proj", silu(self.linear(prefix + "gate_proj", x)) * self.linear(prefix + "up_proj", x))

    def moe(self, prefix: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Routed experts, each weighed after its down_proj, plus the shared ones. x [T, D] -> ([T, D], gate margin [T])."""
        bias_name = prefix + "gate.e_score_correction_bias"
        bias = self.weight(bias_name) if bias_name in self.checkpoint else None
        experts, weights, margin = self.gate(self.linear(prefix + "gate", x), bias)
        result = np.zeros_like(x)
        for expert in np.unique(experts):
            tokens, slots = np.nonzero(experts == expert)
            result[tokens] += self.mlp(f"{prefix}experts.{expert}.", x[tokens]) * weights[tokens, slots, None]
        return (result + self.mlp(prefix + "shared_experts.", x) if self.config.get("n_shared_experts") else result), margin

    def forward(self, tokens: list[int] | np.ndarray, cache: Cache | None = None) -> Output:
        """Logits at every position of `tokens` [T], which continue whatever `cache` holds."""
        cache = cache or self.new_cache()
        x = self.weight("model.embed_tokens.weight")[np.asarray(tokens)]
        margin, hidden = np.full(len(x), np.inf), [x]
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            x = x + self.attention(layer, rms_norm(x, self.weight(prefix + "input_layernorm.weight"), self.epsilon), cache)
            normed = rms_norm(x, self.weight(prefix + "post_attention_layernorm.weight"), self.epsilon)
            if self.is_moe(layer):
                delta, layer_margin = self.moe(prefix + "mlp.", normed)
                margin = np.minimum(margin, layer_margin)
            else:
                delta = self.mlp(prefix + "mlp.", normed)
            x = x + delta
            hidden.append(x)
        cache.length += len(x)
        head = "model.embed_tokens" if self.config.get("tie_word_embeddings") else "lm_head"
        return Output(self.linear(head, rms_norm(x, self.weight("model.norm.weight"), self.epsilon)), margin, hidden)

    def generate(self, prompt: list[int], count: int, chunk: int | None = None) -> tuple[Output, list[int]]:
        """Prefill, `chunk` tokens at a time, and `count` greedy tokens by incremental decode. Returns (all outputs, tokens)."""
        cache, step = self.new_cache(), chunk or len(prompt)
        outputs: list[Output] = []
        tokens: list[int] = []
        for start in range(0, len(prompt), step):
            outputs.append(self.forward(prompt[start : start + step], cache))
        while len(tokens) < count:
            tokens.append(int(outputs[-1].logits[-1].argmax()))
            if len(tokens) < count:
                outputs.append(self.forward(tokens[-1:], cache))
        hidden = [np.concatenate(parts) for parts in zip(*(o.hidden for o in outputs))]
        return Output(np.concatenate([o.logits for o in outputs]), np.concatenate([o.gate_margin for o in outputs]), hidden), tokens


def margins(logits: np.ndarray) -> np.ndarray:
    """logits [T, vocab] -> gap [T] between the best and the second best."""
    best = np.sort(logits, axis=-1)[:, -2:]
    return best[:, 1] - best[:, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--tokens", required=True, help="the prompt, as 1,2,3")
    parser.add_argument("--max-new-tokens", type=int, default=0)
    parser.add_argument("--chunk", type=int, help="prefill this many tokens at a time")
    parser.add_argument("--mla", choices=["absorb", "naive"], default="absorb")
    parser.add_argument("--activations", choices=["none", "fp8", "int8"], default="none")
    parser.add_argument("--logits", type=Path, help="write float64 logits of every position that ran, .npy")
    parser.add_argument("--hidden", type=Path, help="write the residual stream [layers + 1, T, D], .npy")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    model = Model(Checkpoint(arguments.checkpoint), arguments.mla, arguments.activations)
    prompt = [int(token) for token in arguments.tokens.split(",")]
    output, tokens = model.generate(prompt, arguments.max_new_tokens, arguments.chunk)
    if arguments.logits:
        np.save(arguments.logits, output.logits)
    if arguments.hidden:
        np.save(arguments.hidden, np.stack(output.hidden))
    best, gaps = output.logits.argmax(axis=-1), margins(output.logits)
    if arguments.json:
        report = {"prompt": prompt, "tokens": tokens, "argmax": best.tolist(), "margins": gaps.tolist()}
        print(json.dumps({**report, "gate_margins": [None if np.isinf(m) else m for m in output.gate_margin.tolist()]}))
        return
    print("position  argmax  top-2 margin  gate margin")
    for position, row in enumerate(zip(best, gaps, output.gate_margin)):
        print("{:8d}  {:6d}  {:12.6f}  {:11.6f}".format(position, *row))
    if tokens:
        print("tokens:", ",".join(map(str, tokens)))


if __name__ == "__main__":
    main()
