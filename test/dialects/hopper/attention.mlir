// Attention as in docs/hopper.md, then what it does not use.
// RUN: quant-opt %s --verify-roundtrip | FileCheck %s
// RUN: quant-opt %s --mlir-print-op-generic | quant-opt | FileCheck %s
// RUN: quant-opt %s --lower-hopper-to-nvvm | FileCheck %s --check-prefix=LOWERED

// LOWERED-NOT: hopper.
// LOWERED-NOT: unrealized_conversion_cast
// Positions, sequences and pages are no constants: kernels before may write them.
// LOWERED: llvm.func @mla_decode(
// LOWERED-NOT: llvm.noalias
// LOWERED-SAME: nvvm.maxntid = array<i32: 384, 1, 1>
// Nine panels of queries are multiplied by nine of keys, four steps each; then four steps of weights in registers by 256 columns.
// LOWERED-COUNT-36: nvvm.wgmma.mma_async {{.*}}<m = 64, n = 64, k = 16>, D[<f32>, {{.*}}], A[<bf16>, <one>, <row>], B[<bf16>, <one>, <col>]
// LOWERED: nvvm.wgmma.commit.group.sync.aligned
// LOWERED-COUNT-4: wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {{.*}}, p, 1, 1, 1;
// LOWERED: nvvm.wgmma.commit.group.sync.aligned
// LOWERED-NOT: hopper.
// LOWERED-NOT: unrealized_conversion_cast
// Numbers of named barriers begin behind those of the block and its two warpgroups.
// LOWERED: llvm.func @rest(
// LOWERED: nvvm.barrier.arrive id = %c4_i32
// LOWERED: nvvm.barrier id = %c3_i32
// LOWERED: nvvm.barrier id = %c4_i32

// CHECK-LABEL: hopper.kernel @mla_decode(
// CHECK: hopper.named_barrier : <256>
// CHECK: hopper.for_queries %{{.*}}, %{{.*}} of %{{.*}} heads 16 carry(
// CHECK: hopper.load_row_keys %{{.*}} row %{{.*}} until %{{.*}} heads 16 : <i32>
// CHECK: hopper.splat_rows %
// CHECK: hopper.tile_columns %{{.*}}[%{{.*}}] : <64x576xbf16, swizzle = 128> -> <64x256xbf16, swizzle = 128>
// CHECK: hopper.clear_rows %{{.*}} from %{{.*}} : <64x256xbf16, swizzle = 128>
// CHECK: hopper.sync %{{.*}} : <256>
// CHECK: hopper.softmax %{{.*}} max %{{.*}} sum %{{.*}} keys %{{.*}} first %{{.*}} scale 1.041000e-01 : <64, 64>, !hopper.row_scales
// CHECK: hopper.operand_of %{{.*}} : <64, 64> -> <64, 64>
// CHECK: hopper.scale_rows %{{.*}} by %{{.*}} : <64, 256>, !hopper.row_scales
// CHECK: hopper.wgmma %{{.*}}, %{{.*}} transposed into %{{.*}} : !hopper.fragment<64, 256> : !hopper.operand<64, 64>, <64x256xbf16, swizzle = 128> -> <64, 256>
// CHECK: hopper.softmax_end max %{{.*}} sum %{{.*}} : !hopper.row_scales
// CHECK: hopper.load_index %{{.*}}[%{{.*}}] : <i32>
!map = !hopper.tensor_map<64x64xbf16, swizzle = 128>
!block = !hopper.tile<64x576xbf16, swizzle = 128>
!half = !hopper.tile<64x256xbf16, swizzle = 128>
!out = !hopper.fragment<64, 256>
!rows = !hopper.row_scales

// o[T, 16, 512] = attention of q[T, 16, 576] over pages of 64 rows of latents and rope keys.
hopper.kernel @mla_decode(%q: !map, %cache: !map, %o: !hopper.tensor_map<64x64xbf16, swizzle = 128, ragged>,
                          %positions: !hopper.global<i32>, %sequences: !hopper.global<i32>, %pages: !hopper.global<i32>,
                          %tokens: i32) cluster 1 {
  hopper.launch_dependents
  %queries = hopper.ring arrivals 8 : !hopper.ring<1, <64x576xbf16, swizzle = 128>>
  %keys = hopper.ring arrivals 8 : !hopper.ring<2, <64x576xbf16, swizzle = 128>>
  %meeting = hopper.named_barrier : !hopper.named_barrier<256>
  hopper.warp_roles {
    role(2 warpgroups, 240 registers) (%w: i32) {  // math: half of the result's columns each
      hopper.wait_prerequisites
      %zero = arith.constant 0 : i32
      %one = arith.constant 1 : i32
      %c63 = arith.constant 63 : i32
      %c64 = arith.constant 64 : i32
      %c256 = arith.constant 256 : i32
      %least = arith.constant -1.0e30 : f32
      %nothing = arith.constant 0.0 : f32
      %my_column = arith.muli %w, %c256 : i32
      %first = hopper.first_slot
      %end:2 = hopper.for_queries %positions, %sequences of %tokens heads 16 carry(%first, %first : !hopper.slot, !hopper.slot)
        -> !hopper.slot, !hopper.slot : !hopper.global<i32>, !hopper.global<i32> {
      ^bb0(%row: i32, %until: i32, %sequence: i32, %count: i32, %part: i32, %query_slot: !hopper.slot, %key_slot: !hopper.slot):
        %next_query, %next_key = hopper.consume %queries[%query_slot] : !hopper.ring<1, <64x576xbf16, swizzle = 128>> -> !hopper.slot {
        ^bb0(%tq: !block):
          %row_keys = hopper.load_row_keys %positions row %row until %until heads 16 : !hopper.global<i32>
          %max0 = hopper.splat_rows %least
          %sum0 = hopper.splat_rows %nothing
          %o0 = hopper.zero : !out
          %up = arith.addi %count, %c63 : i32
          %blocks = arith.divui %up, %c64 : i32
          %after, %max, %sum, %total = scf.for %block = %zero to %blocks step %one
            iter_args(%slot = %key_slot, %m = %max0, %l = %sum0, %acc = %o0) -> (!hopper.slot, !rows, !rows, !out) : i32 {
            %key = arith.muli %block, %c64 : i32
            %next, %new_m, %new_l, %new = hopper.consume %keys[%slot] : !hopper.ring<2, <64x576xbf16, swizzle = 128>> -> !rows, !rows, !out {
            ^bb0(%tk: !block):
              %values = hopper.tile_columns %tk[%my_column] : !block -> !half
              %left = arith.subi %count, %key : i32
              %is_last = arith.cmpi slt, %left, %c64 : i32
              scf.if %is_last {
                hopper.clear_rows %values from %left : !half
                hopper.sync %meeting : !hopper.named_barrier<256>
              }
              %s = hopper.wgmma %tq, %tk : !block, !block -> !hopper.accumulator<64, 64>
              %scores = hopper.wgmma_wait %s : !hopper.accumulator<64, 64> -> !hopper.fragment<64, 64>
              %weights, %m1, %l1, %factor = hopper.softmax %scores max %m sum %l keys %row_keys first %key scale 0.1041
                : !hopper.fragment<64, 64>, !rows
              %p = hopper.operand_of %weights : !hopper.fragment<64, 64> -> !hopper.operand<64, 64>
              %scaled = hopper.scale_rows %acc by %factor : !out, !rows
              %pv = hopper.wgmma %p, %values transposed into %scaled : !out : !hopper.operand<64, 64>, !half -> !hopper.accumulator<64, 256>
              %more = hopper.wgmma_wait %pv : !hopper.accumulator<64, 256> -> !out
              hopper.yield %m1, %l1, %more : !rows, !rows, !out
            }
            scf.yield %next, %new_m, %new_l, %new : !hopper.slot, !rows, !rows, !out
          }
          %inverse, %lse = hopper.softmax_end max %max sum %sum : !rows
          %result = hopper.scale_rows %total by %inverse : !out, !rows
          hopper.sync %meeting : !hopper.named_barrier<256>  // no one multiplies by the queries any more: their tile stages the result
          %mine = hopper.tile_columns %tq[%my_column] : !block -> !half
          hopper.store_tile %result follows by %mine to %o[%row, %my_column] until %until
            : !out, !half, !hopper.tensor_map<64x64xbf16, swizzle = 128, ragged>
          hopper.wait_stores
          hopper.yield %after : !hopper.slot
        }
        hopper.yield %next_query, %next_key : !hopper.slot, !hopper.slot
      }
    }
    role(1 warpgroups, 24 registers) (%w: i32) {  // load
      hopper.one_thread {
        hopper.wait_prerequisites
        %zero = arith.constant 0 : i32
        %one = arith.constant 1 : i32
        %c63 = arith.constant 63 : i32
        %c64 = arith.constant 64 : i32
        %columns = arith.constant 40 : i32
        %first = hopper.first_slot
        %end:2 = hopper.for_queries %positions, %sequences of %tokens heads 16 carry(%first, %first : !hopper.slot, !hopper.slot)
          -> !hopper.slot, !hopper.slot : !hopper.global<i32>, !hopper.global<i32> {
        ^bb0(%row: i32, %until: i32, %sequence: i32, %count: i32, %part: i32, %query_slot: !hopper.slot, %key_slot: !hopper.slot):
          %next_query = hopper.produce %queries[%query_slot] : !hopper.ring<1, <64x576xbf16, swizzle = 128>> {
          ^bb0(%tq: !block):
            hopper.tma_load %q[%row, %zero] to %tq : !map to !block
          }
          %table = arith.muli %sequence, %columns : i32
          %up = arith.addi %count, %c63 : i32
          %blocks = arith.divui %up, %c64 : i32
          %after = scf.for %block = %zero to %blocks step %one iter_args(%slot = %key_slot) -> (!hopper.slot) : i32 {
            %index = arith.addi %table, %block : i32
            %page = hopper.load_index %pages[%index] : !hopper.global<i32>
            %cache_row = arith.muli %page, %c64 : i32
            %next = hopper.produce %keys[%slot] : !hopper.ring<2, <64x576xbf16, swizzle = 128>> {
            ^bb0(%tk: !block):
              hopper.tma_load %cache[%cache_row, %zero] to %tk : !map to !block
            }
            scf.yield %next : !hopper.slot
          }
          hopper.yield %next_query, %after : !hopper.slot, !hopper.slot
        }
      }
    }
  }
}

!v = !hopper.tile<64x64xbf16, swizzle = 128>

// CHECK-LABEL: hopper.kernel @rest(
hopper.kernel @rest(%list: !hopper.global<i32>, %to: !hopper.global<f32>, %n: i32) cluster 1 {
  %v = hopper.alloc : !v
  %unused = hopper.named_barrier : !hopper.named_barrier<128>
  %ready = hopper.named_barrier : !hopper.named_barrier<256>
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      // CHECK: hopper.arrive %{{.*}} : <256>
      hopper.arrive %ready : !hopper.named_barrier<256>
    }
    role(1 warpgroups) (%w: i32) {
      hopper.sync %unused : !hopper.named_barrier<128>
      hopper.sync %ready : !hopper.named_barrier<256>
      %zero = hopper.zero : !hopper.fragment<64, 64>
      %p = hopper.operand_of %zero : !hopper.fragment<64, 64> -> !hopper.operand<64, 64>
      // Two products in one sum, of which the first is not waited for; then another that may still run.
      // CHECK: hopper.wgmma %{{.*}}, %{{.*}} transposed : !hopper.operand<64, 64>, <64x64xbf16, swizzle = 128> -> <64, 64>
      %first = hopper.wgmma %p, %v transposed : !hopper.operand<64, 64>, !v -> !hopper.accumulator<64, 64>
      // CHECK: hopper.wgmma %{{.*}}, %{{.*}} into %{{.*}} : !hopper.accumulator<64, 64> : !hopper.operand<64, 64>
      %both = hopper.wgmma %p, %v into %first : !hopper.accumulator<64, 64> : !hopper.operand<64, 64>, !v -> !hopper.accumulator<64, 64>
      %other = hopper.wgmma %v, %v : !v, !v -> !hopper.accumulator<64, 64>
      // CHECK: hopper.wgmma_wait %{{.*}} pending 1 : <64, 64> -> <64, 64>
      // LOWERED: wgmma.wait_group.sync.aligned 1;
      %sum = hopper.wgmma_wait %both pending 1 : !hopper.accumulator<64, 64> -> !hopper.fragment<64, 64>
      // LOWERED: wgmma.wait_group.sync.aligned 0;
      %last = hopper.wgmma_wait %other : !hopper.accumulator<64, 64> -> !hopper.fragment<64, 64>
      // A part of the keys, whose result leaves in f32.
      // CHECK: hopper.for_queries %{{.*}}, %{{.*}} of %{{.*}} heads 128 parts 8 : <i32>, <i32> {
      hopper.for_queries %list, %list of %n heads 128 parts 8 : !hopper.global<i32>, !hopper.global<i32> {
      ^bb0(%row: i32, %until: i32, %sequence: i32, %keys: i32, %part: i32):
        // CHECK: hopper.store_rows %{{.*}} to %{{.*}}[%{{.*}}, %{{.*}}] of 512 row %{{.*}} until %{{.*}} : <64, 64>, <f32>
        // LOWERED-COUNT-16: llvm.store %{{.*}}, %{{.*}} {alignment = 8 : i64} : vector<2xf32>, !llvm.ptr<1>
        hopper.store_rows %last to %to[%row, %part] of 512 row %row until %until : !hopper.fragment<64, 64>, !hopper.global<f32>
        hopper.yield
      }
    }
  }
}
