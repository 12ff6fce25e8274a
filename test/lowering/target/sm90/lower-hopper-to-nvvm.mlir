// How tiles, rings and roles are written out. The whole GEMM is lowered in test/dialects/hopper/roundtrip.mlir.
// RUN: quant-opt %s --lower-hopper-to-nvvm | FileCheck %s

!ring = !hopper.ring<4, <64x128xf8E4M3FN, swizzle = 128>, <64x128xf8E4M3FN, swizzle = 128>>
!tile = !hopper.tile<64x128xf8E4M3FN, swizzle = 128>

// CHECK: llvm.mlir.global external @dynamic_shared_memory() {addr_space = 3 : i32, alignment = 1024 : i64}
// CHECK-LABEL: llvm.func @kernel(
// CHECK-SAME: !llvm.ptr {llvm.align = 64 : i64, llvm.byval = !llvm.array<128 x i8>, nvvm.grid_constant}
// CHECK-SAME: !llvm.ptr<1> {llvm.noalias}
hopper.kernel @kernel(%map: !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128>, %scales: !hopper.global<f32>,
                      %d: !hopper.tensor_map<64x64xbf16, swizzle = 128>, %m: i32) cluster 1 {
  %staging = hopper.alloc : !hopper.tile<64x64xbf16, swizzle = 128>
  %ring = hopper.ring arrivals 4 : !ring
  // CHECK: nvvm.griddepcontrol launch_dependents
  hopper.launch_dependents
  // One lane sets up what all use: 4 full barriers of one arrival, 4 empty ones of one for each math warp.
  // CHECK: nvvm.elect.sync
  // CHECK-COUNT-8: nvvm.mbarrier.init
  // CHECK: nvvm.fence.mbarrier.init
  // CHECK: nvvm.barrier
  hopper.warp_roles {
    // CHECK: scf.if
    role(1 warpgroups, 208 registers) (%w: i32) {
      // CHECK: nvvm.setmaxregister decrease 208
      // CHECK: llvm.inline_asm {{.*}}griddepcontrol.wait;{{.*}}~{memory}
      hopper.wait_prerequisites
      %first = hopper.first_slot
      // The ring's position goes from tile to tile.
      // CHECK: scf.for {{.*}} iter_args(%{{.*}} = %{{.*}}) -> (vector<2xi32>)
      %end = hopper.for_tiles %m x 64 tile [64, 64] group 16 carry(%first : !hopper.slot) -> !hopper.slot {
      ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %slot: !hopper.slot):
        // CHECK: llvm.load %{{.*}} invariant
        %scale = hopper.load_block_scale %scales[%tile] : !hopper.global<f32>
        %zero = hopper.zero : !hopper.fragment<64, 64>
        // Wait, multiply, wait, let go.
        // CHECK: nvvm.mbarrier.try_wait.parity
        // CHECK: nvvm.wgmma.fence.aligned
        // CHECK-COUNT-4: nvvm.wgmma.mma_async
        // CHECK: nvvm.wgmma.commit.group.sync.aligned
        // CHECK: llvm.inline_asm {{.*}}wgmma.wait_group.sync.aligned 0;
        // CHECK: llvm.inline_asm {{.*}}mbarrier.arrive.shared::cta.b64
        %next, %products = hopper.consume %ring[%slot] : !ring -> !hopper.fragment<64, 64> {
        ^bb0(%a: !tile, %b: !tile):
          %acc = hopper.wgmma %a, %b : !tile, !tile -> !hopper.accumulator<64, 64>
          %done = hopper.wgmma_wait %acc : !hopper.accumulator<64, 64> -> !hopper.fragment<64, 64>
          hopper.yield %done : !hopper.fragment<64, 64>
        }
        // CHECK: llvm.intr.fma({{.*}}) : (vector<32xf32>, vector<32xf32>, vector<32xf32>) -> vector<32xf32>
        %sum = hopper.promote %products into %zero rows %scale columns %scale : !hopper.fragment<64, 64>, f32, f32
        // CHECK: nvvm.cp.async.bulk.wait_group 0 {read}
        // CHECK-COUNT-4: nvvm.stmatrix
        // CHECK: nvvm.fence.proxy
        // CHECK: nvvm.cp.async.bulk.tensor.global.shared.cta
        hopper.store_tile %sum by %staging to %d[%m0, %n0]
          : !hopper.fragment<64, 64>, !hopper.tile<64x64xbf16, swizzle = 128>, !hopper.tensor_map<64x64xbf16, swizzle = 128>
        hopper.yield %next : !hopper.slot
      }
      hopper.wait_stores
    }
    role(1 warpgroups, 40 registers) (%w: i32) {
      // CHECK: nvvm.setmaxregister decrease 40
      hopper.one_thread {
        %zero = arith.constant 0 : i32
        %one = arith.constant 1 : i32
        %eight = arith.constant 8 : i32
        %first = hopper.first_slot
        // Unrolled: the step is two, both copies stand in the body.
        // CHECK: scf.for {{.*}} -> (vector<2xi32>)
        // CHECK-COUNT-2: nvvm.mbarrier.arrive.expect_tx
        // CHECK-NOT: nvvm.mbarrier.arrive.expect_tx
        %end = scf.for %k = %zero to %eight step %one iter_args(%slot = %first) -> (!hopper.slot) : i32 {
          %next = hopper.produce %ring[%slot] : !ring {
          ^bb0(%a: !tile, %b: !tile):
            hopper.tma_load %map[%zero, %k] to %a : !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128> to !tile
            hopper.tma_load %map[%zero, %k] to %b : !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128> to !tile
          }
          scf.yield %next : !hopper.slot
        } {hopper.unroll = 2 : i64}
      }
    }
  }
}

// A second product takes the registers of the first, once that has been used.
// CHECK-LABEL: llvm.func @over(
hopper.kernel @over(%m: i32) cluster 1 {
  %a = hopper.alloc : !hopper.tile<2x64x128xf8E4M3FN, swizzle = 128>
  %b = hopper.alloc : !hopper.tile<1x16x128xf8E4M3FN, swizzle = 128>
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      %sum = hopper.zero : !hopper.fragment<64, 16>
      %scale = arith.constant 1.0 : f32
      // A descriptor's units are found from what the address is made of: 8192 bytes are 512.
      // CHECK: arith.muli %{{.*}}, %c512_i32
      %mine = hopper.tile_at %a[%w] : !hopper.tile<2x64x128xf8E4M3FN, swizzle = 128> -> !tile
      %other = hopper.tile_at %b[%w] : !hopper.tile<1x16x128xf8E4M3FN, swizzle = 128> -> !hopper.tile<16x128xf8E4M3FN, swizzle = 128>
      // CHECK: %[[UNDEF:.*]] = llvm.mlir.undef
      // CHECK: nvvm.wgmma.mma_async {{.*}} %[[UNDEF]],
      %acc = hopper.wgmma %mine, %other : !tile, !hopper.tile<16x128xf8E4M3FN, swizzle = 128> -> !hopper.accumulator<64, 16>
      %products = hopper.wgmma_wait %acc : !hopper.accumulator<64, 16> -> !hopper.fragment<64, 16>
      // CHECK: llvm.intr.fma
      %once = hopper.promote %products into %sum rows %scale columns %scale : !hopper.fragment<64, 16>, f32, f32
      // CHECK: %[[OVER:.*]] = llvm.insertvalue %{{.*}}[7]
      // CHECK: nvvm.wgmma.mma_async {{.*}} %[[OVER]],
      %again = hopper.wgmma %mine, %other over %products : !hopper.fragment<64, 16>
        : !tile, !hopper.tile<16x128xf8E4M3FN, swizzle = 128> -> !hopper.accumulator<64, 16>
      %done = hopper.wgmma_wait %again : !hopper.accumulator<64, 16> -> !hopper.fragment<64, 16>
      %twice = hopper.promote %done into %once rows %scale columns %scale : !hopper.fragment<64, 16>, f32, f32
    }
  }
}

// A cluster walks cells of two tiles side by side; nothing is carried.
// CHECK-LABEL: llvm.func @pairs(
// CHECK-SAME: nvvm.cluster_dim = array<i32: 2, 1, 1>
hopper.kernel @pairs(%m: i32) cluster 2 {
  // CHECK: nvvm.cluster.arrive.relaxed
  // CHECK: nvvm.cluster.wait
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      // CHECK: scf.for
      // CHECK: nvvm.read.ptx.sreg.cluster.ctaid.x
      hopper.for_tiles %m x 576 tile [128, 128] group 16 pairs "columns" {
      ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32):
        // CHECK: nvvm.cp.async.bulk.wait_group 0
        hopper.wait_stores
        hopper.yield
      }
    }
  }
  // Others may still arrive at this block's barriers.
  // CHECK: nvvm.cluster.arrive
  // CHECK: nvvm.cluster.wait
}

// A stage in two steps; a cluster whose producer drains the ring ends without a barrier.
!shared = !hopper.ring<2 shared by 2, <64x128xf8E4M3FN, swizzle = 128>, <64x128xf8E4M3FN, swizzle = 128>>
// CHECK-LABEL: llvm.func @drained(
hopper.kernel @drained(%map: !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128>, %d: !hopper.tensor_map<64x64xbf16, swizzle = 128>,
                       %m: i32) cluster 2 {
  %staging = hopper.alloc : !hopper.tile<64x64xbf16, swizzle = 128>
  %ring = hopper.ring arrivals 8 : !shared
  // CHECK: nvvm.cluster.arrive.relaxed
  // CHECK: nvvm.cluster.wait
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      %first = hopper.first_slot
      %next = hopper.consume %ring[%first] : !shared {
      ^bb0(%a: !tile, %b: !tile):
        // Both waits for earlier stores are the first store's.
        // CHECK: nvvm.cp.async.bulk.wait_group 0 {read}
        // CHECK: nvvm.cp.async.bulk.commit.group
        // CHECK-NOT: nvvm.cp.async.bulk.wait_group
        // CHECK: nvvm.cp.async.bulk.commit.group
        %zero = arith.constant 0 : i32
        %sum = hopper.zero : !hopper.fragment<64, 64>
        hopper.store_tile %sum by %staging to %d[%zero, %zero]
          : !hopper.fragment<64, 64>, !hopper.tile<64x64xbf16, swizzle = 128>, !hopper.tensor_map<64x64xbf16, swizzle = 128>
        hopper.store_tile %sum follows by %staging to %d[%zero, %zero]
          : !hopper.fragment<64, 64>, !hopper.tile<64x64xbf16, swizzle = 128>, !hopper.tensor_map<64x64xbf16, swizzle = 128>
        hopper.yield
      }
    }
    role(1 warpgroups) (%w: i32) {
      hopper.one_thread {
        %zero = arith.constant 0 : i32
        %first = hopper.first_slot
        // CHECK: nvvm.mbarrier.try_wait.parity
        // CHECK: nvvm.mbarrier.arrive.expect_tx
        // CHECK: nvvm.cp.async.bulk.tensor.shared.cluster.global
        %begun = hopper.produce begin %ring[%first] : !shared {
        ^bb0(%a: !tile, %b: !tile):
          hopper.tma_load %map[%zero, %zero] to %a : !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128> to !tile
        }
        // CHECK-NOT: nvvm.mbarrier
        // CHECK: nvvm.cp.async.bulk.tensor.shared.cluster.global
        %second = hopper.produce finish %ring[%first] : !shared {
        ^bb0(%a: !tile, %b: !tile):
          hopper.tma_load %map[%zero, %zero] to %b : !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128> to !tile
        }
        // The first tile is left out: the walk begins one grid further.
        // CHECK: %[[BEGIN:.*]] = nvvm.read.ptx.sreg.ctaid.x
        // CHECK: %[[STEP:.*]] = nvvm.read.ptx.sreg.nctaid.x
        // CHECK: %[[SECOND:.*]] = arith.addi %[[BEGIN]], %[[STEP]]
        // CHECK: scf.for %{{.*}} = %[[SECOND]] to %{{.*}} step %[[STEP]]
        %end = hopper.for_tiles %m x 64 tile [64, 64] group 16 only "rest" carry(%second : !hopper.slot) -> !hopper.slot {
        ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %slot: !hopper.slot):
          hopper.yield %slot : !hopper.slot
        }
        // CHECK-COUNT-2: nvvm.mbarrier.try_wait.parity
        hopper.drain %ring[%end] : !shared
      }
    }
  }
  // CHECK-NOT: nvvm.cluster
  // CHECK: llvm.return
}

// Groups of rows: one warp waits for the kernels before, reads the counts and scans them; a tile's group is found by bisection.
// CHECK-LABEL: llvm.func @groups(
// CHECK-SAME: %[[ENDS:[a-z0-9]+]]: !llvm.ptr<1>, %{{.*}}: i32)
hopper.kernel @groups(%a: !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128, ragged>,
                      %b: !hopper.tensor_map<1x64x128xf8E4M3FN, swizzle = 128>,
                      %ends: !hopper.global<i32>, %m: i32) cluster 2 {
  // CHECK: scf.if
  // CHECK: llvm.inline_asm {{.*}}griddepcontrol.wait;{{.*}}~{memory}
  // Two groups a lane, and the end of the one before.
  // CHECK-COUNT-3: llvm.load %{{.*}} : !llvm.ptr<1> -> i32
  // CHECK-COUNT-5: nvvm.shfl.sync up
  // CHECK-COUNT-3: llvm.store %{{.*}} {alignment = 16 : i64} : vector<4xi32>, !llvm.ptr<3>
  %groups = hopper.scan_groups %ends of %m aligned 128 : !hopper.global<i32> -> !hopper.groups<40, 64>
  %ring = hopper.ring arrivals 0 : !ring
  // An arrival that orders the table.
  // CHECK: nvvm.cluster.arrive{{ *$}}
  // CHECK: nvvm.cluster.wait
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      // CHECK: scf.for
      // Six steps among 64, then the entry.
      // CHECK-COUNT-6: llvm.load %{{.*}} : !llvm.ptr<3> -> i32
      // CHECK: llvm.load %{{.*}} {alignment = 16 : i64} : !llvm.ptr<3> -> vector<4xi32>
      hopper.for_tiles groups %groups : !hopper.groups<40, 64> x 576 tile [64, 64] group 8 pairs "columns" {
      ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %g: i32, %until: i32):
        %slot = hopper.first_slot
        // The ragged map's coordinates: column, the rows of a box less those that it has of the group, the row behind them.
        // CHECK: %[[BOX:.*]] = arith.addi %[[ROW:.*]], %c64
        // CHECK: %[[END:.*]] = arith.minui %[[BOX]], %[[UNTIL:.*]] :
        // CHECK: %[[MISSING:.*]] = arith.subi %[[BOX]], %[[END]]
        // CHECK: nvvm.cp.async.bulk.tensor.shared.cluster.global %{{.*}} box[%{{.*}}, %[[MISSING]], %[[END]]]
        // CHECK: nvvm.cp.async.bulk.tensor.shared.cluster.global %{{.*}} box[%{{.*}}, %{{.*}}, %{{.*}}]
        %next = hopper.produce %ring[%slot] : !ring {
        ^bb0(%ta: !tile, %tb: !tile):
          hopper.tma_load %a[%m0, %part] until %until to %ta : !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128, ragged> to !tile
          hopper.tma_load %b[%g, %n0, %part] to %tb : !hopper.tensor_map<1x64x128xf8E4M3FN, swizzle = 128> to !tile
        }
        hopper.yield
      }
    }
  }
}

// SwiGLU in registers: values rounded to bf16, the largest of a row among four lanes, codes two by two, one lane's scale for a row.
// CHECK-LABEL: llvm.func @hidden(
hopper.kernel @hidden(%d: !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128>, %scale_d: !hopper.global<f32>, %m: i32) cluster 1 {
  %staging = hopper.alloc : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      %gate = hopper.zero : !hopper.fragment<64, 128>
      // CHECK-COUNT-2: llvm.fptrunc %{{.*}} : vector<64xf32> to vector<64xbf16>
      // CHECK: llvm.nvvm.shfl.sync.bfly.f32
      // CHECK-COUNT-32: llvm.nvvm.ff.to.e4m3x2.rn
      // CHECK: nvvm.cp.async.bulk.tensor.global.shared.cta
      // CHECK-COUNT-2: llvm.store %{{.*}} : f32, !llvm.ptr<1>
      %values, %scales = hopper.swiglu_quantize %gate, %gate : !hopper.fragment<64, 128> -> !hopper.row_scales
      hopper.store_tile %values by %staging to %d[%w, %w]
        : !hopper.fragment<64, 128>, !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128>
      hopper.store_row_scales %scales to %scale_d[%w] row %w until %m : !hopper.row_scales, !hopper.global<f32>
      hopper.wait_stores
    }
  }
}

// INT8: exact sums over all of K go on in the accumulators, and meet the scales of rows and columns behind the loop.
!codes = !hopper.tile<64x128xi8, swizzle = 128>
!integers = !hopper.fragment<64, 64, i32>

// CHECK-LABEL: llvm.func @int8(
// What a kernel before may write is not read through the cache that is not coherent.
// CHECK-SAME: %{{[^:]*}}: !llvm.ptr<1>, %{{[^:]*}}: !llvm.ptr<1>, %{{[^:]*}}: i32)
hopper.kernel @int8(%map: !hopper.tensor_map<64x128xi8, swizzle = 128>, %scale_a: !hopper.global<f32>, %scale_b: !hopper.global<bf16>,
                    %m: i32) cluster 1 {
  %ring = hopper.ring arrivals 4 : !hopper.ring<4, <64x128xi8, swizzle = 128>, <64x128xi8, swizzle = 128>>
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      hopper.wait_prerequisites
      %first = hopper.first_slot
      %end = hopper.for_tiles %m x 64 tile [64, 64] group 16 carry(%first : !hopper.slot) -> !hopper.slot {
      ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %slot: !hopper.slot):
        // CHECK-COUNT-2: llvm.load %{{.*}} : !llvm.ptr<1> -> f32
        // CHECK-COUNT-16: llvm.load %{{.*}} : !llvm.ptr<1> -> bf16
        %rows = hopper.load_scales %scale_a[%m0] until %m : !hopper.global<f32> -> !hopper.row_scales
        %columns = hopper.load_scales %scale_b[%n0] until %m : !hopper.global<bf16> -> !hopper.column_scales<64>
        %zero = hopper.zero : !integers
        // CHECK-COUNT-4: nvvm.wgmma.mma_async {{.*}}D[<s32>, <one>], A[<s8>
        %next, %sum = hopper.consume %ring[%slot] : !hopper.ring<4, <64x128xi8, swizzle = 128>, <64x128xi8, swizzle = 128>> -> !integers {
        ^bb0(%a: !codes, %b: !codes):
          %acc = hopper.wgmma %a, %b into %zero : !integers : !codes, !codes -> !hopper.accumulator<64, 64, i32>
          %done = hopper.wgmma_wait %acc : !hopper.accumulator<64, 64, i32> -> !integers
          hopper.yield %done : !integers
        }
        %nothing = hopper.zero : !hopper.fragment<64, 64>
        // CHECK: arith.sitofp %{{.*}} : vector<32xi32> to vector<32xf32>
        %d = hopper.promote %sum into %nothing rows %rows columns %columns : !integers, !hopper.row_scales, !hopper.column_scales<64>
        hopper.yield %next : !hopper.slot
      }
    }
    role(1 warpgroups) (%w: i32) {
    }
  }
}
