// RUN: quant-opt %s --canonicalize --cse | FileCheck %s

// CHECK-LABEL: @forward
func.func @forward(%x: tensor<?x40xf32>, %y: tensor<?x40xf32>) -> (tensor<64xbf16>, tensor<64xbf16>) {
  // One weight read twice is one; one that nobody reads goes.
  // CHECK-NOT: unread
  // CHECK-COUNT-1: program.weight "model.norm.weight"
  %unread = program.weight "unread" : tensor<4xf32>
  %a = program.weight "model.norm.weight" : tensor<64xbf16>
  %b = program.weight "model.norm.weight" : tensor<64xbf16>
  %kv = program.cache "kv.0" : memref<?x40xf32>
  // A dispatch that touches a cache stays, and stays twice; one that does not, and whose result nobody reads, goes.
  // CHECK: program.dispatch @append
  // CHECK-NEXT: program.dispatch @append
  // CHECK-NEXT: return
  program.dispatch @append(%kv, %x) "" : (memref<?x40xf32>, tensor<?x40xf32>) -> ()
  program.dispatch @append(%kv, %x) "" : (memref<?x40xf32>, tensor<?x40xf32>) -> ()
  %z = program.dispatch @norm(%x) "" : (tensor<?x40xf32>) -> tensor<?x40xf32>
  return %a, %b : tensor<64xbf16>, tensor<64xbf16>
}
func.func private @append(memref<?x40xf32>, tensor<?x40xf32>)
func.func private @norm(tensor<?x40xf32>) -> tensor<?x40xf32>
