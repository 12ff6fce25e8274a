// Attention on sm_90a: on tensor cores where their kernel computes it, elsewhere on plain threads, which say why.
// REQUIRES: quant-compile
// RUN: quant-compile %source/models/configs/671B.json --target=sm_90a --kv-cache=bf16 --stop-after=scheduled -o - 2>/dev/null | FileCheck %s
// RUN: quant-compile %source/models/configs/671B.json --target=sm_90a --kv-cache=bf16 --stop-after=tiled -o - 2>/dev/null | FileCheck %s --check-prefix=TILED
// RUN: quant-compile %source/models/configs/671B.json --target=sm_90a --kv-cache=fp8 --stop-after=scheduled -o - 2>/dev/null | FileCheck %s --check-prefix=FP8
// RUN: quant-compile %source/models/configs/toy_v3.json --target=sm_90a --kv-cache=bf16 --stop-after=scheduled -o - 2>/dev/null | FileCheck %s --check-prefix=TOY
// RUN: quant-compile %source/models/configs/671B.json --kv-cache=bf16 --stop-after=fused -o - | FileCheck %s --check-prefix=HOST

// CHECK: func.func private @mla_absorb_bf16_73728({{.*}}#program.schedule<simt
// CHECK: func.func private @mla_decode_bf16_65536({{.*}}program.schedule = #program.schedule<tensor, why = "128 heads in 2 tile(s) of 64 rows for each token, blocks of 64 keys; 32 tokens with 4096 keys each: {{[0-9.]+}} us, most of it shared memory">
// CHECK-NOT: mla_core

// TILED: func.func private @mla_decode_bf16_65536({{.*}}program.launch = {{.*}}kernel = "sm90_mla_decode_h128_p2560_s
// TILED: hopper.kernel @sm90_mla_decode_h128_p2560_s
// TILED: hopper.for_queries {{.*}} heads 128

// FP8: @mla_core_{{.*}}"no tensor cores: the KV cache is not bf16 (--kv-cache=bf16)"
// TOY: @mla_core_{{.*}}"no tensor cores: latents of {{.*}} and a rope part of {{.*}}: the kernel is for 512 and 64"
// HOST: deepseek.mla_core
// HOST-NOT: deepseek.mla_decode
