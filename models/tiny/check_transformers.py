# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares model.safetensors as transformers' DeepseekV3ForCausalLM reads it with this folder's model.py, main model and MTP
module, and writes golden.safetensors: the float32 logits of a prompt of 64 tokens.

    python3 check_transformers.py --dir .
"""

import argparse
import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, DeepseekV3ForCausalLM
from transformers.modeling_layers import MtpModel

from model import Model, from_checkpoint

PROMPT = 64


def error(got, want):
    return float((got - want).abs().max() / want.abs().max())


@torch.no_grad()
def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dir", type=pathlib.Path, default=pathlib.Path("."))
    options = options.parse_args()
    torch.set_num_threads(2)
    config = json.loads((options.dir / "config.json").read_text())
    ours = Model(config)
    from_checkpoint(ours, load_file(options.dir / "model.safetensors"))

    # The class names only V3's own MTP layer as one to leave out; for MtpModel the name is also how it finds the layer.
    DeepseekV3ForCausalLM._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.{config['num_hidden_layers']}.*"]
    theirs = DeepseekV3ForCausalLM.from_pretrained(options.dir, dtype=torch.float32, attn_implementation="eager").eval()
    print("experts run by", theirs.config._experts_implementation)
    theirs_mtp = MtpModel.from_pretrained(theirs).eval()

    tokens = json.loads((options.dir / "eval.tokens.json").read_text())["tokens"]
    long = torch.tensor([[0] + tokens[: config["max_position_embeddings"] - 1]])
    for name, ids in (("64 tokens", long[:, :PROMPT]), ("1024 tokens", long)):
        state = theirs(ids, output_hidden_states=True).hidden_states[-1]
        logits = theirs.lm_head(state)
        print(f"{name}: main model, greatest error {error(ours.lm_head(ours(ids)), logits):.2e} of the greatest logit")
        following, positions = ids[:, 1:], torch.arange(1, ids.shape[1])[None]
        drafted = theirs.lm_head(theirs_mtp.forward_layer(0, state[:, :-1], positions, None, input_ids=following))
        print(f"{name}: MTP module, greatest error {error(ours.lm_head(ours.mtp(ours(ids)[:, :-1], following)), drafted):.2e}")
        if ids.shape[1] == PROMPT:
            save_file({"tokens": ids[0].to(torch.int32), "logits": logits[0].contiguous(), "mtp_logits": drafted[0].contiguous()},
                      options.dir / "golden.safetensors", {"of": "model.safetensors, computed in float32"})

    tokenizer = AutoTokenizer.from_pretrained(options.dir)
    text = (options.dir / "eval.txt").read_text()
    assert tokenizer(text, add_special_tokens=False).input_ids == tokens
    assert tokenizer.decode(tokens, clean_up_tokenization_spaces=False) == text
    chat = tokenizer.apply_chat_template([{"role": "system", "content": "S."}, {"role": "user", "content": "Who is he?"}],
                                         add_generation_prompt=True, tokenize=False)
    print("tokenizer agrees; with special tokens:", tokenizer("In the beginning").input_ids, "chat:", chat)


if __name__ == "__main__":
    main()
