//===- HopperOps.td - tile-level sm_90a kernels: operations -*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_HOPPER_OPS
#define QUANT_HOPPER_OPS

include "dialects/hopper/HopperTypes.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Hopper_Op<string mnemonic, list<Trait> traits = []> : Op<Hopper_Dialect, mnemonic, traits>;

//===----------------------------------------------------------------------===//
// Kernel, roles and tiles
//===----------------------------------------------------------------------===//

def Hopper_KernelOp : Hopper_Op<"kernel", [IsolatedFromAbove, Symbol, SingleBlock, NoTerminator]> {
  let summary = "a kernel";
  let description = [{
    Arguments are tensor maps, pointers to global memory and 32-bit integers. `cluster` blocks run together and may multicast.
    The body names the shared memory and ends in one `warp_roles`, from which the number of threads follows. The verifier adds
    up the shared memory (227 KB at most, dialects/machine/Gpu.h) and counts the arrivals at each ring's empty barriers.

    ```mlir
    hopper.kernel @nothing(%a: !hopper.tensor_map<8x16xf32>, %x: !hopper.global<f32>, %m: i32) cluster 1 {
      hopper.warp_roles {
        role(1 warpgroups) (%w: i32) {
        }
      }
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$cluster);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    WarpRolesOp getRoles();
    int64_t getThreads();
    /// Bytes of shared memory of the kernel's allocations, in order, each aligned as it wants.
    int64_t getSharedBytes();
    /// Where an alloc or ring begins.
    int64_t getSharedOffset(::mlir::Operation *allocation);
  }];
}

def Hopper_WarpRolesOp : Hopper_Op<"warp_roles", [
    HasParent<"KernelOp">, NoTerminator, DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmBlockArgumentNames"]>]> {
  let summary = "parts the warpgroups of a block";
  let description = [{
    Each role takes the next so many warpgroups of 128 threads; its region's argument counts them from 0. With `registers` the
    role's threads change to that many (setmaxnreg); all roles do or none, and together they may not exceed the register file of
    65536 as the launch divides it.

    Before the roles part, one lane prefetches the tensor maps and initialises the rings' barriers, and all threads (of the
    cluster) meet. After them the blocks of a cluster meet again, since others may still arrive at their barriers.

    ```mlir
    hopper.kernel @roles() cluster 1 {
      hopper.warp_roles {
        role(2 warpgroups, 232 registers) (%w: i32) {
        }
        role(1 warpgroups, 40 registers) (%w: i32) {
        }
      }
    }
    ```
  }];
  let arguments = (ins DenseI64ArrayAttr:$warpgroups, DenseI64ArrayAttr:$registers);
  let regions = (region VariadicRegion<SizedRegion<1>>:$roles);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}

def Hopper_OneThreadOp : Hopper_Op<"one_thread", [SingleBlock, NoTerminator]> {
  let summary = "runs its body in one lane of a warpgroup's first warp";
  let description = [{
    ```mlir
    func.func @load() {
      hopper.one_thread {
        %slot = hopper.first_slot
      }
      return
    }
    ```
  }];
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$body attr-dict";
}

//===----------------------------------------------------------------------===//
// The kernels before and after
//===----------------------------------------------------------------------===//

def Hopper_LaunchDependentsOp : Hopper_Op<"launch_dependents"> {
  let summary = "lets the next kernel of the stream start, where it was launched so that it may (PDL)";
  let description = [{
    Blocks of the next kernel take multiprocessors as this kernel's blocks leave them, instead of waiting for the last block.
    That one waits with `wait_prerequisites`.

    ```mlir
    hopper.launch_dependents
    ```
  }];
  let assemblyFormat = "attr-dict";
}

def Hopper_WaitPrerequisitesOp : Hopper_Op<"wait_prerequisites"> {
  let summary = "waits until the kernels before this one are complete and what they wrote is visible";
  let description = [{
    Each thread that reads what a kernel before may have written, or writes what it may still read, comes here first. What may be
    done before are set-up and loads of what no kernel writes: weights. Costs nothing in a kernel that was launched the ordinary
    way.

    ```mlir
    hopper.wait_prerequisites
    ```
  }];
  let assemblyFormat = "attr-dict";
}

def Hopper_YieldOp : Hopper_Op<"yield", [Terminator, Pure]> {
  let summary = "ends for_tiles and consume";
  let description = [{
    ```mlir
    func.func @twice(%m: i32, %x: i32) {
      %end = hopper.for_tiles %m x 8 tile [64, 64] group 1 carry(%x : i32) -> i32 {
      ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %y: i32):
        hopper.yield %y : i32
      }
      return
    }
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
}

def Hopper_ScanGroupsOp : Hopper_Op<"scan_groups", [HasParent<"KernelOp">]> {
  let summary = "which rows, and how many tiles, each group has: counts that only the device knows";
  let description = [{
    One warp waits for the kernels before this one (as `wait_prerequisites`), reads an i32 for each group and makes the table of
    `!hopper.groups`; the roles find it complete.

    `counts` are where the groups end: group g owns rows `roundUp(counts[g - 1], aligned) .. counts[g] - 1`, of `rows` in all. With
    `masked` they are how many rows each group has: rows `g * rows .. g * rows + counts[g] - 1`, each group having place for
    `rows`. Whatever the counts are, no group goes beyond its place, and one that would end before it begins is empty.

    ```mlir
    hopper.kernel @groups(%ends: !hopper.global<i32>, %m: i32) cluster 1 {
      %groups = hopper.scan_groups %ends of %m aligned 128 : !hopper.global<i32> -> !hopper.groups<32, 64>
      hopper.warp_roles {
        role(1 warpgroups) (%w: i32) {
        }
      }
    }
    ```
  }];
  let arguments = (ins Hopper_GlobalType:$counts, I32:$rows, UnitAttr:$masked,
                       DefaultValuedAttr<ConfinedAttr<I64Attr, [IntPositive]>, "1">:$aligned);
  let results = (outs Hopper_GroupsType:$result);
  let assemblyFormat = [{
    (`masked` $masked^)? $counts `of` $rows (`aligned` $aligned^)? attr-dict `:` type($counts) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Hopper_ForTilesOp : Hopper_Op<"for_tiles", [
    SingleBlock, AttrSizedOperandSegments, DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmBlockArgumentNames"]>]> {
  let summary = "the persistent scheduler: this block's share of the tiles of an M x N matrix";
  let description = [{
    Tiles of `tile` rows x columns, `parts` times each (split-K); block b of the grid takes numbers b, b + gridDim.x, ... The
    body gets a tile's first row and column, its number, and which part of it to compute, then what is carried from tile to
    tile. `group` rows of tiles are walked together, column by column, so that the blocks of a wave share what they read in L2.
    In a cluster, `pairs` says whether its blocks take tiles that neighbour in rows or in columns; there may be tiles beyond the
    matrix, so that every block of a cluster walks equally far. A block visits `only` its "first" tile, or
    the "rest" after it.

    ```mlir
    func.func @walk(%m: i32) {
      %first = hopper.first_slot
      %end = hopper.for_tiles %m x 576 tile [128, 128] group 16 carry(%first : !hopper.slot) -> !hopper.slot {
      ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %slot: !hopper.slot):
        hopper.yield %slot : !hopper.slot
      }
      return
    }
    ```

    Of `groups` of rows it walks the tiles of one after another, each as a matrix of its own; those without rows have none. The body
    gets the group and the row behind its last, too. Each tile is found in log2(groups) steps, which need no other thread.

    ```mlir
    func.func @walk_groups(%groups: !hopper.groups<32, 64>) {
      hopper.for_tiles groups %groups : !hopper.groups<32, 64> x 576 tile [64, 128] group 16 {
      ^bb0(%m0: i32, %n0: i32, %tile: i32, %part: i32, %g: i32, %until: i32):
        hopper.yield
      }
      return
    }
    ```
  }];
  let arguments = (ins Optional<I32>:$m, Optional<Hopper_GroupsType>:$groups, I64Attr:$n, DenseI64ArrayAttr:$tile, I64Attr:$group,
                       DefaultValuedAttr<I64Attr, "1">:$parts, OptionalAttr<StrAttr>:$pairs, OptionalAttr<StrAttr>:$only,
                       Variadic<AnyType>:$init);
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    (`groups` $groups^ `:` type($groups)):($m)? `x` $n `tile` $tile `group` $group (`parts` $parts^)? (`pairs` $pairs^)? (`only` $only^)? (`carry` `(` $init^ `:` type($init) `)` `->` type($results))?
    $body attr-dict
  }];
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    int64_t getTilesN() { return (getN() + getTile()[1] - 1) / getTile()[1]; }
    /// Arguments of the body before what is carried.
    size_t getTileArguments() { return getGroups() ? 6 : 4; }
  }];
}

//===----------------------------------------------------------------------===//
// Shared memory and the ring of stages
//===----------------------------------------------------------------------===//

def Hopper_AllocOp : Hopper_Op<"alloc", [HasParent<"KernelOp">]> {
  let summary = "a tile of shared memory";
  let description = [{
    ```mlir
    hopper.kernel @memory() cluster 1 {
      %staging = hopper.alloc : !hopper.tile<2x64x128xbf16, swizzle = 128>
      hopper.warp_roles {
        role(1 warpgroups) (%w: i32) {
        }
      }
    }
    ```
  }];
  let results = (outs Hopper_TileType:$result);
  let assemblyFormat = "attr-dict `:` type($result)";
}

def Hopper_TileAtOp : Hopper_Op<"tile_at", [Pure]> {
  let summary = "one copy of a tile";
  let description = [{
    ```mlir
    func.func @mine(%a: !hopper.tile<2x64x128xf8E4M3FN, swizzle = 128>, %w: i32) {
      %mine = hopper.tile_at %a[%w] : !hopper.tile<2x64x128xf8E4M3FN, swizzle = 128> -> !hopper.tile<64x128xf8E4M3FN, swizzle = 128>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_TileType:$tile, I32:$index);
  let results = (outs Hopper_TileType:$result);
  let assemblyFormat = "$tile `[` $index `]` attr-dict `:` type($tile) `->` type($result)";
  let hasVerifier = 1;
}

def Hopper_TileColumnsOp : Hopper_Op<"tile_columns", [Pure]> {
  let summary = "columns of a tile, from a panel's first one on";
  let description = [{
    Panels follow each other, so that neighbouring ones are a tile of their own.

    ```mlir
    func.func @half(%keys: !hopper.tile<64x576xbf16, swizzle = 128>, %first: i32) {
      %values = hopper.tile_columns %keys[%first] : !hopper.tile<64x576xbf16, swizzle = 128> -> !hopper.tile<64x256xbf16, swizzle = 128>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_TileType:$tile, I32:$first);
  let results = (outs Hopper_TileType:$result);
  let assemblyFormat = "$tile `[` $first `]` attr-dict `:` type($tile) `->` type($result)";
  let hasVerifier = 1;
}

def Hopper_NamedBarrierOp : Hopper_Op<"named_barrier", [HasParent<"KernelOp">]> {
  let summary = "a barrier at which warpgroups meet, also those of several roles";
  let description = [{
    All threads of the roles that use it come to it, by `sync` or by `arrive`: so many must it be for. Number 0 is the whole
    block's, each warpgroup has one of its own; what is left of the 16 can be had.

    ```mlir
    hopper.kernel @meet() cluster 1 {
      %ready = hopper.named_barrier : !hopper.named_barrier<256>
      hopper.warp_roles {
        role(1 warpgroups) (%w: i32) {
          hopper.arrive %ready : !hopper.named_barrier<256>
        }
        role(1 warpgroups) (%w: i32) {
          hopper.sync %ready : !hopper.named_barrier<256>
        }
      }
    }
    ```
  }];
  let results = (outs Hopper_NamedBarrierType:$result);
  let assemblyFormat = "attr-dict `:` type($result)";
}

def Hopper_SyncOp : Hopper_Op<"sync"> {
  let summary = "waits at a named barrier until all its threads have come; what they wrote before is visible then";
  let description = [{
    ```mlir
    hopper.sync %ready : !hopper.named_barrier<256>
    ```
  }];
  let arguments = (ins Hopper_NamedBarrierType:$barrier);
  let assemblyFormat = "$barrier attr-dict `:` type($barrier)";
}

def Hopper_ArriveOp : Hopper_Op<"arrive"> {
  let summary = "comes to a named barrier without waiting for the others";
  let description = [{
    ```mlir
    hopper.arrive %ready : !hopper.named_barrier<256>
    ```
  }];
  let arguments = (ins Hopper_NamedBarrierType:$barrier);
  let assemblyFormat = "$barrier attr-dict `:` type($barrier)";
}

def Hopper_RingOp : Hopper_Op<"ring", [HasParent<"KernelOp">]> {
  let summary = "a ring of stages in shared memory";
  let description = [{
    `arrivals` is what completes an empty barrier: one for each warp that consumes, of every block of the cluster. The verifier
    counts the warps of the roles that consume the ring.

    ```mlir
    hopper.kernel @idle() cluster 1 {
      %ring = hopper.ring arrivals 0 : !hopper.ring<5, <128x128xf8E4M3FN, swizzle = 128>>
      hopper.warp_roles {
        role(1 warpgroups) (%w: i32) {
        }
      }
    }
    ```
  }];
  let arguments = (ins I64Attr:$arrivals);
  let results = (outs Hopper_RingType:$result);
  let assemblyFormat = "`arrivals` $arrivals attr-dict `:` type($result)";
}

def Hopper_FirstSlotOp : Hopper_Op<"first_slot", [Pure]> {
  let summary = "where producer and consumers begin: stage 0 in round 0";
  let description = [{
    ```mlir
    %slot = hopper.first_slot
    ```
  }];
  let results = (outs Hopper_SlotType:$result);
  let assemblyFormat = "attr-dict";
}

def Hopper_ProduceOp : Hopper_Op<"produce", [SingleBlock, NoTerminator]> {
  let summary = "fills a stage";
  let description = [{
    One thread waits until the stage is empty, announces its bytes at the full barrier, and runs the body, whose tma_loads must
    fill every tile of the stage exactly once. Gives the next slot. In two steps, `begin` waits, announces and fills some of the
    tiles, and `finish` later the others.

    ```mlir
    func.func @fill(%ring: !hopper.ring<5, <64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot,
                    %map: !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128>, %m0: i32, %k0: i32) {
      %next = hopper.produce %ring[%slot] : !hopper.ring<5, <64x128xf8E4M3FN, swizzle = 128>> {
      ^bb0(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>):
        hopper.tma_load %map[%m0, %k0] to %a : !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128> to !hopper.tile<64x128xf8E4M3FN, swizzle = 128>
      }
      return
    }
    ```
  }];
  let arguments = (ins Hopper_RingType:$ring, Hopper_SlotType:$slot, UnitAttr:$begin, UnitAttr:$finish);
  let results = (outs Hopper_SlotType:$next);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "(`begin` $begin^)? (`finish` $finish^)? $ring `[` $slot `]` attr-dict `:` type($ring) $body";
  let hasRegionVerifier = 1;
}

def Hopper_DrainOp : Hopper_Op<"drain"> {
  let summary = "waits until all stages are empty";
  let description = [{
    The producer's last word in a cluster: once every stage is let go, no other block arrives at this block's barriers any more,
    and it may end. A kernel that drains all its rings needs no barrier of the cluster at its end.

    ```mlir
    func.func @end(%ring: !hopper.ring<5 shared by 2, <64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot) {
      hopper.drain %ring[%slot] : !hopper.ring<5 shared by 2, <64x128xf8E4M3FN, swizzle = 128>>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_RingType:$ring, Hopper_SlotType:$slot);
  let assemblyFormat = "$ring `[` $slot `]` attr-dict `:` type($ring)";
}

def Hopper_ConsumeOp : Hopper_Op<"consume", [SingleBlock]> {
  let summary = "uses a stage";
  let description = [{
    A warpgroup waits until the stage is full, runs the body, and lets go of the stage: one lane of every warp arrives at the
    empty barrier, in a cluster at that of each block, since all of them write here. What the body yields must be done reading
    the stage. Gives the next slot and what was yielded.

    ```mlir
    func.func @use(%ring: !hopper.ring<5, <64x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot) {
      %next, %p = hopper.consume %ring[%slot] : !hopper.ring<5, <64x128xf8E4M3FN, swizzle = 128>> -> !hopper.fragment<64, 64> {
      ^bb0(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>):
        %acc = hopper.wgmma %a, %a : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !hopper.tile<64x128xf8E4M3FN, swizzle = 128> -> !hopper.accumulator<64, 64>
        %products = hopper.wgmma_wait %acc : !hopper.accumulator<64, 64> -> !hopper.fragment<64, 64>
        hopper.yield %products : !hopper.fragment<64, 64>
      }
      return
    }
    ```
  }];
  let arguments = (ins Hopper_RingType:$ring, Hopper_SlotType:$slot);
  let results = (outs Hopper_SlotType:$next, Variadic<AnyType>:$values);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$ring `[` $slot `]` attr-dict `:` type($ring) (`->` type($values)^)? $body";
  let hasRegionVerifier = 1;
}

def Hopper_TmaLoadOp : Hopper_Op<"tma_load", [HasParent<"ProduceOp">, AttrSizedOperandSegments]> {
  let summary = "brings a box at [row, column] of a matrix into a tile of the stage";
  let description = [{
    Elements outside of the matrix become zeros. A tile of several panels is brought in as many boxes, one for each panel. With `multicast` each block of the cluster loads its share of the tile's rows
    and sends it to all: the box is that share. A share that would lie beyond the matrix of `multicast` rows begins at its last row
    instead: what it brings belongs to no row and must not be used. Of a ragged map, rows `until` which the group goes count as the
    matrix. Indices of dimensions before the row come first.

    ```mlir
    func.func @share(%ring: !hopper.ring<4 shared by 2, <128x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot,
                     %map: !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128>, %n0: i32, %k0: i32, %n: i32) {
      %next = hopper.produce %ring[%slot] : !hopper.ring<4 shared by 2, <128x128xf8E4M3FN, swizzle = 128>> {
      ^bb0(%b: !hopper.tile<128x128xf8E4M3FN, swizzle = 128>):
        hopper.tma_load %map[%n0, %k0] to %b multicast %n : !hopper.tensor_map<64x128xf8E4M3FN, swizzle = 128> to !hopper.tile<128x128xf8E4M3FN, swizzle = 128>
      }
      return
    }
    func.func @group(%ring: !hopper.ring<4, <16x128xf8E4M3FN, swizzle = 128>, <128x128xf8E4M3FN, swizzle = 128>>, %slot: !hopper.slot,
                     %a: !hopper.tensor_map<16x128xf8E4M3FN, swizzle = 128, ragged>,
                     %b: !hopper.tensor_map<1x128x128xf8E4M3FN, swizzle = 128>,
                     %g: i32, %m0: i32, %until: i32, %n0: i32, %k0: i32) {
      %next = hopper.produce %ring[%slot] : !hopper.ring<4, <16x128xf8E4M3FN, swizzle = 128>, <128x128xf8E4M3FN, swizzle = 128>> {
      ^bb0(%ta: !hopper.tile<16x128xf8E4M3FN, swizzle = 128>, %tb: !hopper.tile<128x128xf8E4M3FN, swizzle = 128>):
        hopper.tma_load %a[%m0, %k0] until %until to %ta : !hopper.tensor_map<16x128xf8E4M3FN, swizzle = 128, ragged> to !hopper.tile<16x128xf8E4M3FN, swizzle = 128>
        hopper.tma_load %b[%g, %n0, %k0] to %tb : !hopper.tensor_map<1x128x128xf8E4M3FN, swizzle = 128> to !hopper.tile<128x128xf8E4M3FN, swizzle = 128>
      }
      return
    }
    ```
  }];
  let arguments = (ins Hopper_TensorMapType:$map, Variadic<I32>:$at, Optional<I32>:$until, Hopper_TileType:$tile,
                       Optional<I32>:$multicast);
  let assemblyFormat = [{
    $map `[` $at `]` (`until` $until^)? `to` $tile (`multicast` $multicast^)? attr-dict `:` type($map) `to` type($tile)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Math
//===----------------------------------------------------------------------===//

def Hopper_WgmmaOp : Hopper_Op<"wgmma", [AttrSizedOperandSegments]> {
  let summary = "starts A * B^T on the tensor core";
  let description = [{
    A warpgroup multiplies 64 rows of A by the rows of B, over all their columns, in one group of wgmmas. The sums, f32, of i8 exact i32, start
    at zero, or, with `into`, at a fragment or at the sums of a product that is still in flight. With `over` they take the registers
    of a fragment that has had its last use: without it ptxas may start them in registers of their own before that use, and spill
    where two accumulators do not fit.

    Both tiles are f8E4M3FN, i8 or bf16, in panels of 128 bytes. Of bf16, A may be an operand in registers, which stay untouched until
    the wait, and B may be `transposed`: then A's columns are multiplied by its rows, A * B (a tile of tokens as values, which as
    keys was not transposed).

    ```mlir
    func.func @multiply(%a: !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, %b: !hopper.tile<96x128xf8E4M3FN, swizzle = 128>) {
      %acc = hopper.wgmma %a, %b : !hopper.tile<64x128xf8E4M3FN, swizzle = 128>, !hopper.tile<96x128xf8E4M3FN, swizzle = 128> -> !hopper.accumulator<64, 96>
      return
    }
    func.func @integers(%a: !hopper.tile<64x128xi8, swizzle = 128>, %b: !hopper.tile<96x128xi8, swizzle = 128>,
                        %sum: !hopper.fragment<64, 96, i32>) {
      %acc = hopper.wgmma %a, %b into %sum : !hopper.fragment<64, 96, i32>
        : !hopper.tile<64x128xi8, swizzle = 128>, !hopper.tile<96x128xi8, swizzle = 128> -> !hopper.accumulator<64, 96, i32>
      return
    }
    func.func @values(%p: !hopper.operand<64, 64>, %v: !hopper.tile<64x256xbf16, swizzle = 128>, %o: !hopper.fragment<64, 256>) {
      %acc = hopper.wgmma %p, %v transposed into %o : !hopper.fragment<64, 256>
        : !hopper.operand<64, 64>, !hopper.tile<64x256xbf16, swizzle = 128> -> !hopper.accumulator<64, 256>
      return
    }
    ```
  }];
  let arguments = (ins AnyTypeOf<[Hopper_TileType, Hopper_OperandType]>:$a, Hopper_TileType:$b, UnitAttr:$transposed,
                       Optional<AnyTypeOf<[Hopper_FragmentType, Hopper_AccumulatorType]>>:$into,
                       Optional<Hopper_FragmentType>:$over);
  let results = (outs Hopper_AccumulatorType:$result);
  let assemblyFormat = [{
    $a `,` $b (`transposed` $transposed^)? (`into` $into^ `:` type($into))? (`over` $over^ `:` type($over))? attr-dict
    `:` type($a) `,` type($b) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Hopper_WgmmaWaitOp : Hopper_Op<"wgmma_wait"> {
  let summary = "waits for wgmmas of the warpgroup and gives the sums";
  let description = [{
    It waits for all of them, or until no more than so many groups are `pending`, the youngest: a group is what one `wgmma` starts.

    ```mlir
    %products = hopper.wgmma_wait %acc : !hopper.accumulator<64, 96> -> !hopper.fragment<64, 96>
    %older = hopper.wgmma_wait %acc pending 1 : !hopper.accumulator<64, 96> -> !hopper.fragment<64, 96>
    ```
  }];
  let arguments = (ins Hopper_AccumulatorType:$accumulator,
                       DefaultValuedAttr<ConfinedAttr<I64Attr, [IntNonNegative, IntMaxValue<7>]>, "0">:$pending);
  let results = (outs Hopper_FragmentType:$result);
  let assemblyFormat = "$accumulator (`pending` $pending^)? attr-dict `:` type($accumulator) `->` type($result)";
  let hasVerifier = 1;
}

def Hopper_ZeroOp : Hopper_Op<"zero", [Pure]> {
  let summary = "a fragment of zeros";
  let description = [{
    ```mlir
    %sum = hopper.zero : !hopper.fragment<64, 96>
    ```
  }];
  let results = (outs Hopper_FragmentType:$result);
  let assemblyFormat = "attr-dict `:` type($result)";
}

def Hopper_LoadRowScalesOp : Hopper_Op<"load_row_scales"> {
  let summary = "the scales of a fragment's 64 rows, from row `first` of a 1 x n tile on";
  let description = [{
    ```mlir
    func.func @scales(%tile: !hopper.tile<1x128xf32>, %first: i32) {
      %scales = hopper.load_row_scales %tile[%first] : !hopper.tile<1x128xf32>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_TileType:$tile, I32:$first);
  let results = (outs Hopper_RowScalesType:$result);
  let assemblyFormat = "$tile `[` $first `]` attr-dict `:` type($tile)";
}

def Hopper_LoadColumnScalesOp : Hopper_Op<"load_column_scales"> {
  let summary = "the scales of a fragment's columns, from a 1 x n tile";
  let description = [{
    ```mlir
    %scales = hopper.load_column_scales %tile : !hopper.tile<1x16xf32> -> !hopper.column_scales<16>
    ```
  }];
  let arguments = (ins Hopper_TileType:$tile);
  let results = (outs Hopper_ColumnScalesType:$result);
  let assemblyFormat = "$tile attr-dict `:` type($tile) `->` type($result)";
}

def Hopper_LoadScalesOp : Hopper_Op<"load_scales"> {
  let summary = "the scales of a fragment's rows or columns, from global memory";
  let description = [{
    `pointer[index + i]` of row or column i as f32; for those from element `until` on the last one before it, which nobody uses. An
    ordinary load, behind `wait_prerequisites` where a kernel before writes them.

    ```mlir
    func.func @scales(%a: !hopper.global<f32>, %b: !hopper.global<bf16>, %m0: i32, %m: i32, %n0: i32, %n: i32) {
      %rows = hopper.load_scales %a[%m0] until %m : !hopper.global<f32> -> !hopper.row_scales
      %columns = hopper.load_scales %b[%n0] until %n : !hopper.global<bf16> -> !hopper.column_scales<128>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_GlobalType:$pointer, I32:$index, I32:$until);
  let results = (outs AnyTypeOf<[Hopper_RowScalesType, Hopper_ColumnScalesType]>:$result);
  let assemblyFormat = "$pointer `[` $index `]` `until` $until attr-dict `:` type($pointer) `->` type($result)";
  let hasVerifier = 1;
}

def Hopper_LoadBlockScaleOp : Hopper_Op<"load_block_scale"> {
  let summary = "one f32 from global memory, which the kernel does not write";
  let description = [{
    ```mlir
    func.func @scale(%scales: !hopper.global<f32>, %index: i32) {
      %scale = hopper.load_block_scale %scales[%index] : !hopper.global<f32>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_GlobalType:$pointer, I32:$index);
  let results = (outs F32:$result);
  let assemblyFormat = "$pointer `[` $index `]` attr-dict `:` type($pointer)";
}

def Hopper_LoadIndexOp : Hopper_Op<"load_index"> {
  let summary = "one i32 from global memory, which kernels before this one may have written";
  let description = [{
    An ordinary load, behind `wait_prerequisites`.

    ```mlir
    func.func @page(%pages: !hopper.global<i32>, %index: i32) {
      %page = hopper.load_index %pages[%index] : !hopper.global<i32>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_GlobalType:$pointer, I32:$index);
  let results = (outs I32:$result);
  let assemblyFormat = "$pointer `[` $index `]` attr-dict `:` type($pointer)";
  let hasVerifier = 1;
}

/// A fragment of f32 in the shape of the products.
class Hopper_FloatsLikeProducts<string argument> : TypesMatchWith<
    argument # " is f32 in the shape of the products", "products", argument,
    "FragmentType::get($_self.getContext(), ::llvm::cast<FragmentType>($_self).getRows(), ::llvm::cast<FragmentType>($_self).getColumns())">;

def Hopper_PromoteOp : Hopper_Op<"promote", [Pure, Hopper_FloatsLikeProducts<"sum">, Hopper_FloatsLikeProducts<"result">]> {
  let summary = "sum + products * rows * columns: what keeps FP8 sums exact enough, and scales those of integers";
  let description = [{
    `rows` are row_scales or one f32 for all; `columns` are column_scales or f32, each for an equal share of the columns. Products
    may be i32.

    ```mlir
    func.func @promote(%p: !hopper.fragment<64, 128>, %sum: !hopper.fragment<64, 128>, %sa: !hopper.row_scales, %s0: f32, %s1: f32) {
      %next = hopper.promote %p into %sum rows %sa columns %s0, %s1 : !hopper.fragment<64, 128>, !hopper.row_scales, f32, f32
      return
    }
    ```
  }];
  let arguments = (ins Hopper_FragmentType:$products, Hopper_FloatFragmentType:$sum, AnyType:$rows, Variadic<AnyType>:$columns);
  let results = (outs Hopper_FloatFragmentType:$result);
  let assemblyFormat = [{
    $products `into` $sum `rows` $rows `columns` $columns attr-dict
    `:` type($products) `,` type($rows) `,` type($columns)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Epilogue
//===----------------------------------------------------------------------===//

def Hopper_CombinePartsOp : Hopper_Op<"combine_parts", [AllTypesMatch<["sum", "total"]>]> {
  let summary = "split-K: leaves this part's sums, and gives the total to whoever comes last";
  let description = [{
    Each warpgroup leaves its fragment in `workspace` (parts x fragments of f32) and counts itself in `counters` (one i32 for each
    fragment, zero before the first launch). The last one to come adds all parts in their order, so that the result does not depend on
    who that is, sets the counter back to zero, and gets `last` = true; for all others the sum is undefined. `fragment` numbers
    the warpgroup's piece of D; `flag` is a tile of one i32 that the warpgroup has to itself.

    ```mlir
    func.func @combine(%sum: !hopper.fragment<64, 64>, %workspace: !hopper.global<f32>, %counters: !hopper.global<i32>,
                       %fragment: i32, %part: i32, %flag: !hopper.tile<1x1xi32>) {
      %last, %total = hopper.combine_parts %sum part %part of 4 fragment %fragment in %workspace, %counters flag %flag
        : !hopper.fragment<64, 64>, !hopper.global<f32>, !hopper.global<i32>, !hopper.tile<1x1xi32>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_FloatFragmentType:$sum, Hopper_GlobalType:$workspace, Hopper_GlobalType:$counters, I32:$fragment, I32:$part,
                       I64Attr:$parts, Hopper_TileType:$flag);
  let results = (outs I1:$last, Hopper_FloatFragmentType:$total);
  let assemblyFormat = [{
    $sum `part` $part `of` $parts `fragment` $fragment `in` $workspace `,` $counters `flag` $flag attr-dict
    `:` type($sum) `,` type($workspace) `,` type($counters) `,` type($flag)
  }];

}

def Hopper_AddBiasOp : Hopper_Op<"add_bias", [AllTypesMatch<["sum", "result"]>]> {
  let summary = "adds bias[first + i] to column i (with `rows`: to row i); beyond `size` nothing";
  let description = [{
    ```mlir
    func.func @bias(%sum: !hopper.fragment<64, 64>, %bias: !hopper.global<f32>, %n0: i32) {
      %biased = hopper.add_bias %sum, %bias[%n0] of 576 : !hopper.fragment<64, 64>, !hopper.global<f32>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_FloatFragmentType:$sum, Hopper_GlobalType:$bias, I32:$first, I64Attr:$size, UnitAttr:$rows);
  let results = (outs Hopper_FloatFragmentType:$result);
  let assemblyFormat = [{
    $sum `,` $bias `[` $first `]` `of` $size (`rows` $rows^)? attr-dict `:` type($sum) `,` type($bias)
  }];
}

def Hopper_SwigluQuantizeOp : Hopper_Op<"swiglu_quantize", [Pure, AllTypesMatch<["gate", "up", "values"]>]> {
  let summary = "silu(gate) * up, quantized: one scale for each row of 128 columns";
  let description = [{
    `h = g / (1 + exp(-g)) * u` with g and u rounded to bf16; `scale = max(max |h|, 1e-4) / 448` of a row, with `power_of_two`
    rounded up to one; `values = h / scale`, which `store_tile` rounds to f8E4M3FN. The four lanes that share a row find its
    largest value together. The bits are those of `deepseek.swiglu` with its quantized result on products that were stored as bf16.

    ```mlir
    func.func @hidden(%gate: !hopper.fragment<64, 128>, %up: !hopper.fragment<64, 128>) {
      %values, %scales = hopper.swiglu_quantize %gate, %up : !hopper.fragment<64, 128> -> !hopper.row_scales
      return
    }
    ```
  }];
  let arguments = (ins Hopper_FloatFragmentType:$gate, Hopper_FloatFragmentType:$up, UnitAttr:$power_of_two);
  let results = (outs Hopper_FloatFragmentType:$values, Hopper_RowScalesType:$scales);
  let assemblyFormat = "$gate `,` $up attr-dict `:` type($gate) `->` type($scales)";
  let hasVerifier = 1;
}

def Hopper_StoreRowScalesOp : Hopper_Op<"store_row_scales"> {
  let summary = "stores the scales of a fragment's rows, side by side from an index on, `until` a row";
  let description = [{
    The scale of row `row + i` goes to `pointer[index + i]`, where that row lies before `until`.

    ```mlir
    func.func @scales(%scales: !hopper.row_scales, %to: !hopper.global<f32>, %index: i32, %row: i32, %until: i32) {
      hopper.store_row_scales %scales to %to[%index] row %row until %until : !hopper.row_scales, !hopper.global<f32>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_RowScalesType:$scales, Hopper_GlobalType:$pointer, I32:$index, I32:$row, I32:$until);
  let assemblyFormat = "$scales `to` $pointer `[` $index `]` `row` $row `until` $until attr-dict `:` type($scales) `,` type($pointer)";
  let hasVerifier = 1;
}

def Hopper_RopeRowsOp : Hopper_Op<"rope_rows"> {
  let summary = "turns the pairs of 64 rows of a matrix and stores them into another";
  let description = [{
    For rows `row + i`, i < 64, that lie before `until`, and pairs j < size / 2: `to[row + i, column..]` are the pairs of `from[row + i,
    column..]` turned by `table[row + i]`, f32 of `size` columns, whose first half are cosines and the rest sines. Pairs are neighbours
    where `interleaved`, else (j, j + size / 2). A matrix has `of` columns. The threads of a warpgroup share the pairs.

    ```mlir
    func.func @turn(%q: !hopper.global<bf16>, %table: !hopper.global<f32>, %d: !hopper.global<bf16>, %from: i32, %to: i32, %row: i32, %m: i32) {
      hopper.rope_rows %q[%from] of 24576 by %table size 64 to %d[%to] of 73728 row %row until %m {interleaved}
        : !hopper.global<bf16>, !hopper.global<f32>, !hopper.global<bf16>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_GlobalType:$from, I32:$from_column, ConfinedAttr<I64Attr, [IntPositive]>:$from_columns,
                       Hopper_GlobalType:$table, ConfinedAttr<I64Attr, [IntPositive]>:$size, Hopper_GlobalType:$to, I32:$to_column,
                       ConfinedAttr<I64Attr, [IntPositive]>:$to_columns, I32:$row, I32:$until, UnitAttr:$interleaved);
  let assemblyFormat = [{
    $from `[` $from_column `]` `of` $from_columns `by` $table `size` $size `to` $to `[` $to_column `]` `of` $to_columns
    `row` $row `until` $until attr-dict `:` type($from) `,` type($table) `,` type($to)
  }];
  let hasVerifier = 1;
}

def Hopper_StoreTileOp : Hopper_Op<"store_tile"> {
  let summary = "rounds a fragment and stores it at [row, column] of a matrix";
  let description = [{
    A warpgroup rounds to the staging tile's type (f8E4M3FN saturates), writes it there (with `transposed` the fragment's columns become rows), and one thread of
    it stores it by TMA in boxes of the tensor map; what lies outside of the matrix is clipped. With `add` the store adds to what
    is there, with one more rounding. The staging tile is the warpgroup's own; it is free again when the next store_tile begins,
    which waits for all stores before. `follows` does not wait: a store_tile just before it has waited for its staging tile, too.
    To a ragged map it stores the rows `until` which the group goes.

    ```mlir
    func.func @store(%sum: !hopper.fragment<64, 128>, %staging: !hopper.tile<64x128xbf16, swizzle = 128>,
                     %d: !hopper.tensor_map<64x64xbf16, swizzle = 128>, %m0: i32, %n0: i32) {
      hopper.store_tile %sum by %staging to %d[%m0, %n0]
        : !hopper.fragment<64, 128>, !hopper.tile<64x128xbf16, swizzle = 128>, !hopper.tensor_map<64x64xbf16, swizzle = 128>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_FloatFragmentType:$sum, Hopper_TileType:$staging, Hopper_TensorMapType:$map, I32:$row, I32:$column,
                       Optional<I32>:$until, UnitAttr:$transposed, UnitAttr:$add, UnitAttr:$follows);
  let assemblyFormat = [{
    $sum (`transposed` $transposed^)? (`follows` $follows^)? `by` $staging (`add` $add^)? `to` $map `[` $row `,` $column `]`
    (`until` $until^)? attr-dict
    `:` type($sum) `,` type($staging) `,` type($map)
  }];
  let hasVerifier = 1;
}

def Hopper_WaitStoresOp : Hopper_Op<"wait_stores"> {
  let summary = "waits until all of the warpgroup's stores have read shared memory, which ends with the block";
  let description = [{
    The stores are complete when the kernel is.

    ```mlir
    hopper.wait_stores
    ```
  }];
  let assemblyFormat = "attr-dict";
}

include "dialects/hopper/HopperAttentionOps.td"

#endif // QUANT_HOPPER_OPS
