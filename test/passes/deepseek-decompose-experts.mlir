// RUN: quant-opt %s --deepseek-decompose-experts | FileCheck %s

!gate = !qblock.tensor<8x256x300xi8, block<1x128x128>, f32>
!down = !qblock.tensor<8x300x256xi8, block<1x128x128>, f32>

// gate and up end on a block's edge: one grouped matmul for both.
// CHECK-LABEL: @merged
// CHECK-SAME: %[[X:.*]]: tensor<?x300xf32>, %[[IDS:.*]]: tensor<?x2xi32>, %[[WEIGHTS:.*]]: tensor<?x2xf32>, %[[G:.*]]: !qblock.tensor<{{.*}}>, %[[U:.*]]: !qblock.tensor<{{.*}}>, %[[D:.*]]: !qblock
func.func @merged(%x: tensor<?x300xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %g: !gate, %u: !gate, %d: !down) -> tensor<?x300xf32> {
  // CHECK: %[[O:.*]], %[[R:.*]] = deepseek.moe_dispatch %[[IDS]] : (tensor<?x2xi32>) -> (tensor<9xi32>, tensor<?x2xi32>)
  // CHECK: %[[W:.*]] = qblock.concat %[[G]], %[[U]] : {{.*}} -> !qblock.tensor<8x512x300xi8, block<1x128x128>, f32>
  // CHECK: %[[Y:.*]] = qblock.grouped_matmul %[[X]], %[[W]], %[[O]] gather(%[[R]]) : {{.*}} -> tensor<?x2x512xf32>
  // CHECK: %[[A:.*]] = tensor.extract_slice %[[Y]][0, 0, 0] [%{{.*}}, 2, 256] [1, 1, 1]
  // CHECK: %[[B:.*]] = tensor.extract_slice %[[Y]][0, 0, 256] [%{{.*}}, 2, 256] [1, 1, 1]
  // CHECK: %[[H:.*]] = deepseek.swiglu %[[A]], %[[B]]
  // CHECK: %[[E:.*]] = qblock.grouped_matmul %[[H]], %[[D]], %[[O]] : {{.*}} -> tensor<?x2x300xf32>
  // CHECK: deepseek.moe_combine %[[E]], %[[IDS]], %[[WEIGHTS]], %[[O]], %[[R]]
  %y = deepseek.experts %x, %ids, %weights, %g, %u, %d : (tensor<?x300xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !gate, !gate, !down) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// 192 rows are 1.5 blocks: gate and up stay two.
// CHECK-LABEL: @ragged
// CHECK-NOT: qblock.concat
// CHECK-COUNT-3: qblock.grouped_matmul
func.func @ragged(%x: tensor<?x300xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %g: !qblock.tensor<8x192x300xi8, block<1x128x128>, f32>,
                  %d: !qblock.tensor<8x300x192xi8, block<1x128x128>, f32>) -> tensor<?x300xf32> {
  %y = deepseek.experts %x, %ids, %weights, %g, %g, %d : (tensor<?x300xf32>, tensor<?x2xi32>, tensor<?x2xf32>,
    !qblock.tensor<8x192x300xi8, block<1x128x128>, f32>, !qblock.tensor<8x192x300xi8, block<1x128x128>, f32>, !qblock.tensor<8x300x192xi8, block<1x128x128>, f32>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// Different schemes stay two as well; floating-point weights of one type are joined.
// CHECK-LABEL: @forms
// CHECK-NOT: qblock.concat
// CHECK-COUNT-3: qblock.grouped_matmul
// CHECK: qblock.concat {{.*}} -> tensor<8x10x300xbf16>
// CHECK-COUNT-2: qblock.grouped_matmul
func.func @forms(%x: tensor<?x300xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %g: !gate, %u: tensor<8x256x300xbf16>, %d: !down,
                 %gf: tensor<8x5x300xbf16>, %df: tensor<8x300x5xbf16>) -> (tensor<?x300xf32>, tensor<?x300xf32>) {
  %y = deepseek.experts %x, %ids, %weights, %g, %u, %d : (tensor<?x300xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !gate, tensor<8x256x300xbf16>, !down) -> tensor<?x300xf32>
  %z = deepseek.experts %x, %ids, %weights, %gf, %gf, %df : (tensor<?x300xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x5x300xbf16>, tensor<8x5x300xbf16>, tensor<8x300x5xbf16>) -> tensor<?x300xf32>
  return %y, %z : tensor<?x300xf32>, tensor<?x300xf32>
}

// Columns in another order: of each slot's row in that of its expert. gate and up with one order stay one matmul.
// CHECK-LABEL: @ordered
// CHECK-SAME: %[[X:.*]]: tensor<?x300xf32>, %[[IDS:.*]]: tensor<?x2xi32>, %{{.*}}, %{{.*}}: !qblock.tensor<{{.*}}>, %{{.*}}: !qblock.tensor<{{.*}}>, %{{.*}}, %[[A:.*]]: tensor<8x1x300xi32>, %[[B:.*]]: tensor<8x1x300xi32>, %[[C:.*]]: tensor<8x1x256xi32>
func.func @ordered(%x: tensor<?x300xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %g: !gate, %u: !gate, %d: !down, %a: tensor<8x1x300xi32>,
                   %b: tensor<8x1x300xi32>, %c: tensor<8x1x256xi32>) -> (tensor<?x300xf32>, tensor<?x300xf32>) {
  // CHECK: %[[O:.*]], %[[R:.*]] = deepseek.moe_dispatch
  // CHECK: %[[Y:.*]] = qblock.gather_columns %[[X]] by %[[A]] of(%[[IDS]], %[[R]])
  // CHECK: %[[W:.*]] = qblock.concat
  // CHECK: qblock.grouped_matmul %[[Y]], %[[W]], %[[O]] : {{.*}} -> tensor<?x2x512xf32>
  // CHECK: %[[H:.*]] = deepseek.swiglu
  // CHECK: %[[Z:.*]] = qblock.gather_columns %[[H]] by %[[C]] of(%[[IDS]], %[[R]])
  // CHECK: qblock.grouped_matmul %[[Z]]
  %y = deepseek.experts %x, %ids, %weights, %g, %u, %d gate_order %a up_order %a down_order %c
    : (tensor<?x300xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !gate, !gate, !down, tensor<8x1x300xi32>, tensor<8x1x300xi32>, tensor<8x1x256xi32>) -> tensor<?x300xf32>
  // CHECK: qblock.gather_columns %[[X]] by %[[A]]
  // CHECK: qblock.grouped_matmul {{.*}} -> tensor<?x2x256xf32>
  // CHECK: qblock.gather_columns %[[X]] by %[[B]]
  // CHECK: qblock.grouped_matmul {{.*}} -> tensor<?x2x256xf32>
  // CHECK: %[[H:.*]] = deepseek.swiglu
  // CHECK: qblock.grouped_matmul %[[H]]
  %z = deepseek.experts %x, %ids, %weights, %g, %u, %d gate_order %a up_order %b
    : (tensor<?x300xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !gate, !gate, !down, tensor<8x1x300xi32>, tensor<8x1x300xi32>) -> tensor<?x300xf32>
  return %y, %z : tensor<?x300xf32>, tensor<?x300xf32>
}
