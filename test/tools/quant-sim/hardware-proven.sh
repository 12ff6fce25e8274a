#!/bin/bash
# Kernels that are known to be right on hardware must run in the simulator to the right numbers, with no finding. None of them is
# in this repository: nvcc compiles them here, from checkouts given as arguments or in the environment.
# Usage: test/tools/quant-sim/hardware-proven.sh BUILD [DEEPGEMM [CUTLASS]]     (or DEEPGEMM=..., CUTLASS=...)
# DEEPGEMM: github.com/deepseek-ai/DeepGEMM, CUTLASS: github.com/NVIDIA/cutlass (default: DeepGEMM's own submodule).
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$(realpath "${1:?the build folder}")
deepgemm=${2:-${DEEPGEMM:-}}
cutlass=${3:-${CUTLASS:-$deepgemm/third-party/cutlass}}
nvcc=${NVCC:-nvcc}
if ! command -v "$nvcc" > /dev/null || [ ! -d "$deepgemm/deep_gemm/include" ] || [ ! -f "$cutlass/include/cutlass/cutlass.h" ]; then
  echo "SKIPPED: hardware-proven kernels: needs nvcc and checkouts of DeepGEMM and CUTLASS (DEEPGEMM='$deepgemm', CUTLASS='$cutlass')"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags=(-arch=sm_90a -std=c++20 -O3 --expt-relaxed-constexpr --expt-extended-lambda -diag-suppress=39,161,174,177,186,940 -w -Xcompiler -w)
failed=0

# deepgemm CONFIG ROWS...
deepgemm() {
  local config=$1
  shift
  python3 "$source/test/tools/quant-sim/hardware_proven/deepgemm.py" source "$config" > "$work/k.cu"
  "$nvcc" "${flags[@]}" -I"$deepgemm/deep_gemm/include" -I"$cutlass/include" -ptx "$work/k.cu" -o "$work/k.ptx" 2> "$work/log" ||
    { cat "$work/log"; failed=1; return; }
  python3 "$source/test/tools/quant-sim/hardware_proven/deepgemm.py" recipe "$config" "$work/k.ptx" > "$work/k.json"
  for m in "$@"; do
    echo "DeepGEMM 1d2d $config, M = $m"
    "$build/bin/sim-check" "$work/k.ptx" --recipe "$work/k.json" --m "$m" || failed=1
  done
}

deepgemm n=576,k=7168,bm=128,bn=128,swizzle=128,stages=5,math=256,multicast=1,on_a=0,sms=4 1 100 129
deepgemm n=576,k=7168,bm=128,bn=128,swizzle=128,stages=5,math=256,multicast=2,on_a=0,sms=4 129
deepgemm n=640,k=1024,bm=128,bn=128,swizzle=128,stages=5,math=256,multicast=2,on_a=1,sms=4 129 257
deepgemm n=2112,k=1024,bm=64,bn=128,swizzle=128,stages=6,math=128,multicast=1,on_a=0,sms=4 65
deepgemm n=2112,k=1024,bm=128,bn=160,swizzle=64,stages=4,math=256,multicast=1,on_a=0,sms=4 300
deepgemm n=2112,k=1024,bm=256,bn=64,swizzle=128,stages=4,math=256,multicast=1,on_a=0,sms=4 300

if [ "${SKIP_CUTLASS:-0}" = 0 ]; then
  cutlass_flags=("${flags[@]}" -DCUTLASS_ENABLE_DIRECT_CUDA_DRIVER_CALL=1 -I"$cutlass/include" -I"$cutlass/tools/util/include" -I"$source")
  gemm="$source/test/tools/quant-sim/hardware_proven/cutlass_gemm.cu"
  "$nvcc" "${cutlass_flags[@]}" -ptx "$gemm" -o "$work/cutlass.ptx"
  "$nvcc" "${cutlass_flags[@]}" -DHOST "$gemm" -o "$work/cutlass" "$(find "$build" -name libquant_sim.a)" -lpthread
  for shape in "128 128 512" "300 264 7168"; do
    echo "CUTLASS TMA warp-specialized cooperative e4m3, $shape"
    # shellcheck disable=SC2086
    "$work/cutlass" "$work/cutlass.ptx" $shape || failed=1
  done
fi
[ "$failed" = 0 ] && echo "hardware-proven kernels: all right, no finding"
exit "$failed"
