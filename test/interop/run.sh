#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# quant-convert against clients that others wrote: test/interop/run.sh [QUANT_CONVERT]
#
# QUANT_CONVERT defaults to build/bin/quant-convert. Makes a virtual environment with torch (CPU), safetensors and
# compressed-tensors in QUANT_INTEROP_VENV (default: in the user's cache), from PyPI; torch from a wheel where one lies on the
# disk (QUANT_TORCH_WHEEL). Exit status: 0 all right, 1 a difference, 77 the packages cannot be had.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tool=${1:-$here/../../build/bin/quant-convert}
venv=${QUANT_INTEROP_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/quant-interop}
wheel=${QUANT_TORCH_WHEEL:-$(ls /opt/wheels/torch-2.13.0*.whl 2>/dev/null | head -1 || true)}

if [ ! -x "$tool" ]; then
  echo "error: no $tool; build it with: cmake --preset release -DQUANT_COMPILER=OFF && ninja -C build quant-convert" >&2
  exit 1
fi
if ! "$venv/bin/python" -c 'import torch, safetensors, compressed_tensors' 2>/dev/null; then
  echo "making $venv"
  python3 -m venv "$venv"
  if ! "$venv/bin/pip" install --quiet "${wheel:-torch==2.13.0}" numpy==2.4.6 safetensors==0.8.0 compressed-tensors==0.20.0; then
    echo "*** torch, safetensors or compressed-tensors cannot be installed: SKIPPED ***"
    exit 77
  fi
fi
exec "$venv/bin/python" "$here/test_interop.py" --tool "$tool"
