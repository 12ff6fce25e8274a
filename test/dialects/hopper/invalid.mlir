// Every message of the verifiers.
// RUN: quant-opt %s -verify-diagnostics -split-input-file

// expected-error @+1 {{element type must have 8, 16 or 32 bits, not 'f64'}}
func.func private @map_element(!hopper.tensor_map<8x16xf64>)

// -----

// expected-error @+1 {{swizzle must be 0, 32, 64 or 128 bytes, not 96}}
func.func private @map_swizzle(!hopper.tensor_map<8x16xf32, swizzle = 96>)

// -----

// expected-error @+1 {{a box has rows and columns, each from 1 to 256}}
func.func private @box_extent(!hopper.tensor_map<512x16xf32>)

// -----

// expected-error @+1 {{a box's rows must be multiples of 16 bytes, not 8}}
func.func private @box_row(!hopper.tensor_map<8x2xf32>)

// -----

// expected-error @+1 {{a box's rows of 256 bytes do not fit the swizzle of 128}}
func.func private @box_swizzle(!hopper.tensor_map<8x64xf32, swizzle = 128>)

// -----

// expected-error @+1 {{a tile is [copies x] rows x columns}}
func.func private @tile_rank(!hopper.tile<16xf32>)

// -----

// expected-error @+1 {{rows of 64 bytes are no multiple of the swizzle of 128}}
func.func private @tile_row(!hopper.tile<8x16xf32, swizzle = 128>)

// -----

// expected-error @+1 {{a swizzled tile has a multiple of 8 rows, not 4}}
func.func private @tile_rows(!hopper.tile<4x32xf32, swizzle = 128>)

// -----

// expected-error @+1 {{a ring has at least one stage of at least one tile}}
func.func private @ring_stages(!hopper.ring<0, <8x32xf32>>)

// -----

// expected-error @+1 {{a ring is shared by 1 to 8 blocks, not 9}}
func.func private @ring_blocks(!hopper.ring<2 shared by 9, <8x32xf32>>)

// -----

// expected-error @+1 {{wgmma has 64 rows, not 128}}
func.func private @fragment_rows(!hopper.fragment<128, 64>)

// -----

// expected-error @+1 {{wgmma sums up f32 or i32, not 'i8'}}
func.func private @fragment_element(!hopper.fragment<64, 64, i8>)

// -----

// expected-error @+1 {{wgmma has a multiple of 8 columns up to 256, not 264}}
func.func private @fragment_columns(!hopper.accumulator<64, 264>)

// -----

// expected-error @+1 {{must end in hopper.warp_roles}}
hopper.kernel @no_roles() cluster 1 {
  %staging = hopper.alloc : !hopper.tile<8x32xf32>
}

// -----

// expected-error @+1 {{argument 0 is 'i64': not a tensor map, an address or an i32}}
hopper.kernel @argument(%m: i64) cluster 1 {
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
    }
  }
}

// -----

// expected-error @+1 {{has a cluster of 16 blocks; 1 to 8 run on every device}}
hopper.kernel @cluster() cluster 16 {
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
    }
  }
}

// -----

// 6 x (32768 of A and B + 512 of scales + 16 of barriers) + 65536.
// expected-error @+1 {{needs 265312 bytes of shared memory, a block has 232448}}
hopper.kernel @shared() cluster 1 {
  %staging = hopper.alloc : !hopper.tile<2x64x128xf32, swizzle = 128>
  %ring = hopper.ring arrivals 0 : !hopper.ring<6, <128x128xf8E4M3FN, swizzle = 128>, <128x128xf8E4M3FN, swizzle = 128>, <1x128xf32>>
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
    }
  }
}

// -----

hopper.kernel @arrivals() cluster 2 {
  // expected-error @+1 {{waits for 4 arrivals, but 4 warps of 2 blocks consume it: 8}}
  %ring = hopper.ring arrivals 4 : !hopper.ring<2 shared by 2, <64x128xf8E4M3FN, swizzle = 128>>
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      %slot = hopper.first_slot
      %next, %x = hopper.consume %ring[%slot] : !hopper.ring<2 shared by 2, <64x128xf8E4M3FN, swizzle = 128>> -> i32 {
      ^bb0(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>):
        hopper.yield %w : i32
      }
    }
  }
}

// -----

hopper.kernel @blocks() cluster 1 {
  // expected-error @+1 {{is shared by 2 blocks in a cluster of 1}}
  %ring = hopper.ring arrivals 0 : !hopper.ring<2 shared by 2, <64x128xf8E4M3FN, swizzle = 128>>
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
    }
  }
}

// -----

hopper.kernel @budget() cluster 1 {
  // expected-error @+1 {{wants 68608 registers, but a launch of 384 threads gets 168 each: 64512}}
  hopper.warp_roles {
    role(2 warpgroups, 248 registers) (%w: i32) {
    }
    role(1 warpgroups, 40 registers) (%w: i32) {
    }
  }
}

// -----

hopper.kernel @register_step() cluster 1 {
  // expected-error @+1 {{role 0 wants 100 registers; setmaxnreg takes multiples of 8 from 24 to 256}}
  hopper.warp_roles {
    role(1 warpgroups, 100 registers) (%w: i32) {
    }
  }
}

// -----

hopper.kernel @threads() cluster 1 {
  // expected-error @+1 {{has 1152 threads, a block has at most 1024}}
  hopper.warp_roles {
    role(9 warpgroups) (%w: i32) {
    }
  }
}

// -----

hopper.kernel @some_registers() cluster 1 {
  // expected-error @+1 {{needs warpgroups for every role, and registers for all roles or none}}
  hopper.warp_roles {
    role(1 warpgroups, 104 registers) (%w: i32) {
    }
    role(1 warpgroups) (%w: i32) {
    }
  }
}

// -----

func.func @pairs(%m: i32) {
  // expected-error @+1 {{pairs tiles of a cluster, which the kernel has not}}
  hopper.for_tiles %m x 64 tile [64, 64] group 1 pairs "rows" {
  ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32):
    hopper.yield
  }
  return
}

// -----

func.func @pairs_of_what(%m: i32) {
  // expected-error @+1 {{pairs are of "rows" or "columns", not "diagonals"}}
  hopper.for_tiles %m x 64 tile [64, 64] group 1 pairs "diagonals" {
  ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32):
    hopper.yield
  }
  return
}

// -----

func.func @tile_arguments(%m: i32) {
  // expected-error @+1 {{body takes the tile's first row and column, its number and the part (i32), then what is carried}}
  hopper.for_tiles %m x 64 tile [64, 64] group 1 {
  ^bb0(%m0: i32):
    hopper.yield
  }
  return
}

// -----

func.func @no_group(%m: i32) {
  // expected-error @+1 {{needs a matrix, tiles of rows x columns, a group and parts of at least 1}}
  hopper.for_tiles %m x 64 tile [64, 64] group 0 {
  ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32):
    hopper.yield
  }
  return
}

// -----

func.func @carried(%m: i32, %x: i32, %y: f32) {
  // expected-error @+1 {{carries 'i32' but yields 'f32'}}
  %z = hopper.for_tiles %m x 64 tile [64, 64] group 1 carry(%x : i32) -> i32 {
  ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %c: i32):
    hopper.yield %y : f32
  }
  return
}

// -----

func.func @twice(%ring: !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>, <64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot,
                 %map: !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128>, %i: i32) {
  // expected-error @+1 {{fills tile 1 of the stage 0 times: its full barrier expects 16384 bytes, each tile's once}}
  %next = hopper.produce %ring[%slot] : !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>, <64x128xf8E4M3FN, swizzle = 128>> {
  ^bb0(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, %b: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>):
    hopper.tma_load %map[%i, %i] to %a : !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128> to !hopper.tile<64x128xf8E4M3FN, swizzle = 128>
  }
  return
}

// -----

func.func @stage(%ring: !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot) {
  // expected-error @+1 {{body must take the tiles of a stage of '!hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>>'}}
  %next = hopper.produce %ring[%slot] : !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>> {
  ^bb0(%a: i32):
  }
  return
}

// -----

func.func @yields(%ring: !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot, %x: i32) {
  // expected-error @+1 {{gives 'f32' but yields 'i32'}}
  %next, %y = hopper.consume %ring[%slot] : !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>> -> f32 {
  ^bb0(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>):
    hopper.yield %x : i32
  }
  return
}

// -----

func.func @load_swizzle(%ring: !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot, %map: !hopper.tensor_map<64x64xf8E4M3FN, swizzle = 64>, %i: i32) {
  %next = hopper.produce %ring[%slot] : !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>> {
  ^bb0(%t: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>):
    // expected-error @+1 {{element type and swizzle of '!hopper.tensor_map<64x64xf8E4M3FN, swizzle = 64>' and '!hopper.tile<64x128xf8E4M3FN, swizzle = 128>' differ}}
    hopper.tma_load %map[%i, %i] to %t : !hopper.tensor_map<64x64xf8E4M3FN, swizzle = 64> to !hopper.tile<64x128xf8E4M3FN, swizzle = 128>
  }
  return
}

// -----

func.func @load_rows(%ring: !hopper.ring<2, <2x64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot, %map: !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128>, %i: i32) {
  %next = hopper.produce %ring[%slot] : !hopper.ring<2, <2x64x128xf8E4M3FN, swizzle = 128>> {
  ^bb0(%t: !hopper.tile<2x64x128xf8E4M3FN, swizzle = 128>):
    // expected-error @+1 {{brings 1 x 64 rows for a tile of 128}}
    hopper.tma_load %map[%i, %i] to %t : !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128> to !hopper.tile<2x64x128xf8E4M3FN, swizzle = 128>
  }
  return
}

// -----

func.func @load_columns(%ring: !hopper.ring<2, <8x64xf32, swizzle = 128>>, %slot: !hopper.slot, %map: !hopper.tensor_map<8x16xf32, swizzle = 128>, %i: i32) {
  %next = hopper.produce %ring[%slot] : !hopper.ring<2, <8x64xf32, swizzle = 128>> {
  ^bb0(%t: !hopper.tile<8x64xf32, swizzle = 128>):
    // expected-error @+1 {{box has 16 columns, the tile 64 in panels of 32}}
    hopper.tma_load %map[%i, %i] to %t : !hopper.tensor_map<8x16xf32, swizzle = 128> to !hopper.tile<8x64xf32, swizzle = 128>
  }
  return
}

// -----

func.func @multicast(%ring: !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot, %map: !hopper.tensor_map<32x128xf8E4M3FN, swizzle = 128>, %i: i32) {
  %next = hopper.produce %ring[%slot] : !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>> {
  ^bb0(%t: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>):
    // expected-error @+1 {{multicasts into a ring of one block: a ring is `shared by` the blocks of a cluster}}
    hopper.tma_load %map[%i, %i] to %t multicast %i : !hopper.tensor_map<32x128xf8E4M3FN, swizzle = 128> to !hopper.tile<64x128xf8E4M3FN, swizzle = 128>
  }
  return
}

// -----

func.func @share(%ring: !hopper.ring<2 shared by 2, <8x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot, %map: !hopper.tensor_map<4x128xf8E4M3FN, swizzle = 128>, %i: i32) {
  %next = hopper.produce %ring[%slot] : !hopper.ring<2 shared by 2, <8x128xf8E4M3FN, swizzle = 128>> {
  ^bb0(%t: !hopper.tile<8x128xf8E4M3FN, swizzle = 128>):
    // expected-error @+1 {{each block's share is 512 bytes, which is no multiple of 1024}}
    hopper.tma_load %map[%i, %i] to %t multicast %i : !hopper.tensor_map<4x128xf8E4M3FN, swizzle = 128> to !hopper.tile<8x128xf8E4M3FN, swizzle = 128>
  }
  return
}

// -----

func.func @piece(%t: !hopper.tile<2x64x128xf8E4M3FN, swizzle = 128>, %i: i32) {
  // expected-error @+1 {{of '!hopper.tile<2x64x128xf8E4M3FN, swizzle = 128>' is '!hopper.tile<64x128xf8E4M3FN, swizzle = 128>', not '!hopper.tile<32x128xf8E4M3FN, swizzle = 128>'}}
  %0 = hopper.tile_at %t[%i] : !hopper.tile<2x64x128xf8E4M3FN, swizzle = 128> -> !hopper.tile<32x128xf8E4M3FN, swizzle = 128>
  return
}

// -----

func.func @operand(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, %b: !hopper.tile<64x64xbf16, swizzle = 64>) {
  // expected-error @+1 {{operand '!hopper.tile<64x64xbf16, swizzle = 64>' must be rows of f8E4M3FN, i8 or bf16 with a 128-byte swizzle}}
  %0 = hopper.wgmma %a, %b : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !hopper.tile<64x64xbf16, swizzle = 64> -> !hopper.accumulator<64, 64>
  return
}

// -----

func.func @operand_types(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, %b: !hopper.tile<64x128xbf16, swizzle = 128>) {
  // expected-error @+1 {{operands '!hopper.tile<64x128xf8E4M3FN, swizzle = 128>' and '!hopper.tile<64x128xbf16, swizzle = 128>' differ in type}}
  %0 = hopper.wgmma %a, %b : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !hopper.tile<64x128xbf16, swizzle = 128> -> !hopper.accumulator<64, 64>
  return
}

// -----

func.func @transposed_fp8(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, %b: !hopper.tile<128x128xf8E4M3FN, swizzle = 128>) {
  // expected-error @+1 {{takes both operands as rows in shared memory: only bf16 can be transposed or in registers}}
  %0 = hopper.wgmma %a, %b transposed : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !hopper.tile<128x128xf8E4M3FN, swizzle = 128> -> !hopper.accumulator<64, 128>
  return
}

// -----

func.func @inner_columns(%a: !hopper.operand<64, 64>, %b: !hopper.tile<32x64xbf16, swizzle = 128>) {
  // expected-error @+1 {{multiplies 64 columns of A by 32 of B}}
  %0 = hopper.wgmma %a, %b transposed : !hopper.operand<64, 64>, !hopper.tile<32x64xbf16, swizzle = 128> -> !hopper.accumulator<64, 64>
  return
}

// -----

func.func @into_and_over(%a: !hopper.operand<64, 64>, %b: !hopper.tile<64x64xbf16, swizzle = 128>, %f: !hopper.fragment<64, 64>) {
  // expected-error @+1 {{goes on `into` a sum or begins `over` one, not both}}
  %0 = hopper.wgmma %a, %b into %f : !hopper.fragment<64, 64> over %f : !hopper.fragment<64, 64> : !hopper.operand<64, 64>, !hopper.tile<64x64xbf16, swizzle = 128> -> !hopper.accumulator<64, 64>
  return
}

// -----

func.func @into(%a: !hopper.operand<64, 64>, %b: !hopper.tile<64x64xbf16, swizzle = 128>, %f: !hopper.accumulator<64, 128>) {
  // expected-error @+1 {{into '!hopper.accumulator<64, 128>' does not give '!hopper.accumulator<64, 64>'}}
  %0 = hopper.wgmma %a, %b into %f : !hopper.accumulator<64, 128> : !hopper.operand<64, 64>, !hopper.tile<64x64xbf16, swizzle = 128> -> !hopper.accumulator<64, 64>
  return
}

// -----

// expected-error @+1 {{a step of bf16 is 16 columns, of which 24 is no multiple}}
func.func private @operand_columns(!hopper.operand<64, 24>)

// -----

func.func @pending(%a: !hopper.accumulator<64, 64>) {
  // expected-error @+1 {{whose maximum value is 7}}
  %0 = hopper.wgmma_wait %a pending 8 : !hopper.accumulator<64, 64> -> !hopper.fragment<64, 64>
  return
}

// -----

func.func @operand_of(%f: !hopper.fragment<64, 32>) {
  // expected-error @+1 {{of '!hopper.fragment<64, 32>' is not '!hopper.operand<64, 64>'}}
  %0 = hopper.operand_of %f : !hopper.fragment<64, 32> -> !hopper.operand<64, 64>
  return
}

// -----

func.func @load_index(%p: !hopper.global<f32>, %i: i32) {
  // expected-error @+1 {{reads i32, not 'f32'}}
  %0 = hopper.load_index %p[%i] : !hopper.global<f32>
  return
}

// -----

func.func @row_keys(%p: !hopper.global<f32>, %i: i32) {
  // expected-error @+1 {{reads i32, not 'f32'}}
  %0 = hopper.load_row_keys %p row %i until %i heads 16 : !hopper.global<f32>
  return
}

// -----

func.func @tile_columns(%t: !hopper.tile<64x576xbf16, swizzle = 128>, %i: i32) {
  // expected-error @+1 {{it takes whole panels of a swizzled tile}}
  %0 = hopper.tile_columns %t[%i] : !hopper.tile<64x576xbf16, swizzle = 128> -> !hopper.tile<32x64xbf16, swizzle = 128>
  return
}

// -----

func.func @clear_rows(%t: !hopper.tile<64x32xbf16, swizzle = 64>, %i: i32) {
  // expected-error @+1 {{clears rows of 128-byte panels, not of '!hopper.tile<64x32xbf16, swizzle = 64>'}}
  hopper.clear_rows %t from %i : !hopper.tile<64x32xbf16, swizzle = 64>
  return
}

// -----

func.func @store_rows(%f: !hopper.fragment<64, 64>, %p: !hopper.global<i32>, %i: i32) {
  // expected-error @+1 {{stores f32, not 'i32'}}
  hopper.store_rows %f to %p[%i, %i] of 512 row %i until %i : !hopper.fragment<64, 64>, !hopper.global<i32>
  return
}

// -----

func.func @queries(%p: !hopper.global<i32>, %n: i32) {
  // expected-error @+1 {{body takes the tile's first row, the row behind its last, the sequence, its keys and the part (i32), then what is carried}}
  hopper.for_queries %p, %p of %n heads 16 : !hopper.global<i32>, !hopper.global<i32> {
  ^bb0(%row: i32, %until: i32, %sequence: i32):
    hopper.yield
  }
  return
}

// -----

func.func @carried(%p: !hopper.global<i32>, %n: i32) {
  // expected-error @+1 {{carries 'i32' but yields}}
  %0 = hopper.for_queries %p, %p of %n heads 16 carry(%n : i32) -> i32 : !hopper.global<i32>, !hopper.global<i32> {
  ^bb0(%row: i32, %until: i32, %sequence: i32, %keys: i32, %part: i32, %x: i32):
    hopper.yield
  }
  return
}

// -----

func.func @lists(%p: !hopper.global<i32>, %f: !hopper.global<f32>, %n: i32) {
  // expected-error @+1 {{reads i32, not 'f32'}}
  hopper.for_queries %p, %f of %n heads 16 : !hopper.global<i32>, !hopper.global<f32> {
  ^bb0(%row: i32, %until: i32, %sequence: i32, %keys: i32):
    hopper.yield
  }
  return
}

// -----

// expected-error @+1 {{a named barrier is for whole warpgroups of 128 threads, not for 100}}
func.func private @barrier_threads(!hopper.named_barrier<100>)

// -----

hopper.kernel @barrier_count() cluster 1 {
  // expected-error @+1 {{is for 256 threads, but the roles that come to it have 128}}
  %ready = hopper.named_barrier : !hopper.named_barrier<256>
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      hopper.sync %ready : !hopper.named_barrier<256>
    }
    role(1 warpgroups) (%w: i32) {
    }
  }
}

// -----

hopper.kernel @barriers() cluster 1 {
  %0 = hopper.named_barrier : !hopper.named_barrier<896>
  %1 = hopper.named_barrier : !hopper.named_barrier<896>
  %2 = hopper.named_barrier : !hopper.named_barrier<896>
  %3 = hopper.named_barrier : !hopper.named_barrier<896>
  %4 = hopper.named_barrier : !hopper.named_barrier<896>
  %5 = hopper.named_barrier : !hopper.named_barrier<896>
  %6 = hopper.named_barrier : !hopper.named_barrier<896>
  %7 = hopper.named_barrier : !hopper.named_barrier<896>
  // expected-error @+1 {{is one too many: a block has 16, of which it and its warpgroups take 8}}
  %8 = hopper.named_barrier : !hopper.named_barrier<896>
  hopper.warp_roles {
    role(7 warpgroups) (%w: i32) {
      hopper.sync %0 : !hopper.named_barrier<896>
      hopper.sync %1 : !hopper.named_barrier<896>
      hopper.sync %2 : !hopper.named_barrier<896>
      hopper.sync %3 : !hopper.named_barrier<896>
      hopper.sync %4 : !hopper.named_barrier<896>
      hopper.sync %5 : !hopper.named_barrier<896>
      hopper.sync %6 : !hopper.named_barrier<896>
      hopper.sync %7 : !hopper.named_barrier<896>
      hopper.sync %8 : !hopper.named_barrier<896>
    }
  }
}

// -----

func.func @product(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, %b: !hopper.tile<96x128xf8E4M3FN, swizzle = 128>) {
  // expected-error @+1 {{of 64 by 96 rows is not '!hopper.accumulator<64, 64>', and A has 64 rows}}
  %0 = hopper.wgmma %a, %b : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !hopper.tile<96x128xf8E4M3FN, swizzle = 128> -> !hopper.accumulator<64, 64>
  return
}

// -----

func.func @over(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, %b: !hopper.tile<96x128xf8E4M3FN, swizzle = 128>, %f: !hopper.fragment<64, 64>) {
  // expected-error @+1 {{over '!hopper.fragment<64, 64>' cannot take its registers for '!hopper.accumulator<64, 96>'}}
  %0 = hopper.wgmma %a, %b over %f : !hopper.fragment<64, 64> : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !hopper.tile<96x128xf8E4M3FN, swizzle = 128> -> !hopper.accumulator<64, 96>
  return
}

// -----

func.func @only(%m: i32) {
  // expected-error @+1 {{visits only the "first" tile or the "rest", not "last"}}
  hopper.for_tiles %m x 576 tile [128, 128] group 16 only "last" {
  ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32):
    hopper.yield
  }
  return
}

// -----

func.func @both(%ring: !hopper.ring<4, <64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot) {
  // expected-error @+1 {{cannot begin and finish: that is a produce without either}}
  %next = hopper.produce begin finish %ring[%slot] : !hopper.ring<4, <64x128xf8E4M3FN, swizzle = 128>> {
  ^bb0(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>):
  }
  return
}

// -----

func.func @wait(%a: !hopper.accumulator<64, 64>) {
  // expected-error @+1 {{of '!hopper.accumulator<64, 64>' is not '!hopper.fragment<64, 96>'}}
  %0 = hopper.wgmma_wait %a : !hopper.accumulator<64, 64> -> !hopper.fragment<64, 96>
  return
}

// -----

func.func @sums_of_integers(%a: !hopper.tile<64x128xi8, swizzle = 128>, %b: !hopper.tile<64x128xi8, swizzle = 128>) {
  // expected-error @+1 {{sums up 'i32', not '!hopper.accumulator<64, 64>'}}
  %0 = hopper.wgmma %a, %b : !hopper.tile<64x128xi8, swizzle = 128>, !hopper.tile<64x128xi8, swizzle = 128> -> !hopper.accumulator<64, 64>
  return
}

// -----

func.func @columns_of_integers(%a: !hopper.tile<64x128xi8, swizzle = 128>, %b: !hopper.tile<40x128xi8, swizzle = 128>) {
  // expected-error @+1 {{of i8 has 8, 24 or a multiple of 16 columns, not 40}}
  %0 = hopper.wgmma %a, %b : !hopper.tile<64x128xi8, swizzle = 128>, !hopper.tile<40x128xi8, swizzle = 128> -> !hopper.accumulator<64, 40, i32>
  return
}

// -----

func.func @into_floats(%a: !hopper.tile<64x128xi8, swizzle = 128>, %f: !hopper.fragment<64, 64>) {
  // expected-error @+1 {{into '!hopper.fragment<64, 64>' does not give '!hopper.accumulator<64, 64, i32>'}}
  %0 = hopper.wgmma %a, %a into %f : !hopper.fragment<64, 64> : !hopper.tile<64x128xi8, swizzle = 128>, !hopper.tile<64x128xi8, swizzle = 128> -> !hopper.accumulator<64, 64, i32>
  return
}

// -----

func.func @store_integers(%s: !hopper.fragment<64, 128, i32>, %t: !hopper.tile<64x128xbf16, swizzle = 128>, %d: !hopper.tensor_map<64x64xbf16, swizzle = 128>, %i: i32) {
  // expected-error @+1 {{must be a fragment of f32}}
  hopper.store_tile %s by %t to %d[%i, %i] : !hopper.fragment<64, 128, i32>, !hopper.tile<64x128xbf16, swizzle = 128>, !hopper.tensor_map<64x64xbf16, swizzle = 128>
  return
}

// -----

func.func @scales_of_integers(%p: !hopper.global<i32>, %i: i32) {
  // expected-error @+1 {{reads f32, bf16 or f16, not 'i32'}}
  %0 = hopper.load_scales %p[%i] until %i : !hopper.global<i32> -> !hopper.row_scales
  return
}

// -----

func.func @rows(%p: !hopper.fragment<64, 64>, %x: i32, %y: f32) {
  // expected-error @+1 {{rows must be row_scales or f32, not 'i32'}}
  %0 = hopper.promote %p into %p rows %x columns %y : !hopper.fragment<64, 64>, i32, f32
  return
}

// -----

func.func @columns(%p: !hopper.fragment<64, 64>, %y: f32, %c: !hopper.column_scales<32>) {
  // expected-error @+1 {{has 64 columns and scales for 32}}
  %0 = hopper.promote %p into %p rows %y columns %c : !hopper.fragment<64, 64>, f32, !hopper.column_scales<32>
  return
}

// -----

func.func @share_of_columns(%p: !hopper.fragment<64, 64>, %y: f32) {
  // expected-error @+1 {{columns must be column_scales, or f32 that each take an equal share, a multiple of 8, of 64}}
  %0 = hopper.promote %p into %p rows %y columns %y, %y, %y : !hopper.fragment<64, 64>, f32, f32, f32, f32
  return
}

// -----

func.func @staging(%s: !hopper.fragment<64, 128>, %t: !hopper.tile<64x64xbf16, swizzle = 128>, %d: !hopper.tensor_map<64x64xbf16, swizzle = 128>, %i: i32) {
  // expected-error @+1 {{stages 64 x 128 in '!hopper.tile<64x64xbf16, swizzle = 128>'}}
  hopper.store_tile %s by %t to %d[%i, %i] : !hopper.fragment<64, 128>, !hopper.tile<64x64xbf16, swizzle = 128>, !hopper.tensor_map<64x64xbf16, swizzle = 128>
  return
}

// -----

func.func @staging_transposed(%s: !hopper.fragment<64, 128>, %t: !hopper.tile<64x128xbf16, swizzle = 128>, %d: !hopper.tensor_map<64x64xbf16, swizzle = 128>, %i: i32) {
  // expected-error @+1 {{stages 128 x 64 in '!hopper.tile<64x128xbf16, swizzle = 128>'}}
  hopper.store_tile %s transposed by %t to %d[%i, %i] : !hopper.fragment<64, 128>, !hopper.tile<64x128xbf16, swizzle = 128>, !hopper.tensor_map<64x64xbf16, swizzle = 128>
  return
}

// -----

func.func @store_type(%s: !hopper.fragment<64, 128>, %t: !hopper.tile<64x128xf16, swizzle = 128>, %d: !hopper.tensor_map<64x64xbf16, swizzle = 128>, %i: i32) {
  // expected-error @+1 {{stores bf16, f32 or f8E4M3FN, not 'f16'}}
  hopper.store_tile %s by %t to %d[%i, %i] : !hopper.fragment<64, 128>, !hopper.tile<64x128xf16, swizzle = 128>, !hopper.tensor_map<64x64xbf16, swizzle = 128>
  return
}

// -----

func.func @store_swizzle(%s: !hopper.fragment<64, 128>, %t: !hopper.tile<64x128xbf16>, %d: !hopper.tensor_map<64x64xbf16, swizzle = 128>, %i: i32) {
  // expected-error @+1 {{staging tile needs a swizzle, which spreads it over the banks}}
  hopper.store_tile %s by %t to %d[%i, %i] : !hopper.fragment<64, 128>, !hopper.tile<64x128xbf16>, !hopper.tensor_map<64x64xbf16, swizzle = 128>
  return
}

// -----

func.func @store_box(%s: !hopper.fragment<64, 128>, %t: !hopper.tile<64x128xbf16, swizzle = 128>, %d: !hopper.tensor_map<32x64xbf16, swizzle = 128>, %i: i32) {
  // expected-error @+1 {{stores panels of '!hopper.tile<64x128xbf16, swizzle = 128>': 64 x 64, not '!hopper.tensor_map<32x64xbf16, swizzle = 128>'}}
  hopper.store_tile %s by %t to %d[%i, %i] : !hopper.fragment<64, 128>, !hopper.tile<64x128xbf16, swizzle = 128>, !hopper.tensor_map<32x64xbf16, swizzle = 128>
  return
}

// -----

// expected-error @+1 {{before rows and columns a box has ones, 5 dimensions at most}}
func.func private @box_matrices(!hopper.tensor_map<2x8x16xf32>)

// -----

// expected-error @+1 {{before rows and columns a box has ones, 5 dimensions at most}}
func.func private @box_rank(!hopper.tensor_map<1x1x1x1x8x16xf32>)

// -----

// expected-error @+1 {{a ragged map is of one matrix, whose rows belong to groups}}
func.func private @box_ragged(!hopper.tensor_map<1x8x16xf32, ragged>)

// -----

// expected-error @+1 {{there are 1 to 1024 groups, not 4096}}
func.func private @groups_count(!hopper.groups<4096, 64>)

// -----

// expected-error @+1 {{a tile of a group has at least one row, not 0}}
func.func private @groups_rows(!hopper.groups<8, 0>)

// -----

hopper.kernel @scan_type(%counts: !hopper.global<f32>, %m: i32) cluster 1 {
  // expected-error @+1 {{reads i32, not 'f32'}}
  %groups = hopper.scan_groups %counts of %m : !hopper.global<f32> -> !hopper.groups<8, 64>
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
    }
  }
}

// -----

hopper.kernel @scan_masked(%counts: !hopper.global<i32>, %m: i32) cluster 1 {
  // expected-error @+1 {{of masked groups, each in a place of its own, is not aligned}}
  %groups = hopper.scan_groups masked %counts of %m aligned 128 : !hopper.global<i32> -> !hopper.groups<8, 64>
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
    }
  }
}

// -----

func.func @tiles_rows(%groups: !hopper.groups<8, 64>) {
  // expected-error @+1 {{takes 128 rows at a time, of '!hopper.groups<8, 64>'}}
  hopper.for_tiles groups %groups : !hopper.groups<8, 64> x 576 tile [128, 128] group 16 {
  ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %g: i32, %until: i32):
    hopper.yield
  }
  return
}

// -----

func.func @tiles_parts(%groups: !hopper.groups<8, 64>) {
  // expected-error @+1 {{of groups visits all tiles, in one part each}}
  hopper.for_tiles groups %groups : !hopper.groups<8, 64> x 576 tile [64, 128] group 16 parts 2 {
  ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %g: i32, %until: i32):
    hopper.yield
  }
  return
}

// -----

func.func @tiles_arguments(%groups: !hopper.groups<8, 64>) {
  // expected-error @+1 {{body takes the tile's first row and column, its number and the part, the group and the row behind its last (i32)}}
  hopper.for_tiles groups %groups : !hopper.groups<8, 64> x 576 tile [64, 128] group 16 {
  ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32):
    hopper.yield
  }
  return
}

// -----

func.func @coordinates(%ring: !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot,
                       %map: !hopper.tensor_map<1x64x128xf8E4M3FN, swizzle = 128>, %i: i32) {
  %next = hopper.produce %ring[%slot] : !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>> {
  ^bb0(%t: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>):
    // expected-error @+1 {{gives 2 coordinates in '!hopper.tensor_map<1x64x128xf8E4M3FN, swizzle = 128>'}}
    hopper.tma_load %map[%i, %i] to %t : !hopper.tensor_map<1x64x128xf8E4M3FN, swizzle = 128> to !hopper.tile<64x128xf8E4M3FN, swizzle = 128>
  }
  return
}

// -----

func.func @until(%ring: !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot,
                 %map: !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128, ragged>, %i: i32) {
  %next = hopper.produce %ring[%slot] : !hopper.ring<2, <64x128xf8E4M3FN, swizzle = 128>> {
  ^bb0(%t: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>):
    // expected-error @+1 {{says `until` which row a group goes where the map is ragged, and only there}}
    hopper.tma_load %map[%i, %i] to %t : !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128, ragged> to !hopper.tile<64x128xf8E4M3FN, swizzle = 128>
  }
  return
}

// -----

func.func @store_matrices(%sum: !hopper.fragment<64, 128>, %staging: !hopper.tile<64x128xbf16, swizzle = 128>,
                          %d: !hopper.tensor_map<1x64x64xbf16, swizzle = 128>, %i: i32) {
  // expected-error @+1 {{stores to one matrix, not to '!hopper.tensor_map<1x64x64xbf16, swizzle = 128>'}}
  hopper.store_tile %sum by %staging to %d[%i, %i]
    : !hopper.fragment<64, 128>, !hopper.tile<64x128xbf16, swizzle = 128>, !hopper.tensor_map<1x64x64xbf16, swizzle = 128>
  return
}

// -----

func.func @swiglu_columns(%g: !hopper.fragment<64, 64>) {
  // expected-error @+1 {{gives a scale to each row of 128 columns, not of 64}}
  %values, %scales = hopper.swiglu_quantize %g, %g : !hopper.fragment<64, 64> -> !hopper.row_scales
  return
}

// -----

func.func @scales_element(%s: !hopper.row_scales, %to: !hopper.global<i32>, %i: i32) {
  // expected-error @+1 {{stores f32, not 'i32'}}
  hopper.store_row_scales %s to %to[%i] row %i until %i : !hopper.row_scales, !hopper.global<i32>
  return
}

// -----

func.func @store_codes(%sum: !hopper.fragment<64, 128>, %staging: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>,
                       %d: !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128>, %i: i32) {
  // expected-error @+1 {{of f8E4M3FN neither transposes nor adds}}
  hopper.store_tile %sum by %staging add to %d[%i, %i]
    : !hopper.fragment<64, 128>, !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128>
  return
}
