#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# From nothing to a sentence: installs what is missing, builds, compiles the small trained DeepSeek-V3 of models/tiny for this
# machine and for H100, and lets it go on with a text.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup/build.sh" quant-compile quant-run quant-serve
demo=$root/build/demo
mkdir -p "$demo"

step() {
  printf '\n== %s\n$' "$1"
  shift
  local word
  for word; do if [[ $word == *" "* ]]; then printf ' "%s"' "$word"; else printf ' %s' "$word"; fi; done
  printf '\n'
  "$@"
}

step "A small trained DeepSeek-V3 (9.5 million parameters), compiled for this machine and for H100" \
  build/bin/quant-compile models/tiny --target=host,sm_90a -o build/demo/tiny.qmod --kernels-to=build/demo/sm_90a
step "It goes on with a text: that of a very small model, which has read Austen, Melville and the Bible" \
  build/bin/quant-run build/demo/tiny.qmod --weights models/tiny --prompt "The captain looked out upon the sea, and" \
  --temperature 0.7 --seed 7 --max-new-tokens 80

cat <<'END'

Try next:
  build/bin/quant-run build/demo/tiny.qmod --weights models/tiny --prompt "Psalm 151" --temperature 0.7
  build/bin/quant-run build/demo/tiny.qmod --weights models/tiny --chat --temperature 0.7    # the model has learnt no chat
  build/bin/quant-serve build/demo/tiny.qmod --weights models/tiny                           # then open http://127.0.0.1:8080/
  build/bin/quant-compile CHECKPOINT -o model.qmod                                           # a DeepSeek-V2/V3 or Kimi-K2 of yours
END
for file in kernels.ptx kernels.cubin; do
  [ ! -f "$demo/sm_90a/$file" ] || printf 'GPU kernels for H100 (sm_90a): %s\n' "build/demo/sm_90a/$file"
done
