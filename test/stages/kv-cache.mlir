// --kv-cache says how rows of the latent cache are stored, at every stage.
// REQUIRES: quant-compile
// RUN: quant-compile %source/models/configs/toy_v3.json --stop-after=model -o - | FileCheck %s --check-prefix=F32
// RUN: quant-compile %source/models/configs/toy_v3.json --kv-cache=f32 --stop-after=model -o - | FileCheck %s --check-prefix=F32
// RUN: quant-compile %source/models/configs/toy_v3.json --kv-cache=bf16 --stop-after=dispatched -o - | FileCheck %s --check-prefix=BF16
// RUN: not quant-compile %source/models/configs/toy_v3.json --kv-cache=f16 2>&1 | FileCheck %s --check-prefix=ERROR

// F32: %[[CACHE:.*]] = program.cache "kv.0" : memref<?x192xf32>
// F32: deepseek.mla_attention {{.*}}, %[[CACHE]], {{.*}}memref<?x192xf32>

// BF16: program.cache "kv.0" : memref<?x192xbf16>
// BF16: func.func private @latent_append_192({{.*}}memref<?x192xbf16>
// BF16: func.func private @mla_core_640({{.*}}memref<?x192xbf16>

// ERROR: --kv-cache: f16 not in {f32,bf16}
