#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Installs what is missing, configures build/ and builds the given targets (default: everything).
# Other scripts source it: PATH then has the ptxas and nvdisasm that install.sh found.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bash "$root/tools/setup/install.sh"
export PATH=$PATH:$root/.cache/ptxas/nvidia/cu13/bin:$root/.cache/nvdisasm/nvidia/cu13/bin
cd "$root"
if [ ! -f build/build.ninja ]; then
  echo "configuring build/"
  cmake --preset release >build-configure.log 2>&1 || { cat build-configure.log >&2; exit 1; }
  mkdir -p build && mv build-configure.log build/configure.log
fi
echo "building ${*:-everything} (a few minutes the first time)"
# Not a terminal: a line for each file is noise, its errors are not.
if [ -t 1 ]; then ninja -C build "$@"; else ninja --quiet -C build "$@"; fi
