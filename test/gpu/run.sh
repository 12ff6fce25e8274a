#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Checks and times the compiled kernels on this machine's GPU: test/gpu/run.sh [DIRECTORY] [RESULTS.json]
#
# DIRECTORY (default build/gpu) is what the target gpu-kernels wrote on any machine. Here only an H100 or H200 and its driver are
# needed; with Python's torch the table also shows torch._scaled_mm. Exit status: 0 all right, 1 a wrong result, 77 no such GPU,
# 124 a kernel hung (the last line names it).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
directory=${1:-$here/../../build/gpu}
results=${2:-gpu-results.json}
launcher=$directory/quant-gpu-launch

if [ ! -x "$launcher" ]; then
  echo "error: no launcher $launcher; build it with: cmake --preset release && ninja -C build gpu-kernels" >&2
  exit 1
fi
"$launcher" probe

baseline=()
if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  echo "timing torch._scaled_mm ..."
  if python3 "$here/torch_baseline.py" "$directory" >"$results.torch"; then
    baseline=("$results.torch")
  else
    echo "*** torch._scaled_mm FAILED: the table comes without it ***"
  fi
else
  echo "*** no torch with CUDA in python3: torch._scaled_mm is SKIPPED ***"
fi
timeout 1800 "$launcher" run "$directory" "$results" "${baseline[@]}"
