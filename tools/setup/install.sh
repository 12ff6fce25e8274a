#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Installs what the build needs and is not there: Debian 12's packages, and ptxas from PyPI where no CUDA toolkit is.
# Does nothing, quickly, when all is there. Needs root or sudo for the packages.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

packages=(
  cmake ninja-build clang-22 lld-22 libclang-rt-22-dev
  llvm-22-dev libmlir-22-dev mlir-22-tools llvm-22-tools
  libzstd-dev zlib1g-dev libxml2-dev
  nlohmann-json3-dev libcli11-dev libexpected-dev libgtest-dev libbenchmark-dev
  python3 python3-numpy python3-pip)
ptxas_package=nvidia-cuda-nvcc==13.0.88
ptxas_dir=$root/.cache/ptxas

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

# ptxas assembles the GPU kernels. Without it modules hold PTX, and the assembler tests say that they were skipped.
if ! command -v ptxas >/dev/null && [ ! -x "${CUDA_HOME:-/nonexistent}/bin/ptxas" ] && [ ! -e "$ptxas_dir/done" ]; then
  echo "no CUDA toolkit here: taking ptxas from PyPI ($ptxas_package)"
  if python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore --target "$ptxas_dir" \
       "$ptxas_package" 2>/dev/null; then
    touch "$ptxas_dir/done"
  else
    echo "*** ptxas could not be had: GPU kernels stay PTX, assembler tests are SKIPPED ***"
  fi
fi
