# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Trains the model on data/train.npy (see prepare.py) and writes a checkpoint in Hugging Face's form.

    python3 train.py --data data --out . --steps 2500

Float32 on the CPU. AdamW; warm-up, then a cosine; the experts are balanced without an auxiliary loss, by DeepSeek's bias
update; the MTP module is trained along with weight 0.3. Most of the training has sequences of 256 tokens, the original
context of the YaRN scaling; the last part has sequences of 1024, the whole context. Each sequence starts with the BOS token.

With --minutes the schedule is that of as many steps as the pace so far lets expect until then, at most --steps, so that a slow
or shared machine ends in time with a finished schedule; log.json then tells at which step each learning rate stood. A run of
--steps alone is a function of its arguments, up to float rounding. An interrupted run goes on from the last checkpoint in --state.
"""

import argparse
import collections
import json
import math
import os
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from model import Model, to_checkpoint

BATCH_TOKENS = 1024
MTP_WEIGHT = 0.3
WEIGHT_DECAY = 0.1
WARM_UP = 100
LAST_LEARNING_RATE = 0.05  # of the highest
BIAS_STEP = 1e-3
BIAS_UNTIL = 0.9           # of the training; then the biases rest
LONG_FROM = 0.9            # of the training; then the whole context
PACE_SECONDS = 300         # over which --minutes takes the pace
SEED = 1851


class Windows:
    """Sequences of `size` tokens and the two that follow, each window once per epoch, cut anew for each epoch. Position 0
    is BOS."""

    def __init__(self, stream, size, seed):
        self.stream, self.size, self.rng, self.starts = stream, size, np.random.default_rng(seed), []

    def next(self, count):
        rows = []
        while len(rows) < count:
            if not len(self.starts):
                first = int(self.rng.integers(self.size))
                self.starts = list(self.rng.permutation(np.arange(first, len(self.stream) - self.size - 2, self.size)))
            start = self.starts.pop()
            rows.append(self.stream[start : start + self.size + 2])
        batch = torch.from_numpy(np.stack(rows).astype(np.int64))
        batch[:, 0] = 0
        return batch


def losses(model, batch):
    """Cross entropy of the next token, and of the one behind it by the MTP module."""
    state = model(batch[:, :-2])
    main = F.cross_entropy(model.lm_head(state).flatten(0, 1), batch[:, 1:-1].flatten())
    mtp = F.cross_entropy(model.lm_head(model.mtp(state, batch[:, 1:-1])).flatten(0, 1), batch[:, 2:].flatten())
    return main, mtp


@torch.no_grad()
def held_out_loss(model, stream, size, count):
    windows = np.stack([stream[s : s + size + 2] for s in range(0, size * count, size)]).astype(np.int64)
    windows[:, 0] = 0
    parts = [losses(model, torch.from_numpy(w)) for w in np.array_split(windows, max(1, size * count // 4096))]
    return tuple(sum(float(p[i]) for p in parts) / len(parts) for i in (0, 1))


def learning_rate(step, progress, highest):
    cosine = LAST_LEARNING_RATE + (1 - LAST_LEARNING_RATE) * 0.5 * (1 + math.cos(math.pi * progress))
    return highest * min(1.0, (step + 1) / WARM_UP) * cosine


class Threads:
    """One thread or `most`, whichever ran the last few steps faster; looked at anew every 60 steps."""

    def __init__(self, most):
        self.counts, self.steps, self.began, self.times = [1, most], 0, time.time(), []

    def step_done(self, now):
        self.steps += 1
        if self.steps % 60 in (5, 10):
            self.times.append(now - self.began)
        if self.steps % 60 in (5, 10) and len(self.times) == 2:
            if self.times[1] < self.times[0]:
                self.counts.reverse()
            self.times = []
        torch.set_num_threads(self.counts[0] if self.steps % 60 < 5 or self.steps % 60 >= 10 else self.counts[1])
        if self.steps % 60 in (0, 5):
            self.began = now


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=pathlib.Path, required=True)
    options.add_argument("--out", type=pathlib.Path, required=True, help="holds config.json, gets model.safetensors and log.json")
    options.add_argument("--state", type=pathlib.Path, default=pathlib.Path("state.pt"), help="for going on after an interruption")
    options.add_argument("--steps", type=int, required=True)
    options.add_argument("--minutes", type=float, default=math.inf)
    options.add_argument("--learning-rate", type=float, default=2e-3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--adapt-threads", action="store_true", help="try one thread now and then, and keep it while it is faster (shared machine)")
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    threads = Threads(options.threads)

    config = json.loads((options.out / "config.json").read_text())
    short, long = config["rope_scaling"]["original_max_position_embeddings"], config["max_position_embeddings"]
    train, held_out = (np.load(options.data / f"{name}.npy") for name in ("train", "heldout"))
    model = Model(config, SEED)
    matrices = [p for n, p in model.named_parameters() if p.dim() > 1 and "embed_tokens" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() == 1 or "embed_tokens" in n]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
                                  lr=options.learning_rate, betas=(0.9, 0.98), eps=1e-8, fused=True)
    windows = {size: Windows(train, size, SEED + size) for size in (short, long)}
    step, spent, log = 0, 0.0, []
    if options.state.exists():
        saved = torch.load(options.state, weights_only=False)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        windows, step, spent, log = saved["windows"], saved["step"], saved["spent"], saved["log"]
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(train)} tokens, step {step}", flush=True)

    def write(final=False):
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "windows": windows, "step": step, "spent": spent, "log": log}
        torch.save(saved, f"{options.state}.new")
        os.replace(f"{options.state}.new", options.state)
        if final:
            save_file(to_checkpoint(model), options.out / "model.safetensors", {"format": "pt"})
            (options.out / "log.json").write_text("[\n" + ",\n".join(json.dumps(entry) for entry in log) + "\n]\n")

    begin, last_write, sums, recent = time.time() - spent, time.time(), [], collections.deque([(spent, step)])
    while step < options.steps and spent < 60 * options.minutes:
        while spent - recent[0][0] > PACE_SECONDS:
            recent.popleft()
        pace = (spent - recent[0][0]) / max(1, step - recent[0][1])
        expected = step + (60 * options.minutes - spent) / pace if pace else options.steps
        progress = step / min(expected, options.steps)
        size = long if progress >= LONG_FROM else short
        batch = windows[size].next(BATCH_TOKENS // size)
        rate = learning_rate(step, progress, options.learning_rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        main_loss, mtp_loss = losses(model, batch)
        (main_loss + MTP_WEIGHT * mtp_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loads = torch.stack([gate.load for gate in model.gates()]).float()
        if progress < BIAS_UNTIL:
            for gate, load in zip(model.gates(), loads):
                gate.e_score_correction_bias += BIAS_STEP * torch.sign(load.mean() - load)
        sums.append((main_loss.item(), mtp_loss.item(), (loads.max(1)[0] / loads.mean(1)).mean().item()))
        step += 1
        spent = time.time() - begin
        recent.append((spent, step))
        if options.adapt_threads:
            threads.step_done(time.time())
        if step % 50 == 0:
            main_mean, mtp_mean, imbalance = (sum(s[i] for s in sums) / len(sums) for i in range(3))
            log.append({"step": step, "tokens": step * BATCH_TOKENS, "seconds": round(spent), "context": size, "learning_rate": round(rate, 7),
                        "loss": round(main_mean, 4), "mtp_loss": round(mtp_mean, 4), "most_loaded_expert": round(imbalance, 3)})
            sums = []
            if step % 500 == 0:
                log[-1]["held_out"], log[-1]["held_out_mtp"] = (round(v, 4) for v in held_out_loss(model, held_out, short, 64))
            print(json.dumps(log[-1]), flush=True)
        if time.time() - last_write > 300:
            write()
            last_write = time.time()
    write(final=True)
    print(f"{step} steps, {spent:.0f} s, held out {held_out_loss(model, held_out, short, 64)}", flush=True)


if __name__ == "__main__":
    main()
