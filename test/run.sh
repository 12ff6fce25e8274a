#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Installs what is missing, builds everything, runs every test.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../tools/setup/build.sh"
if command -v ptxas >/dev/null; then
  echo "GPU kernels are assembled with $(command -v ptxas)"
else
  echo "*** no ptxas: the tests that assemble GPU kernels are SKIPPED ***"
fi
echo "running the tests; every line of them goes to build/test.log"
status=0
ctest --test-dir build --output-on-failure -j "$(nproc)" "$@" >build/test.log 2>&1 || status=$?
# A failure's own output, then the closing lines: how many passed, which did not, which were skipped.
[ $status = 0 ] || grep -v -E '^ *(Start|[0-9]+/[0-9]+ Test .* Passed)' build/test.log
sed -n '/tests passed/,$p' build/test.log
exit $status
