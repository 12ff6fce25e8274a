//===- Fp8GemmSchedule.cpp - the FP8 matmul's schedule ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/hopper/Fp8GemmSchedule.h"

#include "dialects/qblock/QBlock.h"

#include "mlir/IR/BuiltinAttributes.h"

using namespace mlir;
using namespace quant;
using machine::Fp8GemmConfig;
using machine::Multicast;

Fp8GemmConfig hopper::getFp8GemmConfig(Operation *matmul) {
  ArrayRef<int64_t> shape = qblock::getMatrixShape(matmul->getOperand(1).getType());
  Fp8GemmConfig config{.n = shape[shape.size() - 2], .k = shape.back()};
  if (shape.size() == 3) {
    config.groups = shape[0];
    config.topK = qblock::getMatrixShape(matmul->getResult(0).getType())[1];
  }
  if (auto swiglu = dyn_cast<qblock::GroupedSwigluOp>(matmul)) {
    config.n /= 2;
    config.swiglu = true;
    config.powerOfTwoScales = swiglu.getPowerOfTwo();
  }
  return config;
}

DictionaryAttr hopper::getFp8GemmParameters(Builder &builder, const Fp8GemmConfig &config) {
  SmallVector<NamedAttribute> parameters;
  auto add = [&](StringRef name, Attribute value) { parameters.push_back(builder.getNamedAttr(name, value)); };
  add("block_m", builder.getI64IntegerAttr(config.blockM));
  add("block_n", builder.getI64IntegerAttr(config.blockN));
  if (config.stages)
    add("stages", builder.getI64IntegerAttr(config.stages));
  if (config.swapAB)
    add("swap_ab", builder.getUnitAttr());
  if (config.multicast != Multicast::none)
    add("multicast", builder.getStringAttr(config.multicast == Multicast::a ? "a" : "b"));
  if (config.splitK != 1)
    add("split_k", builder.getI64IntegerAttr(config.splitK));
  return builder.getDictionaryAttr(parameters);
}

/// Sets what `parameter` says; false where there is no such parameter, or it has another type.
static bool setParameter(Fp8GemmConfig &config, NamedAttribute parameter) {
  StringRef name = parameter.getName().getValue();
  if (name == "swap_ab")
    return config.swapAB = isa<UnitAttr>(parameter.getValue());
  if (auto text = dyn_cast<StringAttr>(parameter.getValue())) {
    config.multicast = text == "a" ? Multicast::a : Multicast::b;
    return name == "multicast" && (text == "a" || text == "b");
  }
  int64_t *field = name == "block_m"   ? &config.blockM
                   : name == "block_n" ? &config.blockN
                   : name == "stages"  ? &config.stages
                   : name == "split_k" ? &config.splitK
                                       : nullptr;
  auto number = dyn_cast<IntegerAttr>(parameter.getValue());
  if (field && number)
    *field = number.getInt();
  return field && number;
}

Result<Fp8GemmConfig> hopper::readFp8GemmParameters(Fp8GemmConfig base, DictionaryAttr parameters) {
  for (NamedAttribute parameter : parameters)
    if (!setParameter(base, parameter)) {
      std::string text;
      llvm::raw_string_ostream(text) << parameter.getName().getValue() << " = " << parameter.getValue();
      return fail("the FP8 matmul's schedule has no parameter '" + text +
                  "': block_m, block_n, stages, split_k (i64), swap_ab (unit), multicast (\"a\" or \"b\")");
    }
  if (auto checked = machine::checkFp8Gemm(base); !checked)
    return tl::unexpected(checked.error());
  return base;
}
