#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# launcher-test.sh GENERATOR LAUNCHER FAKE_DRIVER_DIRECTORY: run.sh against a driver that computes on the CPU.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LD_LIBRARY_PATH=$3

"$1" "$work/all"
# One full of edges, one whose rows of scales are padded, and one large enough to be timed.
mkdir "$work/kernels"
for name in n8_k16_bm128_bn128 n136_k2000_bm64_bn64 n384_k2000_bm128_bn128; do
  cp "$work/all/sm90_fp8_gemm_1d2d_$name".* "$work/kernels"
done
cp "$2" "$work/kernels/quant-gpu-launch"

# expect STATUS TEXT [FAULT]: run.sh ends with this status and prints this text.
expect() {
  status=0
  FAKE_CUDA_FAULT=${3:-} "$here/run.sh" "$work/kernels" "$work/results.json" >"$work/log" 2>&1 || status=$?
  if [ "$status" != "$1" ] || ! grep -qF "$2" "$work/log"; then
    echo "expected status $1 and '$2', got status $status and:"
    cat "$work/log"
    exit 1
  fi
}

expect 0 "3 kernels, 27 products checked, 0 wrong"
grep -q '"tflops"' "$work/results.json"
# Only what is not timed: these faults show at once, and the large kernel takes its time.
rm "$work/kernels"/*n384*
expect 1 "NOT TIMED" scale
expect 1 "is not finite: never written" row
expect 1 "memory behind D was written" overrun
expect 77 "no GPU test: the CUDA driver sees no GPU" no-gpu
echo "launcher: all right"
