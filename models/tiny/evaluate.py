# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The figures of README.md: perplexity against n-grams, MTP acceptance, expert load, outliers, and what simple fake
quantization costs. Weights as stored, arithmetic in float32.

    python3 evaluate.py --dir . --data data

The protocol of every perplexity: the tokens of the text are cut into pieces of context - 1 (255 unless said otherwise), BOS is
put before each, and every token but BOS counts. Bits per byte are of the same text.
"""

import argparse
import copy
import json
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from model import Model, Moe, from_checkpoint

BATCH_TOKENS = 4096


def windows(tokens, context):
    """[windows, context] with BOS first, and which positions count as targets; the last window is padded with EOS."""
    size = context - 1
    count = -(-len(tokens) // size)
    padded = np.full(count * size, 1, np.int64)
    padded[: len(tokens)] = tokens
    ids = np.concatenate([np.zeros((count, 1), np.int64), padded.reshape(count, size)], 1)
    return torch.from_numpy(ids), torch.from_numpy((np.arange(count * size) < len(tokens)).reshape(count, size))


def batches(tokens, context):
    ids, counted = windows(tokens, context)
    rows = max(1, BATCH_TOKENS // context)
    for i in range(0, len(ids), rows):
        yield ids[i : i + rows], counted[i : i + rows]


@torch.no_grad()
def perplexity(model, tokens, context=256):
    total = 0.0
    for ids, counted in batches(tokens, context):
        logits = model.lm_head(model(ids)[:, :-1])
        nll = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        total += float(nll[counted.flatten()].double().sum())
    return math.exp(total / len(tokens)), total


# --- n-grams ---------------------------------------------------------------------------------------------------------

class KneserNey:
    """Interpolated Kneser-Ney of three tokens, one discount per order."""

    def __init__(self, tokens, vocab):
        v = self.v = vocab
        t = tokens.astype(np.int64)
        self.abc, n_abc = np.unique((t[:-2] * v + t[1:-1]) * v + t[2:], return_counts=True)
        self.bc, n_bc = np.unique(self.abc % (v * v), return_counts=True)  # how many a precede bc
        n_c = np.bincount(self.bc % v, minlength=v).astype(float)          # how many b precede c
        self.n_abc, self.n_bc = n_abc.astype(float), n_bc.astype(float)
        self.ab, first = np.unique(self.abc // v, return_index=True)
        self.ab_total, self.ab_kinds = np.add.reduceat(self.n_abc, first), np.diff(np.append(first, len(self.abc))).astype(float)
        self.b_total = np.bincount(self.bc // v, self.n_bc, v)
        self.b_kinds = np.bincount(self.bc // v, minlength=v).astype(float)
        self.p_c = (n_c + 0.5) / (n_c + 0.5).sum()
        self.d3, self.d2 = ((lambda one, two: one / (one + 2 * two))((n == 1).sum(), (n == 2).sum()) for n in (n_abc, n_bc))

    @staticmethod
    def look_up(keys, values, wanted):
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[at] == wanted, values[at], 0.0)

    def bits(self, tokens):
        t = tokens.astype(np.int64)
        a, b, c = t[:-2], t[1:-1], t[2:]
        v = self.v
        total, kinds = np.maximum(self.b_total[b], 1), self.b_kinds[b]
        p = (np.maximum(self.look_up(self.bc, self.n_bc, b * v + c) - self.d2, 0) + self.d2 * kinds * self.p_c[c]) / total
        p = np.where(self.b_total[b] > 0, p, self.p_c[c])
        total, kinds = (self.look_up(self.ab, n, a * v + b) for n in (self.ab_total, self.ab_kinds))
        high = np.maximum(self.look_up(self.abc, self.n_abc, (a * v + b) * v + c) - self.d3, 0) + self.d3 * kinds * p
        return -np.log2(np.where(total > 0, high / np.maximum(total, 1), p))


def n_gram_perplexities(train, tokens, vocab):
    unigram = (np.bincount(train, minlength=vocab) + 0.5) / (len(train) + 0.5 * vocab)
    return {"unigram": float(2 ** -np.log2(unigram[tokens]).mean()),
            "trigram, Kneser-Ney": float(2 ** KneserNey(train, vocab).bits(np.concatenate([[1, 0], tokens])).mean())}


# --- MTP -------------------------------------------------------------------------------------------------------------

@torch.no_grad()
def mtp_on_text(model, tokens, context=256):
    """Over the text: how often the draft of token i + 2 is what the main model would choose there, greedily; and the chance that
    speculative sampling at temperature 1 accepts a sampled draft, the sum of min(p, q)."""
    sums = np.zeros(5)
    for ids, counted in batches(tokens, context):
        state = model(ids)
        main = model.lm_head(state)[:, 1:-1]                      # of token i + 2, given token i + 1
        draft = model.lm_head(model.mtp(state[:, :-1], ids[:, 1:]))[:, :-1]
        target, keep = ids[:, 2:], counted[:, 1:]
        overlap = torch.minimum(main.softmax(-1), draft.softmax(-1)).sum(-1)
        values = (draft.argmax(-1) == main.argmax(-1), overlap, main.argmax(-1) == target, draft.argmax(-1) == target)
        sums += [float(v[keep].float().sum()) for v in values] + [float(keep.sum())]
    names = "greedy agreement", "sampling acceptance", "main model right", "MTP right"
    return dict(zip(names, (sums[:-1] / sums[-1]).round(4).tolist()))


@torch.no_grad()
def generate(model, ids, count, temperature=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        logits = model.lm_head(model(ids)[:, -1])
        if temperature:
            following = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
        else:
            following = logits.argmax(-1, keepdim=True)
        ids = torch.cat((ids, following), 1)
    return ids


@torch.no_grad()
def mtp_speculative(model, tokens, prompts=32, prompt=64, answer=128):
    """Greedy speculative decoding with one draft a step from prompts of the text: accepted drafts of all drafts."""
    starts = np.linspace(0, len(tokens) - prompt, prompts).astype(int)
    ids = torch.stack([torch.tensor([0, *tokens[s : s + prompt - 1]]) for s in starts])
    ids = generate(model, ids, answer)
    draft = model.lm_head(model.mtp(model(ids)[:, :-1], ids[:, 1:])).argmax(-1)  # draft[i] is for token i + 2
    accepted = drafts = 0
    for row, guess in zip(ids, draft):
        i = prompt - 1  # the last token that the main model has seen
        while i + 2 < len(row):
            hit = bool(guess[i] == row[i + 2])
            accepted, drafts, i = accepted + hit, drafts + 1, i + 1 + hit
    return {"accepted": accepted, "drafts": drafts, "rate": round(accepted / drafts, 4)}


# --- experts and outliers --------------------------------------------------------------------------------------------

@torch.no_grad()
def expert_load(model, tokens, context=256):
    """Per MoE layer (the last is the MTP module's): each expert's share of the choices, 1 being the mean."""
    loads = torch.zeros(len(model.gates()), model.config.n_routed_experts)
    for ids, _ in batches(tokens, context):
        model.mtp(model(ids)[:, :-1], ids[:, 1:])
        loads += torch.stack([gate.load for gate in model.gates()])
    loads /= loads.mean(1, keepdim=True)
    first = model.config.first_k_dense_replace
    return {f"layer {first + i}": [round(float(x), 3) for x in row] for i, row in enumerate(loads)}


@torch.no_grad()
def outliers(model, tokens, context=256):
    """Of the inputs of linear layers, the residual stream and the cached latent: the greatest magnitude of each channel over the
    tokens behind BOS, and its greatest value over the channels against their median; also BOS alone."""
    found, hooks = {}, []

    def watch(name, module, after=False):
        def hook(_, inputs, output):
            x = (output if after else inputs[0]).detach().abs()
            x = x.view(-1, context, x.shape[-1]) if x.dim() == 2 and len(x) % context == 0 else x
            both = (x[:, 1:].flatten(0, -2).amax(0), x[:, 0].amax(0))
            old = found.get(name)
            found[name] = both if old is None else tuple(torch.maximum(a, b) for a, b in zip(old, both))
        hooks.append(module.register_forward_hook(hook))

    for i, layer in enumerate(model.model["layers"][:-1]):
        watch(f"residual into layer {i}", layer)
        watch(f"attention input {i}", layer.self_attn.q_a_proj)
        watch(f"q latent {i}", layer.self_attn.q_b_proj)
        watch(f"kv latent {i}", layer.self_attn.kv_a_layernorm, True)
        watch(f"o_proj input {i}", layer.self_attn.o_proj)
        watch(f"feed-forward input {i}", layer.mlp)
        watch(f"down_proj input {i}", layer.mlp.shared_experts.down_proj if isinstance(layer.mlp, Moe) else layer.mlp.down_proj)
    watch("residual into the last norm", model.model["norm"])
    watch("head input", model.lm_head)
    ids, _ = windows(tokens[: 32 * (context - 1)], context)
    model.lm_head(model(ids))
    for hook in hooks:
        hook.remove()
    out = {}
    for name, (x, bos) in found.items():
        out[name] = {"max": round(float(x.max()), 2), "median channel": round(float(x.median()), 3),
                     "max/median": round(float(x.max() / x.median()), 2), "channel": int(x.argmax()), "BOS max/median": round(float(bos.max() / x.median()), 2)}
    return out


# --- fake quantization -----------------------------------------------------------------------------------------------

def fp8_block(w, block=128):
    rows, cols = w.shape
    padded = F.pad(w, (0, -cols % block, 0, -rows % block))
    blocks = padded.view(padded.shape[0] // block, block, padded.shape[1] // block, block)
    scale = blocks.abs().amax((1, 3), keepdim=True) / 448
    scale = torch.where(scale == 0, 1.0, scale)
    return ((blocks / scale).to(torch.float8_e4m3fn).float() * scale).view_as(padded)[:rows, :cols]


def integer(w, bits, group=None):
    """Symmetric, to the nearest, along the last dimension: scale = greatest magnitude / (2^(bits-1) - 1). A last group may be
    short."""
    high = 2 ** (bits - 1) - 1
    size = group or w.shape[-1]
    parts = []
    for part in w.split(size, -1):
        scale = part.abs().amax(-1, keepdim=True) / high
        scale = torch.where(scale == 0, 1.0, scale)
        parts.append((part / scale).round().clamp(-high - 1, high) * scale)
    return torch.cat(parts, -1)


def fp8_groups(x, group=128):
    """Activations: e4m3 with a scale per token and group of 128 channels."""
    parts = []
    for part in x.split(group, -1):
        scale = part.abs().amax(-1, keepdim=True).clamp(min=1e-4) / 448
        parts.append((part / scale).to(torch.float8_e4m3fn).float() * scale)
    return torch.cat(parts, -1)


def int8_tokens(x):
    return integer(x, 8)


@torch.no_grad()
def quantize_weights(model, function):
    """A copy whose linear layers are quantized: attention, feed-forward and experts; not embedding, head, norms, gate, eh_proj."""
    model = copy.deepcopy(model)
    for layer in model.model["layers"]:
        for name, module in layer.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "eh_proj":
                module.weight.copy_(function(module.weight))
        if isinstance(layer.mlp, Moe):
            gate_up, down = layer.mlp.experts["gate_up"], layer.mlp.experts["down"]
            for e in range(len(gate_up)):
                for half in gate_up[e].chunk(2):
                    half.copy_(function(half.clone()))
                down[e].copy_(function(down[e]))
    return model


def quantize_activations(model, function):
    """The inputs of the same layers; of the experts the input alone, not what lies between up and down."""
    for layer in model.model["layers"]:
        for name, module in layer.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "eh_proj":
                module.register_forward_pre_hook(lambda _, inputs: (function(inputs[0]),))
        if isinstance(layer.mlp, Moe):
            layer.mlp.forward = lambda x, mlp=layer.mlp: _moe_quantized(mlp, x, function)
    return model


def _moe_quantized(mlp, x, function):
    flat = x.reshape(-1, x.shape[-1])
    chosen, weight = mlp.gate(flat)
    y = torch.zeros_like(flat)
    flat_q = function(flat)
    for e in range(len(mlp.experts["gate_up"])):
        token, slot = (chosen == e).nonzero(as_tuple=True)
        gate, up = (flat_q[token] @ mlp.experts["gate_up"][e].t()).chunk(2, 1)
        y.index_add_(0, token, function(F.silu(gate) * up) @ mlp.experts["down"][e].t() * weight[token, slot, None])
    return y.view_as(x) + mlp.shared_experts(x)


def quantize_cache(model, latent, rope=None):
    model = copy.deepcopy(model)
    for layer in model.model["layers"]:
        layer.self_attn.quantize_cache = lambda c, k: (latent(c), rope(k) if rope else k)
    return model


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dir", type=pathlib.Path, default=pathlib.Path("."))
    options.add_argument("--data", type=pathlib.Path, required=True)
    options = options.parse_args()
    torch.set_num_threads(2)
    config = json.loads((options.dir / "config.json").read_text())
    model = Model(config).requires_grad_(False)
    from_checkpoint(model, load_file(options.dir / "model.safetensors"))
    train, held_out = np.load(options.data / "train.npy"), np.load(options.data / "heldout.npy")
    text = json.loads((options.dir / "eval.tokens.json").read_text())
    tokens = np.array(text["tokens"])
    bare = held_out[held_out > 1]  # all held-out chapters without BOS and EOS
    corpus = json.loads((options.data / "corpus.json").read_text())
    bare_bytes = sum(len(c["text"].encode()) for c in corpus["chapters"] if c["held_out"])
    figures = {}

    def note(name, value):
        figures[name] = value
        print(name, json.dumps(value, ensure_ascii=False), flush=True)
        (options.dir / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")

    def ppl(model, ids, size, context=256):
        value, nats = perplexity(model, ids, context)
        return {"perplexity": round(value, 4), "bits per byte": round(nats / math.log(2) / size, 4)}

    note("eval.txt", ppl(model, tokens, text["bytes"]))
    note("eval.txt, context 1024", ppl(model, tokens, text["bytes"], 1024))
    note("all held-out chapters", ppl(model, bare, bare_bytes))
    note("n-grams on eval.txt", {k: round(v, 2) for k, v in n_gram_perplexities(train, tokens, config["vocab_size"]).items()})
    note("MTP on eval.txt", mtp_on_text(model, tokens))
    note("MTP, greedy speculative decoding", mtp_speculative(model, tokens))
    load = expert_load(model, tokens)
    note("expert load", {k: {"least": min(v), "most": max(v), "each": v} for k, v in load.items()})
    note("outliers", outliers(model, tokens))

    base = figures["eval.txt"]["perplexity"]

    def cost(model):
        value = ppl(model, tokens, text["bytes"])["perplexity"]
        return {"perplexity": value, "percent": round(100 * (value / base - 1), 3)}

    weights = {"FP8 128x128": fp8_block, "INT8 per channel": lambda w: integer(w, 8), "INT4 group 128": lambda w: integer(w, 4, 128),
               "INT4 group 32": lambda w: integer(w, 4, 32)}
    for name, function in weights.items():
        changed = quantize_weights(model, function)
        note(name, {**cost(changed), "MTP greedy agreement": mtp_on_text(changed, tokens)["greedy agreement"]})
    note("FP8 128x128, activations FP8 in groups of 128", cost(quantize_activations(quantize_weights(model, fp8_block), fp8_groups)))
    note("INT8 per channel, activations INT8 per token", cost(quantize_activations(quantize_weights(model, weights["INT8 per channel"]), int8_tokens)))
    caches = {"KV INT8 per token": lambda c: integer(c, 8), "KV INT4 group 32": lambda c: integer(c, 4, 32)}
    for name, function in caches.items():
        note(name + ", rotary key kept", cost(quantize_cache(model, function)))
        note(name + ", rotary key too", cost(quantize_cache(model, function, function)))

    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(options.dir / "tokenizer.json"))
    for i, prompt in enumerate(("The captain looked out upon the sea, and", "Lady Catherine was not", "Psalm 151\n\n1 ")):
        ids = torch.tensor([[0, *tokenizer.encode(prompt).ids]])
        note(f"sample {i + 1}", tokenizer.decode(generate(model, ids, 120, 0.7, seed=i)[0].tolist()))


if __name__ == "__main__":
    main()
