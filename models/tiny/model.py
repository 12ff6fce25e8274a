# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The architecture of DeepSeek-V3 (latent attention, group-limited sigmoid gate, experts, one MTP module), for training
on a CPU. Parameters carry the names of the Hugging Face checkpoint, but that the experts of a layer are stacked."""

import math
import types

import torch
import torch.nn.functional as F
from torch import nn


def read_config(config: dict) -> types.SimpleNamespace:
    return types.SimpleNamespace(**config)


# --- rotary positions with YaRN --------------------------------------------------------------------------------------

def yarn(config) -> tuple[torch.Tensor, float]:
    """Frequencies of the rotary pairs, and the factor of the softmax scale. cos and sin keep factor 1, since mscale and
    mscale_all_dim agree."""
    scaling, dim, base = config.rope_scaling, config.qk_rope_head_dim, config.rope_theta
    assert scaling["type"] == "yarn" and scaling["mscale"] == scaling["mscale_all_dim"]
    freq = base ** -(torch.arange(0, dim, 2, dtype=torch.float32) / dim)

    def pair(rotations):  # the pair that turns so often within the original context
        return dim * math.log(scaling["original_max_position_embeddings"] / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(math.floor(pair(scaling["beta_fast"])), 0), min(math.ceil(pair(scaling["beta_slow"])), dim - 1)
    slow = ((torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    mscale = 0.1 * scaling["mscale_all_dim"] * math.log(scaling["factor"]) + 1.0
    return freq / scaling["factor"] * slow + freq * (1 - slow), mscale * mscale


def rotate(x, cos, sin):
    """Pairs (0, 1), (2, 3), ... of x [batch, tokens, heads, dim]; the result has all first halves, then all second ones."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


# --- experts ---------------------------------------------------------------------------------------------------------

class Experts(torch.autograd.Function):
    """SwiGLU of each token's chosen experts, weighted and summed. The rows are sorted by expert, so that each expert is
    one matrix product, and a permutation's gradient is a gather by its inverse."""

    @staticmethod
    def forward(ctx, x, chosen, weight, gate_up, down):
        tokens, k = chosen.shape
        order = chosen.flatten().argsort(stable=True)
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(order))
        ends = torch.bincount(chosen.flatten(), minlength=len(gate_up)).cumsum(0).tolist()
        spans = list(zip([0] + ends[:-1], ends))
        rows = x.index_select(0, order // k)
        h = x.new_empty(len(order), gate_up.shape[1])
        for e, (a, b) in enumerate(spans):
            torch.mm(rows[a:b], gate_up[e].t(), out=h[a:b])
        gate, up = h.chunk(2, 1)
        act = F.silu(gate).mul_(up)
        y = torch.empty_like(rows)
        for e, (a, b) in enumerate(spans):
            torch.mm(act[a:b], down[e].t(), out=y[a:b])
        w = weight.flatten().index_select(0, order).unsqueeze(1)
        ctx.save_for_backward(rows, h, act, y, w, order, inverse, gate_up, down)
        ctx.spans, ctx.k = spans, k
        return (y * w).index_select(0, inverse).view(tokens, k, -1).sum(1)

    @staticmethod
    def backward(ctx, grad):
        rows, h, act, y, w, order, inverse, gate_up, down = ctx.saved_tensors
        k = ctx.k
        grad = grad.index_select(0, order // k)
        dw = (grad * y).sum(1).index_select(0, inverse).view(-1, k)
        dy = grad.mul_(w)
        dact, ddown = torch.empty_like(act), torch.empty_like(down)
        for e, (a, b) in enumerate(ctx.spans):
            torch.mm(dy[a:b], down[e], out=dact[a:b])
            torch.mm(dy[a:b].t(), act[a:b], out=ddown[e])
        gate, up = h.chunk(2, 1)
        s = torch.sigmoid(gate)
        dh = torch.empty_like(h)
        torch.mul(dact, gate * s, out=dh[:, up.shape[1]:])
        torch.mul(dact.mul_(up), s * (1 + gate * (1 - s)), out=dh[:, : up.shape[1]])
        drows, dgate_up = torch.empty_like(rows), torch.empty_like(gate_up)
        for e, (a, b) in enumerate(ctx.spans):
            torch.mm(dh[a:b], gate_up[e], out=drows[a:b])
            torch.mm(dh[a:b].t(), rows[a:b], out=dgate_up[e])
        dx = drows.index_select(0, inverse).view(-1, k, rows.shape[1]).sum(1)
        return dx, None, dw, dgate_up, ddown


class Gate(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts))
        self.load = None  # tokens per expert of the last batch

    def forward(self, x):
        c = self.config
        scores = F.linear(x, self.weight).sigmoid()
        with torch.no_grad():
            choice = (scores + self.e_score_correction_bias).view(len(x), c.n_group, -1)
            groups = choice.topk(2, -1)[0].sum(-1).topk(c.topk_group, -1)[1]
            keep = torch.zeros(len(x), c.n_group, dtype=torch.bool).scatter_(1, groups, True)
            chosen = choice.masked_fill(~keep.unsqueeze(-1), float("-inf")).flatten(1).topk(c.num_experts_per_tok, -1)[1]
            self.load = torch.bincount(chosen.flatten(), minlength=c.n_routed_experts)
        weight = scores.gather(1, chosen)
        return chosen, weight / (weight.sum(1, keepdim=True) + 1e-20) * c.routed_scaling_factor


# --- layers ----------------------------------------------------------------------------------------------------------

class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.q_a_proj = linear(c.hidden_size, c.q_lora_rank)
        self.q_a_layernorm = Norm(c.q_lora_rank, 1e-6)
        self.q_b_proj = linear(c.q_lora_rank, c.num_attention_heads * (c.qk_nope_head_dim + c.qk_rope_head_dim))
        self.kv_a_proj_with_mqa = linear(c.hidden_size, c.kv_lora_rank + c.qk_rope_head_dim)
        self.kv_a_layernorm = Norm(c.kv_lora_rank, 1e-6)
        self.kv_b_proj = linear(c.kv_lora_rank, c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim))
        self.o_proj = linear(c.num_attention_heads * c.v_head_dim, c.hidden_size)
        self.scale = (c.qk_nope_head_dim + c.qk_rope_head_dim) ** -0.5 * yarn(c)[1]
        self.quantize_cache = None  # a function of (latent, rotary key), for evaluation

    def forward(self, x, cos, sin):
        c = self.config
        batch, tokens, heads = x.shape[0], x.shape[1], c.num_attention_heads
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x))).view(batch, tokens, heads, -1)
        q_nope, q_rope = q.split([c.qk_nope_head_dim, c.qk_rope_head_dim], -1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([c.kv_lora_rank, c.qk_rope_head_dim], -1)
        latent, k_rope = self.kv_a_layernorm(latent), rotate(k_rope.unsqueeze(2), cos, sin)
        if self.quantize_cache:
            latent, k_rope = self.quantize_cache(latent, k_rope)
        k_nope, v = self.kv_b_proj(latent).view(batch, tokens, heads, -1).split([c.qk_nope_head_dim, c.v_head_dim], -1)
        q = torch.cat((q_nope, rotate(q_rope, cos, sin)), -1)
        k = torch.cat((k_nope, k_rope.expand(-1, -1, heads, -1)), -1)
        v = F.pad(v, (0, q.shape[-1] - c.v_head_dim))  # one head size: the fused kernel asks for it
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, scale=self.scale)
        return self.o_proj(y[..., : c.v_head_dim].transpose(1, 2).reshape(batch, tokens, -1))


class FeedForward(nn.Module):
    def __init__(self, c, width):
        super().__init__()
        self.gate_proj, self.up_proj = linear(c.hidden_size, width), linear(c.hidden_size, width)
        self.down_proj = linear(width, c.hidden_size)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Moe(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate = Gate(c)
        self.experts = nn.ParameterDict({
            "gate_up": torch.empty(c.n_routed_experts, 2 * c.moe_intermediate_size, c.hidden_size),
            "down": torch.empty(c.n_routed_experts, c.hidden_size, c.moe_intermediate_size)})
        self.shared_experts = FeedForward(c, c.n_shared_experts * c.moe_intermediate_size)

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        chosen, weight = self.gate(flat)
        return Experts.apply(flat, chosen, weight, self.experts["gate_up"], self.experts["down"]).view_as(x) + self.shared_experts(x)


class Layer(nn.Module):
    def __init__(self, c, index):
        super().__init__()
        self.input_layernorm = Norm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c.hidden_size, c.rms_norm_eps)
        self.mlp = Moe(c) if index >= c.first_k_dense_replace else FeedForward(c, c.intermediate_size)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class MtpLayer(Layer):
    """Predicts token i + 2 from the main model's state of token i (behind its last norm) and the embedding of token i + 1.
    Embedding and head are the main model's."""

    def __init__(self, c, index):
        super().__init__(c, index)
        self.enorm, self.hnorm = Norm(c.hidden_size, c.rms_norm_eps), Norm(c.hidden_size, c.rms_norm_eps)
        self.eh_proj = linear(2 * c.hidden_size, c.hidden_size)
        self.shared_head = nn.ModuleDict({"norm": Norm(c.hidden_size, c.rms_norm_eps)})

    def forward(self, state, embedding, cos, sin):
        x = self.eh_proj(torch.cat((self.enorm(embedding), self.hnorm(state)), -1))
        return self.shared_head["norm"](super().forward(x, cos, sin))


class Model(nn.Module):
    def __init__(self, config: dict, seed=0):
        super().__init__()
        c = self.config = read_config(config)
        assert c.num_nextn_predict_layers == 1 and not c.tie_word_embeddings
        layers = [Layer(c, i) for i in range(c.num_hidden_layers)] + [MtpLayer(c, c.num_hidden_layers)]
        self.model = nn.ModuleDict({"embed_tokens": nn.Embedding(c.vocab_size, c.hidden_size), "layers": nn.ModuleList(layers),
                                    "norm": Norm(c.hidden_size, c.rms_norm_eps)})
        self.lm_head = linear(c.hidden_size, c.vocab_size)
        angle = torch.outer(torch.arange(c.max_position_embeddings, dtype=torch.float32), yarn(c)[0])[:, None, :]
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        generator = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                deep = name.endswith(("o_proj.weight", "down_proj.weight", "experts.down"))
                std = 0.3 if "embed_tokens" in name else 0.6 / p.shape[-1] ** 0.5
                nn.init.normal_(p, std=std / (2 * c.num_hidden_layers) ** 0.5 if deep else std, generator=generator)

    def forward(self, tokens):
        """The state behind the last norm, [batch, tokens, hidden]."""
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        x = self.model["embed_tokens"](tokens)
        for layer in self.model["layers"][:-1]:
            x = layer(x, cos, sin)
        return self.model["norm"](x)

    def mtp(self, state, following):
        """The MTP module's state, given the main model's and each token's successor."""
        cos, sin = self.cos[: state.shape[1]], self.sin[: state.shape[1]]
        return self.model["layers"][-1](state, self.model["embed_tokens"](following), cos, sin)

    def gates(self):
        return [layer.mlp.gate for layer in self.model["layers"] if isinstance(layer.mlp, Moe)]


# --- checkpoints -----------------------------------------------------------------------------------------------------

def to_checkpoint(model: Model, dtype=torch.bfloat16) -> dict[str, torch.Tensor]:
    """Hugging Face's names and DeepSeek's layout: an expert a tensor, the MTP module with its copy of embedding and head."""
    out = {}
    for name, value in model.state_dict().items():
        if name.endswith("experts.gate_up"):
            for e, both in enumerate(value):
                for part, half in zip(("gate_proj", "up_proj"), both.chunk(2)):
                    out[name.replace("gate_up", f"{e}.{part}.weight")] = half
        elif name.endswith("experts.down"):
            for e, half in enumerate(value):
                out[name.replace("down", f"{e}.down_proj.weight")] = half
        else:
            out[name] = value
    mtp = f"model.layers.{model.config.num_hidden_layers}."
    out[mtp + "embed_tokens.weight"] = out["model.embed_tokens.weight"]
    out[mtp + "shared_head.head.weight"] = out["lm_head.weight"]
    return {name: value.to(torch.float32 if "correction_bias" in name else dtype).clone().contiguous() for name, value in sorted(out.items())}


def from_checkpoint(model: Model, tensors: dict[str, torch.Tensor]):
    """The inverse, in float32."""
    state = {}
    for name in model.state_dict():
        experts = range(model.config.n_routed_experts)
        if name.endswith("experts.gate_up"):
            state[name] = torch.stack([torch.cat([tensors[name.replace("gate_up", f"{e}.{p}.weight")].float() for p in ("gate_proj", "up_proj")]) for e in experts])
        elif name.endswith("experts.down"):
            state[name] = torch.stack([tensors[name.replace("down", f"{e}.down_proj.weight")].float() for e in experts])
        else:
            state[name] = tensors[name].float()
    model.load_state_dict(state)
