//===- TileRegisters.cpp - AMX and dot products, as they are -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/TileRegisters.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace quant::host;

static constexpr int64_t kTiles = 8, kRowBytes = 64;

/// `operands` of type i8 are numbers of registers.
static void call(HostBuilder &b, StringRef name, ValueRange operands) {
  LLVM::CallIntrinsicOp::create(b, b.getStringAttr(name), operands);
}

/// The number of a register, which an intrinsic takes as a constant.
static Value number(HostBuilder &b, int64_t tile) {
  return LLVM::ConstantOp::create(b, b.i8(), b.getI8IntegerAttr(static_cast<int8_t>(tile)));
}

void quant::host::configureTiles(HostBuilder &b, Value scratch) {
  // Byte 0: palette; from 16 on two bytes a register: bytes of a row; from 48 on one: rows.
  SmallVector<int8_t> config(64, 0);
  config[0] = 1;
  for (int64_t tile = 0; tile < kTiles; ++tile) {
    config[16 + 2 * tile] = kRowBytes;
    config[48 + tile] = kTileRows;
  }
  b.store(arith::ConstantOp::create(b, DenseElementsAttr::get(b.vec(64, b.i8()), ArrayRef(config))), scratch);
  call(b, "llvm.x86.ldtilecfg", {scratch});
}

void quant::host::releaseTiles(HostBuilder &b) { call(b, "llvm.x86.tilerelease", {}); }

void quant::host::zeroTile(HostBuilder &b, int64_t tile) { call(b, "llvm.x86.tilezero", {number(b, tile)}); }

void quant::host::loadTile(HostBuilder &b, int64_t tile, Value address, int64_t stride) {
  call(b, "llvm.x86.tileloadd64", {number(b, tile), address, b.size(stride)});
}

void quant::host::storeTile(HostBuilder &b, int64_t tile, Value address, int64_t stride) {
  call(b, "llvm.x86.tilestored64", {number(b, tile), address, b.size(stride)});
}

void quant::host::multiplyTilesBf16(HostBuilder &b, int64_t sum, int64_t x, int64_t w) {
  call(b, "llvm.x86.tdpbf16ps", {number(b, sum), number(b, x), number(b, w)});
}

void quant::host::multiplyTilesInt8(HostBuilder &b, int64_t sum, int64_t x, int64_t w) {
  call(b, "llvm.x86.tdpbssd", {number(b, sum), number(b, x), number(b, w)});
}

Value quant::host::roundPairs(HostBuilder &b, Value low, Value high) {
  auto name = b.getStringAttr("llvm.x86.avx512bf16.cvtne2ps2bf16.512");
  Type pairs = b.vec(2 * kLanes, b.getBF16Type());
  Value rounded = LLVM::CallIntrinsicOp::create(b, pairs, name, ValueRange{high, low}).getResult(0);
  return vector::BitCastOp::create(b, b.vec(kLanes, b.i32()), rounded);
}

Value quant::host::dotPairs(HostBuilder &b, Value sum, Value x, Value w) {
  auto pairs = [&](Value dwords) { return vector::BitCastOp::create(b, b.vec(2 * kLanes, b.getBF16Type()), dwords); };
  auto name = b.getStringAttr("llvm.x86.avx512bf16.dpbf16ps.512");
  return LLVM::CallIntrinsicOp::create(b, sum.getType(), name, ValueRange{sum, pairs(x), pairs(w)}).getResult(0);
}

Value quant::host::dotBytes(HostBuilder &b, Value sum, Value x, Value w) {
  auto bytes = [&](Value dwords) { return vector::BitCastOp::create(b, b.vec(4 * kLanes, b.i8()), dwords); };
  auto name = b.getStringAttr("llvm.x86.avx512.vpdpbusd.512");
  return LLVM::CallIntrinsicOp::create(b, sum.getType(), name, ValueRange{sum, bytes(x), bytes(w)}).getResult(0);
}
