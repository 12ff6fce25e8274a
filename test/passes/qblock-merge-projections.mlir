// RUN: quant-opt %s --qblock-merge-projections | FileCheck %s

// CHECK-LABEL: @gate_up
// CHECK-SAME: %[[X:.*]]: tensor<?x300xf32>, %[[G:.*]]: !qblock.tensor<{{.*}}>, %[[U:.*]]: !qblock
func.func @gate_up(%x: tensor<?x300xf32>, %g: !qblock.tensor<256x300xi8, block<128x128>, f32>, %u: !qblock.tensor<256x300xi8, block<128x128>, f32>)
    -> tensor<?x256xf32> {
  // CHECK: %[[W:.*]] = qblock.concat %[[G]], %[[U]] : {{.*}} -> !qblock.tensor<512x300xi8, block<128x128>, f32>
  // CHECK: %[[Y:.*]] = qblock.matmul %[[X]], %[[W]] : {{.*}} -> tensor<?x512xf32>
  // CHECK: %[[A:.*]] = tensor.extract_slice %[[Y]][0, 0] [%{{.*}}, 256] [1, 1]
  // CHECK: %[[B:.*]] = tensor.extract_slice %[[Y]][0, 256] [%{{.*}}, 256] [1, 1]
  // CHECK: deepseek.swiglu %[[A]], %[[B]]
  %0 = qblock.matmul %x, %g : (tensor<?x300xf32>, !qblock.tensor<256x300xi8, block<128x128>, f32>) -> tensor<?x256xf32>
  %1 = qblock.matmul %x, %u : (tensor<?x300xf32>, !qblock.tensor<256x300xi8, block<128x128>, f32>) -> tensor<?x256xf32>
  %2 = deepseek.swiglu %0, %1 : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32>
  return %2 : tensor<?x256xf32>
}

// The one whose rows end inside a block (576 = 4.5 blocks) goes last, wherever it stands.
// CHECK-LABEL: @kv_a_before_q_a
// CHECK-SAME: %[[X:.*]]: tensor<?x300xf32>, %[[KV:.*]]: !qblock.tensor<576{{.*}}>, %[[Q:.*]]: !qblock.tensor<256
func.func @kv_a_before_q_a(%x: tensor<?x300xf32>, %kv_a: !qblock.tensor<576x300xi8, block<128x128>, f32>, %q_a: !qblock.tensor<256x300xi8, block<128x128>, f32>)
    -> (tensor<?x576xf32>, tensor<?x256xf32>) {
  // CHECK: qblock.concat %[[Q]], %[[KV]] : {{.*}} -> !qblock.tensor<832x300xi8, block<128x128>, f32>
  // CHECK: %[[A:.*]] = tensor.extract_slice %{{.*}}[0, 0] [%{{.*}}, 256]
  // CHECK: %[[B:.*]] = tensor.extract_slice %{{.*}}[0, 256] [%{{.*}}, 576]
  // CHECK: return %[[B]], %[[A]]
  %0 = qblock.matmul %x, %kv_a : (tensor<?x300xf32>, !qblock.tensor<576x300xi8, block<128x128>, f32>) -> tensor<?x576xf32>
  %1 = qblock.matmul %x, %q_a : (tensor<?x300xf32>, !qblock.tensor<256x300xi8, block<128x128>, f32>) -> tensor<?x256xf32>
  return %0, %1 : tensor<?x576xf32>, tensor<?x256xf32>
}

// Weights that are read between the matmuls move up.
// CHECK-LABEL: @weights_move_up
// CHECK: program.weight "u"
// CHECK: program.weight "us"
// CHECK: qblock.assemble
// CHECK: qblock.concat
// CHECK: qblock.matmul
// CHECK: deepseek.swiglu
func.func @weights_move_up(%x: tensor<?x128xf32>, %g: !qblock.tensor<128x128xi8, block<128x128>, f32>) -> tensor<?x128xf32> {
  %0 = qblock.matmul %x, %g : (tensor<?x128xf32>, !qblock.tensor<128x128xi8, block<128x128>, f32>) -> tensor<?x128xf32>
  %a = deepseek.swiglu %0, %0 : (tensor<?x128xf32>, tensor<?x128xf32>) -> tensor<?x128xf32>
  %d = program.weight "u" : tensor<128x128xi8>
  %s = program.weight "us" : tensor<1x1xf32>
  %u = qblock.assemble %d, %s : (tensor<128x128xi8>, tensor<1x1xf32>) -> !qblock.tensor<128x128xi8, block<128x128>, f32>
  %1 = qblock.matmul %x, %u : (tensor<?x128xf32>, !qblock.tensor<128x128xi8, block<128x128>, f32>) -> tensor<?x128xf32>
  %2 = deepseek.swiglu %a, %1 : (tensor<?x128xf32>, tensor<?x128xf32>) -> tensor<?x128xf32>
  return %2 : tensor<?x128xf32>
}

// Three of one scheme and one of another: the three are joined.
// CHECK-LABEL: @three_and_one
// CHECK: qblock.concat %{{.*}}, %{{.*}}, %{{.*}} : (tensor<5x8xbf16>, tensor<6x8xbf16>, tensor<5x8xbf16>) -> tensor<16x8xbf16>
// CHECK-COUNT-2: qblock.matmul
// CHECK-NOT: qblock.matmul
func.func @three_and_one(%x: tensor<?x8xf32>, %a: tensor<5x8xbf16>, %b: tensor<6x8xbf16>, %c: tensor<4x8xf32>)
    -> (tensor<?x5xf32>, tensor<?x6xf32>, tensor<?x4xf32>, tensor<?x5xf32>) {
  %0 = qblock.matmul %x, %a : (tensor<?x8xf32>, tensor<5x8xbf16>) -> tensor<?x5xf32>
  %1 = qblock.matmul %x, %b : (tensor<?x8xf32>, tensor<6x8xbf16>) -> tensor<?x6xf32>
  %2 = qblock.matmul %x, %c : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %3 = qblock.matmul %x, %a : (tensor<?x8xf32>, tensor<5x8xbf16>) -> tensor<?x5xf32>
  return %0, %1, %2, %3 : tensor<?x5xf32>, tensor<?x6xf32>, tensor<?x4xf32>, tensor<?x5xf32>
}
