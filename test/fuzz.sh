#!/bin/bash
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# test/fuzz.sh [SECONDS=60]
#
# Builds the runtime, the parsers and the tools that need no LLVM with ASan and UBSan (preset `sanitize`), runs their unit tests,
# then each fuzzer for its share of SECONDS. Exits with 1 on a finding; what triggers it is in BUILD/findings. Corpora grow in
# BUILD/corpora from run to run; the seeds in the repository stay as they are. QUANT_SANITIZE_BUILD names another build folder.
set -euo pipefail
seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: test/fuzz.sh [SECONDS=60]" >&2; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${QUANT_SANITIZE_BUILD:-$root/build-sanitize}
cd "$root"

tests=(abi_test checkpoint_test module_test models-tests device_test quant-convert-tests text-tests generate-tests c99_test)
# Each fuzzer: name, seeds, options.
fuzzers=(
  "fuzz_safetensors|test/runtime/checkpoint/fuzz/seeds_safetensors|-dict=test/runtime/checkpoint/fuzz/json.dict"
  "fuzz_index|test/runtime/checkpoint/fuzz/seeds_index|-dict=test/runtime/checkpoint/fuzz/json.dict"
  "fuzz_json|test/runtime/checkpoint/fuzz/seeds_json|-dict=test/runtime/checkpoint/fuzz/json.dict"
  "fuzz_config|test/models/fuzz/seeds_config models/configs|-dict=test/models/fuzz/config.dict"
  "fuzz_module|$build/module_seeds|-max_len=20000"
  "fuzz_ptx|test/tools/quant-sim/ptx|-max_len=70000"
  "fuzz_weights|test/tools/quant-convert/fuzz/seeds_weights|-max_len=2000"
  "fuzz_tokenizer|test/tools/text/fuzz/seeds_tokenizer|-max_len=2000"
  "fuzz_template|test/tools/text/templates|-dict=test/tools/text/fuzz/template.dict -max_len=4000"
  "fuzz_request|test/tools/quant-serve/seeds_request|-max_len=4000"
  "fuzz_recipe|test/tools/quant-sim/ptx|-max_len=20000"
)

mkdir -p "$build" "$build/findings"
echo "building $build"
cmake --preset sanitize -B "$build" >"$build/configure.log" 2>&1 || { cat "$build/configure.log" >&2; exit 1; }
ninja --quiet -C "$build"
mkdir -p "$build/module_seeds"
"$build/bin/write_seeds" "$build/module_seeds"

export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
status=0

# Runs one step, its output in a log; on failure shows the log's end and remembers.
run() { # NAME COMMAND...
  local name=$1 code=0
  shift
  "$@" >"$build/$name.log" 2>&1 || code=$?
  [ $code = 0 ] && return
  status=1
  echo "*** $name failed (exit status $code), the end of $build/$name.log:"
  tail -n 40 "$build/$name.log"
  return 1
}

for test in "${tests[@]}"; do
  if run "$test" "$build/bin/$test"; then
    echo "$test: $(grep -o 'PASSED.*tests' "$build/$test.log" | grep -o '[0-9]* tests' || echo ok)"
  fi
done

share=$(((seconds + ${#fuzzers[@]} - 1) / ${#fuzzers[@]}))
for fuzzer in "${fuzzers[@]}"; do
  IFS='|' read -r name seeds options <<<"$fuzzer"
  mkdir -p "$build/corpora/$name"
  # $seeds and $options are lists.
  # shellcheck disable=SC2086
  run "$name" "$build/bin/$name" -max_total_time="$share" -timeout=10 -rss_limit_mb=2560 -print_final_stats=1 \
    -artifact_prefix="$build/findings/$name-" $options "$build/corpora/$name" $seeds || continue
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$name.log")
  echo "$name: $runs inputs in $share s, $(grep -o 'cov: [0-9]* ft: [0-9]*' "$build/$name.log" | tail -1), nothing found"
done

[ $status = 0 ] && echo "no findings" || echo "*** FINDINGS: see above and $build/findings"
exit $status
