// The first MTP layer is a second program, which shares kernels, embedding and head with the model.

// RUN: quant-compile %source/models/tiny/config.json --mtp --stop-after=model -o - | FileCheck %s --check-prefix=MODEL
// RUN: quant-compile %source/models/tiny/config.json --stop-after=model -o - | FileCheck %s --check-prefix=WITHOUT
// RUN: quant-compile %source/models/tiny/config.json --mtp --stop-after=dispatched -o - | FileCheck %s --check-prefix=DISPATCHED
// RUN: quant-compile %source/models/tiny/config.json --mtp --host-isa=avx2 --max-tokens=8 -o %t.qmod
// RUN: quant-run %t.qmod --print-program | FileCheck %s --check-prefix=PROGRAM

// The model returns the states behind its last norm.
// MODEL: func.func @forward({{.*}}) -> (tensor<?x1536xf32> {program.dim = #program.dim<outputs>, program.name = "logits"}, tensor<?x256xf32> {program.dim = #program.dim<tokens>, program.name = "states"})
// MODEL-NOT: first_position
// MODEL: program.cache "kv.4"
// MODEL: program.weight "model.norm.weight"
// MODEL-NEXT: %[[STATES:.*]] = deepseek.rms_norm
// MODEL-NEXT: %[[LAST:.*]] = deepseek.select_tokens %[[STATES]]
// MODEL: %[[LOGITS:.*]] = qblock.matmul %[[LAST]]
// MODEL: return %[[LOGITS]], %[[STATES]]

// MODEL: func.func @draft({{.*}}, %[[BEFORE:.*]]: tensor<?x256xf32> {program.dim = #program.dim<tokens>, program.name = "states"}) -> (tensor<?x1536xf32> {program.dim = #program.dim<outputs>})
// MODEL: program.weight "model.embed_tokens.weight"
// MODEL: program.weight "model.layers.5.enorm.weight"
// MODEL: %[[E:.*]] = deepseek.rms_norm
// MODEL: program.weight "model.layers.5.hnorm.weight"
// MODEL: %[[H:.*]] = deepseek.rms_norm %[[BEFORE]]
// MODEL: deepseek.concat %[[E]], %[[H]] : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x512xf32>
// MODEL: program.weight "model.layers.5.eh_proj.weight"
// MODEL: program.cache "kv.5"
// MODEL: deepseek.mla_attention {{.*}}first_position = 1
// MODEL: program.weight "model.layers.5.shared_head.norm.weight"
// MODEL: program.weight "lm_head.weight"

// WITHOUT-NOT: @draft
// WITHOUT-NOT: states

// Kernels of the same shape are one, whichever program calls them.
// DISPATCHED: func.func @forward({{.*}}program.workspace_bytes
// DISPATCHED: program.dispatch @[[EXPERTS:grouped_matmul_[^(]*]]({{.*}} "model.layers.1.mlp.experts"
// DISPATCHED: func.func @draft({{.*}}program.workspace_bytes
// DISPATCHED: program.dispatch @[[EXPERTS]]({{.*}} "model.layers.5.mlp.experts"

// PROGRAM: program @host {
// PROGRAM: output "states" : tokensx256xf32
// PROGRAM: output "logits" : outputsx1536xf32
// PROGRAM: program @host.draft { // at most 8 tokens a call
// PROGRAM: input "states" : tokensx256xf32
// PROGRAM: cache "kv.5" : contextx144xbf16
