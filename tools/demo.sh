#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# From nothing to tokens: installs what is missing, builds, makes a small DeepSeek-V3 checkpoint in FP8, compiles it for this
# machine and for H100, and runs it.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup/build.sh" quant-compile quant-run quant-convert
demo=$root/build/demo
mkdir -p "$demo"

step() { printf '\n== %s\n' "$1"; shift; printf '$ %s\n' "$*"; "$@"; }

if [ ! -f "$demo/checkpoint/config.json" ]; then
  step "A small DeepSeek-V3 checkpoint: random weights in the published FP8 layout" \
    build/bin/quant-convert random --config models/configs/toy_v3.json --output "$demo/checkpoint" --seed 1 --force
fi
step "Compiled for this machine and for H100" \
  build/bin/quant-compile "$demo/checkpoint" --target=host,sm_90a -o "$demo/model.qmod" --kernels-to="$demo/sm_90a"
step "Run: eight prompt tokens, sixteen new ones" \
  build/bin/quant-run "$demo/model.qmod" --weights "$demo/checkpoint" --tokens 1,2,3,4,5,6,7,8 --max-new-tokens 16

printf '\nThe module, with host code and GPU kernels:  %s\n' "build/demo/model.qmod"
for file in kernels.ptx kernels.cubin; do
  [ -f "$demo/sm_90a/$file" ] && printf 'GPU kernels for H100 (sm_90a):               %s\n' "build/demo/sm_90a/$file"
done
printf 'The checkpoint:                              %s\n' "build/demo/checkpoint"
