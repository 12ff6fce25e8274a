// RUN: quant-opt %s --program-plan-memory=max-tokens=4 | FileCheck %s --check-prefixes=CHECK,SMALL
// RUN: quant-opt %s --program-plan-memory=max-tokens=8 | FileCheck %s --check-prefixes=CHECK,LARGE

// A chain x -> a -> b -> c -> result of 16 columns, 256 bytes each at 4 tokens: a and c never live together and share a place.
// CHECK-LABEL: @forward
// SMALL-SAME: program.max_tokens = 4 : i64, program.workspace_bytes = 768 : i64
// LARGE-SAME: program.max_tokens = 8 : i64, program.workspace_bytes = 1536 : i64
func.func @forward(%x: tensor<?x16xf32> {program.dim = #program.dim<tokens>}) -> tensor<?x16xf32> {
  // `b2`, twice as wide, is placed first, at 0; `a` beside it; `c` takes the place of `a`.
  // SMALL: "a" {placement = array<i64: 512>}
  // LARGE: "a" {placement = array<i64: 1024>}
  %a = program.dispatch @k16(%x) "a" : (tensor<?x16xf32>) -> tensor<?x16xf32>
  // CHECK: "b2" {placement = array<i64: 0>}
  %b = program.dispatch @k32(%a) "b2" : (tensor<?x16xf32>) -> tensor<?x32xf32>
  // SMALL: "c" {placement = array<i64: 512>}
  // LARGE: "c" {placement = array<i64: 1024>}
  %c = program.dispatch @k32to16(%b) "c" : (tensor<?x32xf32>) -> tensor<?x16xf32>
  // What nobody reads has a place while its dispatch runs, and may take that of a dead value.
  // SMALL: "unread" {placement = array<i64: 0>}
  %unread = program.dispatch @k16(%c) "unread" : (tensor<?x16xf32>) -> tensor<?x16xf32>
  // The caller owns what is returned.
  // CHECK: "result" {placement = array<i64: -1>}
  %r = program.dispatch @k16(%c) "result" : (tensor<?x16xf32>) -> tensor<?x16xf32>
  return %r : tensor<?x16xf32>
}

// RUN: quant-opt %S/Inputs/k_major_scales.mlir --program-plan-memory=max-tokens=5 | FileCheck %s --check-prefix=KMAJOR
// Scales of 5 rows that lie group by group have room for 8 in each of 20 groups: 640 bytes, not 400.
// KMAJOR: program.workspace_bytes = 640 : i64

func.func private @k16(tensor<?x16xf32>) -> tensor<?x16xf32>
func.func private @k32(tensor<?x16xf32>) -> tensor<?x32xf32>
func.func private @k32to16(tensor<?x32xf32>) -> tensor<?x16xf32>
