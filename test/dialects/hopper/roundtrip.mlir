// The whole FP8 GEMM as in docs/hopper.md, then what it does not use.
// RUN: quant-opt %s -split-input-file --verify-roundtrip | FileCheck %s
// RUN: quant-opt %s -split-input-file --mlir-print-op-generic | quant-opt -split-input-file | FileCheck %s
// RUN: quant-opt %s -split-input-file --lower-hopper-to-nvvm | FileCheck %s --check-prefix=LOWERED

// Everything is lowered, nothing is left to cast.
// LOWERED-NOT: hopper.
// LOWERED-NOT: unrealized_conversion_cast
// LOWERED: llvm.func @gemm({{.*}}nvvm.grid_constant{{.*}} attributes {{.*}}nvvm.maxntid = array<i32: 384, 1, 1>
// LOWERED-NOT: hopper.
// LOWERED: llvm.func @rest({{.*}} attributes {{.*}}nvvm.cluster_dim = array<i32: 2, 1, 1>{{.*}}nvvm.maxntid = array<i32: 256, 1, 1>
// LOWERED-NOT: hopper.
// LOWERED-NOT: unrealized_conversion_cast

// CHECK-LABEL: hopper.kernel @gemm(
// CHECK: hopper.launch_dependents
// CHECK: hopper.alloc : <2x64x128xbf16, swizzle = 128>
// CHECK: role(2 warpgroups, 232 registers)
// CHECK: hopper.for_tiles %{{.*}} x 7168 tile [128, 128] group 16
// CHECK: hopper.consume
// CHECK: hopper.wgmma %{{.*}}, %{{.*}} : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, <128x128xf8E4M3FN, swizzle = 128> -> <64, 128>
// CHECK: hopper.store_tile
// CHECK: role(1 warpgroups, 40 registers)
// CHECK: hopper.for_tiles {{.*}} only "first" carry
// CHECK: hopper.produce begin
// CHECK: hopper.wait_prerequisites
// CHECK: hopper.produce finish
// CHECK: hopper.for_tiles {{.*}} only "rest" carry
// CHECK: hopper.produce %
// CHECK-COUNT-3: hopper.tma_load
!a = !hopper.tile<2x64x128xf8E4M3FN, swizzle = 128>
!b = !hopper.tile<128x128xf8E4M3FN, swizzle = 128>
!ring = !hopper.ring<5, <2x64x128xf8E4M3FN, swizzle = 128>, <128x128xf8E4M3FN, swizzle = 128>, <1x128xf32>>
!sum = !hopper.fragment<64, 128>

// D[M, 7168] = A[M, 2048] * B[7168, 2048]^T, block-scaled, 128 x 128 tiles, 5 stages.
hopper.kernel @gemm(%a: !hopper.tensor_map<128x128xf8E4M3FN, swizzle = 128>, %scale_a: !hopper.tensor_map<1x128xf32>,
                    %b: !hopper.tensor_map<128x128xf8E4M3FN, swizzle = 128>, %d: !hopper.tensor_map<64x64xbf16, swizzle = 128>,
                    %scale_b: !hopper.global<f32>, %m: i32) cluster 1 {
  hopper.launch_dependents
  %staging = hopper.alloc : !hopper.tile<2x64x128xbf16, swizzle = 128>
  %ring = hopper.ring arrivals 8 : !ring
  hopper.warp_roles {
    role(2 warpgroups, 232 registers) (%w: i32) {  // math: 64 rows of the tile each
      hopper.wait_prerequisites
      %zero = arith.constant 0 : i32
      %one = arith.constant 1 : i32
      %blocks = arith.constant 16 : i32
      %c7 = arith.constant 7 : i32
      %c64 = arith.constant 64 : i32
      %my_row = arith.muli %w, %c64 : i32
      %first = hopper.first_slot
      %end = hopper.for_tiles %m x 7168 tile [128, 128] group 16 carry(%first : !hopper.slot) -> !hopper.slot {
      ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %start: !hopper.slot):
        %n_block = arith.shrui %n0, %c7 : i32
        %scale_row = arith.muli %n_block, %blocks : i32
        %nothing = hopper.zero : !sum
        %after, %total = scf.for %k = %zero to %blocks step %one iter_args(%slot = %start, %sum = %nothing) -> (!hopper.slot, !sum) : i32 {
          %at = arith.addi %scale_row, %k : i32
          %sb = hopper.load_block_scale %scale_b[%at] : !hopper.global<f32>
          %next, %products, %sa = hopper.consume %ring[%slot] : !ring -> !sum, !hopper.row_scales {
          ^bb0(%ta: !a, %tb: !b, %ts: !hopper.tile<1x128xf32>):
            %scales = hopper.load_row_scales %ts[%my_row] : !hopper.tile<1x128xf32>
            %mine = hopper.tile_at %ta[%w] : !a -> !hopper.tile<64x128xf8E4M3FN, swizzle = 128>
            %acc = hopper.wgmma %mine, %tb : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !b -> !hopper.accumulator<64, 128>
            %done = hopper.wgmma_wait %acc : !hopper.accumulator<64, 128> -> !sum
            hopper.yield %done, %scales : !sum, !hopper.row_scales
          }
          %more = hopper.promote %products into %sum rows %sa columns %sb : !sum, !hopper.row_scales, f32
          scf.yield %next, %more : !hopper.slot, !sum
        } {hopper.unroll = 4 : i64}
        %row = arith.addi %m0, %my_row : i32
        %place = hopper.tile_at %staging[%w] : !hopper.tile<2x64x128xbf16, swizzle = 128> -> !hopper.tile<64x128xbf16, swizzle = 128>
        hopper.store_tile %total by %place to %d[%row, %n0]
          : !sum, !hopper.tile<64x128xbf16, swizzle = 128>, !hopper.tensor_map<64x64xbf16, swizzle = 128>
        hopper.yield %after : !hopper.slot
      }
      hopper.wait_stores
    }
    role(1 warpgroups, 40 registers) (%w: i32) {  // load: one thread issues all of TMA
      hopper.one_thread {
        %zero = arith.constant 0 : i32
        %one = arith.constant 1 : i32
        %stages = arith.constant 5 : i32
        %blocks = arith.constant 16 : i32
        %c128 = arith.constant 128 : i32
        %first = hopper.first_slot
        // The weight's part of the first stages, while the kernel before may still run; what that one writes, after it.
        %begun = hopper.for_tiles %m x 7168 tile [128, 128] group 16 only "first" carry(%first : !hopper.slot) -> !hopper.slot {
        ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %start: !hopper.slot):
          %after = scf.for %k = %zero to %stages step %one iter_args(%slot = %start) -> (!hopper.slot) : i32 {
            %k0 = arith.muli %k, %c128 : i32
            %next = hopper.produce begin %ring[%slot] : !ring {
            ^bb0(%ta: !a, %tb: !b, %ts: !hopper.tile<1x128xf32>):
              hopper.tma_load %b[%n0, %k0] to %tb : !hopper.tensor_map<128x128xf8E4M3FN, swizzle = 128> to !b
            }
            scf.yield %next : !hopper.slot
          }
          hopper.yield %after : !hopper.slot
        }
        hopper.wait_prerequisites
        %second = hopper.for_tiles %m x 7168 tile [128, 128] group 16 only "first" carry(%first : !hopper.slot) -> !hopper.slot {
        ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %start: !hopper.slot):
          %middle = scf.for %k = %zero to %stages step %one iter_args(%slot = %start) -> (!hopper.slot) : i32 {
            %k0 = arith.muli %k, %c128 : i32
            %next = hopper.produce finish %ring[%slot] : !ring {
            ^bb0(%ta: !a, %tb: !b, %ts: !hopper.tile<1x128xf32>):
              hopper.tma_load %a[%m0, %k0] to %ta : !hopper.tensor_map<128x128xf8E4M3FN, swizzle = 128> to !a
              hopper.tma_load %scale_a[%k, %m0] to %ts : !hopper.tensor_map<1x128xf32> to !hopper.tile<1x128xf32>
            }
            scf.yield %next : !hopper.slot
          }
          %after = scf.for %k = %stages to %blocks step %one iter_args(%slot = %middle) -> (!hopper.slot) : i32 {
            %k0 = arith.muli %k, %c128 : i32
            %next = hopper.produce %ring[%slot] : !ring {
            ^bb0(%ta: !a, %tb: !b, %ts: !hopper.tile<1x128xf32>):
              hopper.tma_load %a[%m0, %k0] to %ta : !hopper.tensor_map<128x128xf8E4M3FN, swizzle = 128> to !a
              hopper.tma_load %scale_a[%k, %m0] to %ts : !hopper.tensor_map<1x128xf32> to !hopper.tile<1x128xf32>
              hopper.tma_load %b[%n0, %k0] to %tb : !hopper.tensor_map<128x128xf8E4M3FN, swizzle = 128> to !b
            }
            scf.yield %next : !hopper.slot
          }
          hopper.yield %after : !hopper.slot
        }
        %end = hopper.for_tiles %m x 7168 tile [128, 128] group 16 only "rest" carry(%second : !hopper.slot) -> !hopper.slot {
        ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %start: !hopper.slot):
          %after = scf.for %k = %zero to %blocks step %one iter_args(%slot = %start) -> (!hopper.slot) : i32 {
            %k0 = arith.muli %k, %c128 : i32
            %next = hopper.produce %ring[%slot] : !ring {
            ^bb0(%ta: !a, %tb: !b, %ts: !hopper.tile<1x128xf32>):
              hopper.tma_load %a[%m0, %k0] to %ta : !hopper.tensor_map<128x128xf8E4M3FN, swizzle = 128> to !a
              hopper.tma_load %scale_a[%k, %m0] to %ts : !hopper.tensor_map<1x128xf32> to !hopper.tile<1x128xf32>
              hopper.tma_load %b[%n0, %k0] to %tb : !hopper.tensor_map<128x128xf8E4M3FN, swizzle = 128> to !b
            }
            scf.yield %next : !hopper.slot
          }
          hopper.yield %after : !hopper.slot
        }
      }
    }
  }
}

// What the GEMM above does not use.
!half = !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128>
!pieces = !hopper.tile<2x64x128xf8E4M3FN, swizzle = 128>
!tokens = !hopper.tile<16x128xf8E4M3FN, swizzle = 128>

// CHECK-LABEL: hopper.kernel @rest(
// CHECK-SAME: cluster 2
hopper.kernel @rest(%map: !half, %x: !hopper.tensor_map<16x128xf8E4M3FN, swizzle = 128>, %sx: !hopper.tensor_map<1x16xf32>,
                    %d: !hopper.tensor_map<16x32xf32, swizzle = 128>, %bias: !hopper.global<f32>, %workspace: !hopper.global<f32>,
                    %counters: !hopper.global<i32>, %n: i32) cluster 2 {
  %staging = hopper.alloc : !hopper.tile<16x64xf32, swizzle = 128>
  %flag = hopper.alloc : !hopper.tile<1x1xi32>
  // CHECK: hopper.launch_dependents
  hopper.launch_dependents
  // CHECK: hopper.ring arrivals 8 : <3 shared by 2, <2x64x128xf8E4M3FN, swizzle = 128>, <16x128xf8E4M3FN, swizzle = 128>, <1x16xf32>>
  %ring = hopper.ring arrivals 8 : !hopper.ring<3 shared by 2, <2x64x128xf8E4M3FN, swizzle = 128>, <16x128xf8E4M3FN, swizzle = 128>, <1x16xf32>>
  // CHECK: role(1 warpgroups) (%{{.*}}: i32) {
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      %first = hopper.first_slot
      // CHECK: hopper.for_tiles %{{.*}} x 576 tile [128, 64] group 8 parts 4 pairs "rows" carry(%{{.*}} : !hopper.slot) -> !hopper.slot
      %end = hopper.for_tiles %n x 576 tile [128, 64] group 8 parts 4 pairs "rows" carry(%first : !hopper.slot) -> !hopper.slot {
      ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %slot: !hopper.slot):
        %scale = hopper.load_block_scale %bias[%tile] : !hopper.global<f32>
        %zero = hopper.zero : !hopper.fragment<64, 16>
        %next, %sum = hopper.consume %ring[%slot] : !hopper.ring<3 shared by 2, <2x64x128xf8E4M3FN, swizzle = 128>, <16x128xf8E4M3FN, swizzle = 128>, <1x16xf32>> -> !hopper.fragment<64, 16> {
        ^bb0(%tw: !pieces, %tx: !tokens, %ts: !hopper.tile<1x16xf32>):
          // CHECK: hopper.load_column_scales %{{.*}} : <1x16xf32> -> <16>
          %scales = hopper.load_column_scales %ts : !hopper.tile<1x16xf32> -> !hopper.column_scales<16>
          %mine = hopper.tile_at %tw[%w] : !pieces -> !hopper.tile<64x128xf8E4M3FN, swizzle = 128>
          %acc = hopper.wgmma %mine, %tx : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !tokens -> !hopper.accumulator<64, 16>
          %products = hopper.wgmma_wait %acc : !hopper.accumulator<64, 16> -> !hopper.fragment<64, 16>
          // CHECK: hopper.promote %{{.*}} into %{{.*}} rows %{{.*}} columns %{{.*}} : <64, 16>, f32, !hopper.column_scales<16>
          %promoted = hopper.promote %products into %zero rows %scale columns %scales : !hopper.fragment<64, 16>, f32, !hopper.column_scales<16>
          // CHECK: hopper.wgmma %{{.*}}, %{{.*}} over %{{.*}} : !hopper.fragment<64, 16> : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, <16x128xf8E4M3FN, swizzle = 128> -> <64, 16>
          %second = hopper.wgmma %mine, %tx over %products : !hopper.fragment<64, 16> : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !tokens -> !hopper.accumulator<64, 16>
          hopper.yield %promoted : !hopper.fragment<64, 16>
        }
        // CHECK: hopper.combine_parts %{{.*}} part %{{.*}} of 4 fragment %{{.*}} in %{{.*}}, %{{.*}} flag %{{.*}} : <64, 16>, <f32>, <i32>, <1x1xi32>
        %last, %total = hopper.combine_parts %sum part %part of 4 fragment %tile in %workspace, %counters flag %flag
          : !hopper.fragment<64, 16>, !hopper.global<f32>, !hopper.global<i32>, !hopper.tile<1x1xi32>
        scf.if %last {
          // CHECK: hopper.add_bias %{{.*}}, %{{.*}}[%{{.*}}] of 576 rows : <64, 16>, <f32>
          %biased = hopper.add_bias %total, %bias[%n0] of 576 rows : !hopper.fragment<64, 16>, !hopper.global<f32>
          // CHECK: hopper.store_tile %{{.*}} transposed by %{{.*}} add to %{{.*}}[%{{.*}}, %{{.*}}] :
          hopper.store_tile %biased transposed by %staging add to %d[%m0, %n0]
            : !hopper.fragment<64, 16>, !hopper.tile<16x64xf32, swizzle = 128>, !hopper.tensor_map<16x32xf32, swizzle = 128>
        }
        hopper.yield %next : !hopper.slot
      }
      hopper.wait_stores
    }
    role(1 warpgroups) (%w: i32) {
      hopper.one_thread {
        // CHECK: hopper.wait_prerequisites
        hopper.wait_prerequisites
        %first = hopper.first_slot
        %end = hopper.for_tiles %n x 576 tile [128, 64] group 8 parts 4 pairs "rows" carry(%first : !hopper.slot) -> !hopper.slot {
        ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %slot: !hopper.slot):
          %next = hopper.produce %ring[%slot] : !hopper.ring<3 shared by 2, <2x64x128xf8E4M3FN, swizzle = 128>, <16x128xf8E4M3FN, swizzle = 128>, <1x16xf32>> {
          ^bb0(%tw: !pieces, %tx: !tokens, %ts: !hopper.tile<1x16xf32>):
            // CHECK: hopper.tma_load %{{.*}}[%{{.*}}, %{{.*}}] to %{{.*}} multicast %{{.*}} : <64x128xf8E4M3FN, swizzle = 128> to <2x64x128xf8E4M3FN, swizzle = 128>
            hopper.tma_load %map[%n0, %part] to %tw multicast %n : !half to !pieces
            hopper.tma_load %x[%m0, %part] to %tx : !hopper.tensor_map<16x128xf8E4M3FN, swizzle = 128> to !tokens
            hopper.tma_load %sx[%part, %m0] to %ts : !hopper.tensor_map<1x16xf32> to !hopper.tile<1x16xf32>
          }
          hopper.yield %next : !hopper.slot
        }
      }
    }
  }
}
