// Attention on sm_90a: on tensor cores where their kernel computes it, elsewhere on plain threads, which say why.
// REQUIRES: quant-compile
// RUN: quant-compile %source/models/configs/671B.json --target=sm_90a --kv-cache=bf16 --stop-after=scheduled -o - 2>/dev/null | FileCheck %s
// RUN: quant-compile %source/models/configs/671B.json --target=sm_90a --kv-cache=bf16 --stop-after=tiled -o - 2>/dev/null | FileCheck %s --check-prefix=TILED
// RUN: quant-compile %source/models/configs/671B.json --target=sm_90a --kv-cache=fp8 --stop-after=scheduled -o - 2>/dev/null | FileCheck %s --check-prefix=FP8
// RUN: quant-compile %source/models/configs/toy_v3.json --target=sm_90a --kv-cache=bf16 --stop-after=scheduled -o - 2>/dev/null | FileCheck %s --check-prefix=TOY
// RUN: quant-compile %source/models/configs/671B.json --kv-cache=bf16 --stop-after=fused -o - | FileCheck %s --check-prefix=HOST
// RUN: quant-compile %source/models/configs/16B.json --target=sm_90a --stop-after=scheduled -o - 2>/dev/null | FileCheck %s --check-prefix=BF16
// RUN: quant-compile %source/models/configs/16B.json --target=sm_90a --stop-after=tiled -o - 2>/dev/null | FileCheck %s --check-prefix=HEADS

// CHECK: func.func private @mla_absorb_bf16_73728({{.*}}#program.schedule<simt, why = "no tensor cores: kv_b is not bf16: its blocks would have to be dequantized on their way to the tensor cores">
// CHECK: func.func private @mla_decode_bf16_65536({{.*}}program.schedule = #program.schedule<tensor, why = "128 heads in 2 tile(s) of 64 rows for each token, blocks of 64 keys; 32 tokens with 4096 keys each: {{[0-9.]+}} us, most of it shared memory">
// CHECK-NOT: mla_core

// TILED: func.func private @mla_decode_bf16_65536({{.*}}program.launch = {{.*}}kernel = "sm90_mla_decode_h128_p2560_s
// TILED: hopper.kernel @sm90_mla_decode_h128_p2560_s
// TILED: hopper.for_queries {{.*}} heads 128

// FP8: @mla_core_{{.*}}"no tensor cores: the KV cache is not bf16 (--kv-cache=bf16)"
// TOY: @mla_core_{{.*}}"no tensor cores: latents of {{.*}} and a rope part of {{.*}}: the kernel is for 512 and 64"
// Projections of heads by kv_b in bf16.
// BF16: func.func private @mla_absorb_bf16_9216({{.*}}#program.schedule<tensor, m = [1, {{[0-9]+}}], {block_m = 64 : i64, block_n = 64 : i64}, why = "at M = {{.*}} tiles in 1 wave
// BF16: func.func private @mla_expand_2048({{.*}}#program.schedule<tensor, m = [1, {{[0-9]+}}], {block_m = 8 : i64, block_n = 64 : i64, swap_ab}, why = "at M = {{.*}} the weight on wgmma's 64 rows

// HEADS: func.func private @mla_absorb_bf16_9216({{.*}}program.launch = {{.*}}from = array<i64: 0>, name = "a"{{.*}}from = array<i64: 1>, name = "b"{{.*}}from = array<i64: 3>, name = "d"{{.*}}from = array<i64: 2>, name = "rope"
// A head's rows of keys are B as they are, and its queries are turned behind the latents.
// HEADS: hopper.kernel @sm90_bf16_mla_absorb_h16_d128_r64_v128_n8192_k128_bm64_bn64_rope(
// HEADS: hopper.wgmma {{.*}} transposed into
// HEADS: hopper.store_tile
// HEADS: hopper.rope_rows {{.*}} of 3072 by {{.*}} size 64 to {{.*}} of 9216 {{.*}} {interleaved}
// HEADS: hopper.kernel @sm90_bf16_mla_expand_h16_d128_r64_v128_n2048_k512_bm8_bn64_swap_f32(
// HEADS-NOT: hopper.rope_rows

// HOST: deepseek.mla_core
// HOST-NOT: deepseek.mla_decode
