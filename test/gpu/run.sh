#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Checks and times the compiled kernels on this machine's GPU: test/gpu/run.sh [DIRECTORY] [RESULTS.json] [--deepgemm=PATH] ...
#
# DIRECTORY (default build/gpu) is what `ninja gpu-kernels` wrote on any machine; this folder and that one are all that need be
# copied. Here it takes an H100 or H200, its driver, and Python with torch (triton comes with it); QUANT_GPU_PYTHON names another
# python3. Exit status: 0 all right, 1 a wrong result, a crash, a hang or a check that did not run (each is named), 77 no such
# GPU or no torch, 124 no end in time even so.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${QUANT_GPU_PYTHON:-python3}
arguments=("$@")
if [ $# -eq 0 ] || [[ $1 == --* ]]; then
  arguments=("$here/../../build/gpu" "$@")
fi
if ! "$python" -c 'import torch' 2>/dev/null; then
  echo "no GPU test: $python has no torch; name a Python that has it in QUANT_GPU_PYTHON" >&2
  exit 77
fi
PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 exec timeout -k 15 450 "$python" "$here/run.py" "${arguments[@]}"
