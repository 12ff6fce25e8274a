#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Writes what run_model.py wants: test/gpu/make-model.sh BIN DIRECTORY. BIN holds the built tools.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${1:?the folder of the built tools} to=${2:?the folder to write}
mkdir -p "$to"
# The published latents and a bf16 cache, so that attention is on tensor cores, too.
sed 's/"kv_lora_rank": *[0-9]*/"kv_lora_rank": 512/; s/"qk_rope_head_dim": *[0-9]*/"qk_rope_head_dim": 64/' \
  "$here/../../models/configs/toy_v3.json" >"$to/config.json"
"$bin/quant-convert" random --config "$to/config.json" --output "$to/checkpoint" --seed 1 --force
"$bin/quant-compile" "$to/checkpoint" --target=sm_90a --kv-cache=bf16 -o "$to/model.qmod"
# One token, and more than one tile's rows of the smallest kernels.
prompts=(1 "$(seq -s, 3 5 100)")
for prompt in "${prompts[@]}"; do
  count=$(tr ',' '\n' <<<"$prompt" | wc -l)
  "$bin/quant-run" "$to/model.qmod" --device=sim --weights "$to/checkpoint" --tokens "$prompt" --max-new-tokens 1 \
    --logits "$to/logits-$count.safetensors"
done
printf '["%s", "%s"]\n' "${prompts[@]}" >"$to/prompts.json"
cp "$bin/quant-run" "$to/"
