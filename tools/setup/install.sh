#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Installs what the build needs and is not there: Debian 12's packages, and from PyPI ptxas and nvdisasm where no CUDA
# toolkit has them.
# Does nothing, quickly, when all is there. Needs root or sudo for the packages.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

packages=(
  cmake ninja-build clang-22 clang-tidy-22 lld-22 libclang-rt-22-dev
  llvm-22-dev libmlir-22-dev mlir-22-tools llvm-22-tools
  libzstd-dev zlib1g-dev libxml2-dev
  nlohmann-json3-dev libcli11-dev libexpected-dev libfmt-dev libgtest-dev libbenchmark-dev libeigen3-dev
  libpcre2-dev libcpp-httplib-dev
  python3 python3-numpy python3-pip nodejs)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${#missing[@]} packages: ${missing[*]}"
  sudo=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "error: not root and no sudo; as root run: apt-get install ${missing[*]}" >&2; exit 1; }
    sudo=(sudo)
  fi
  log=$(mktemp)
  if ! { "${sudo[@]}" apt-get update && DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y --no-install-recommends \
         "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "error: apt-get could not install them; LLVM 22 is in Debian 12's security updates (bookworm-security)" >&2
    exit 1
  fi
  rm -f "$log"
fi

# Takes TOOL from a PACKAGE of PyPI into .cache/TOOL, unless a CUDA toolkit has it. Without it, LOSS.
take_cuda_tool() { # TOOL PACKAGE LOSS
  local tool=$1 package=$2 loss=$3 into=$root/.cache/$1
  if command -v "$tool" >/dev/null || [ -x "${CUDA_HOME:-/nonexistent}/bin/$tool" ] || [ -e "$into/done" ]; then
    return
  fi
  echo "no $tool here: taking it from PyPI ($package)"
  if python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore --target "$into" \
       "$package" 2>/dev/null; then
    touch "$into/done"
  else
    echo "*** $tool could not be had: $loss ***"
  fi
}
take_cuda_tool ptxas nvidia-cuda-nvcc==13.0.88 "GPU kernels stay PTX, assembler tests are SKIPPED"
take_cuda_tool nvdisasm nvidia-cuda-nvdisasm==13.2.78 "the test that counts a GPU kernel's instructions is SKIPPED"
