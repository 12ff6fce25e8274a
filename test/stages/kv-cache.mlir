// --kv-cache says how rows of the latent cache are stored, at every stage.
// REQUIRES: quant-compile
// RUN: quant-compile %source/models/configs/toy_v3.json --stop-after=dispatched -o - | FileCheck %s --check-prefix=BF16
// RUN: quant-compile %source/models/configs/toy_v3.json --kv-cache=f32 --stop-after=model -o - | FileCheck %s --check-prefix=F32
// RUN: quant-compile %source/models/configs/toy_v3.json --kv-cache=bf16 --stop-after=dispatched -o - | FileCheck %s --check-prefix=BF16
// RUN: quant-compile %source/models/configs/671B.json --kv-cache=fp8 --stop-after=model -o - | FileCheck %s --check-prefix=FP8
// RUN: quant-compile %source/models/configs/671B.json --kv-cache=int8 --stop-after=model -o - | FileCheck %s --check-prefix=INT8
// RUN: quant-compile %source/models/configs/toy_v3.json --kv-cache=int4 --stop-after=dispatched -o - | FileCheck %s --check-prefix=INT4
// RUN: not quant-compile %source/models/configs/toy_v3.json --kv-cache=f16 2>&1 | FileCheck %s --check-prefix=ERROR

// F32: %[[CACHE:.*]] = program.cache "kv.0" : memref<?x192xf32>
// F32: deepseek.mla_attention {{.*}}, %[[CACHE]][%{{.*}}, %{{.*}}, %{{.*}}] {{.*}}memref<?x192xf32>

// BF16: program.cache "kv.0" : memref<?x192xbf16>
// BF16: func.func private @latent_append_192({{.*}}memref<?x192xbf16>
// BF16: func.func private @mla_core_640({{.*}}memref<?x192xbf16>

// FP8: program.cache "kv.60" : memref<?x656xi8>
// FP8: deepseek.mla_attention {{.*}}cache_format = #deepseek.cache<fp8>
// INT8: program.cache "kv.60" : memref<?x642xi8>
// INT8: deepseek.mla_attention {{.*}}cache_format = #deepseek.cache<int8>

// INT4: program.cache "kv.0" : memref<?x154xi8>
// INT4: func.func private @latent_append_{{.*}}memref<?x154xi8>
// INT4: deepseek.latent_append {{.*}}cache_format = #deepseek.cache<int4>
// INT4: deepseek.mla_core {{.*}}cache_format = #deepseek.cache<int4>

// ERROR: --kv-cache: f16 not in {f32,bf16,fp8,int8,int4}
