#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# run.sh's checks with the simulator as the GPU: test/gpu/run-simulated.sh [BUILD] [run.py's options]. Takes minutes.
#
# Wants a Python with torch, also one without CUDA (QUANT_GPU_PYTHON), and triton (before 3.9 with NumPy below 2.3) to try the
# Triton kernel in its interpreter and the timing; it says so where that is missing. Before: ninja -C BUILD sim-cuda gpu-kernels.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${1:-$here/../../build}
shift || true
python=${QUANT_GPU_PYTHON:-python3}
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

export TRITON_INTERPRET=1
export LD_LIBRARY_PATH=$build/test/gpu/sim${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

"$python" "$here/test_faults.py" "$build/gpu"
if "$python" -c 'import triton' 2>/dev/null; then
  "$python" "$here/test_triton.py"
  "$python" "$here/test_timing.py" "$build/gpu"
else
  echo "*** $python has no triton: test_triton.py and test_timing.py are SKIPPED ***"
fi

# A whole model through quant-run --device=cuda.
if [ -f "$build/gpu-model/prompts.json" ]; then
  "$python" "$here/run_model.py" "$build/gpu-model" --check-only
else
  echo "*** no $build/gpu-model (ninja gpu-model): run_model.py is SKIPPED ***"
fi

# Large products would take the simulator hours; their kernels differ from the small ones in trip counts only.
options=(--m=1 --m=100 --m=129 --seconds=100000 --stall-seconds=100000)
for recipe in "$build"/gpu/sm90_*.json; do
  name=$(basename "$recipe" .json)
  case $name in
  *_n584_* | *_n136_* | *_n8_k16_* | *_n256_* | *_k2000_* | *quantize*_k100* | *_n130_* | *mla_*h16_*) options+=("--kernel=$name") ;;
  esac
done
exec "$python" "$here/run.py" "$build/gpu" "${TMPDIR:-/tmp}/gpu-simulated.json" "${options[@]}" "$@"
