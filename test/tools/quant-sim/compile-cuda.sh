#!/bin/bash
# Makes the PTX of the simulator's CUDA test kernels, which is committed so that the tests need no nvcc.
# Usage: test/tools/quant-sim/compile-cuda.sh [NAME.cu ...]   default: all
set -euo pipefail
cd "$(dirname "$0")"
for kernel in "${@:-*.cu}"; do
  for file in $kernel; do
    "${NVCC:-nvcc}" -arch=sm_90a -std=c++17 -I../.. -ptx "$file" -o "ptx/$(basename "$file" .cu).ptx"
    echo "ptx/$(basename "$file" .cu).ptx"
  done
done
