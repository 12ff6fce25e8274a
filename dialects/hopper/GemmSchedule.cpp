//===- GemmSchedule.cpp - the matmul's schedule ------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/hopper/GemmSchedule.h"

#include "dialects/qblock/QBlock.h"

#include "mlir/IR/BuiltinAttributes.h"

using namespace mlir;
using namespace quant;
using machine::GemmConfig;
using machine::Multicast;

GemmConfig hopper::getGemmConfig(Operation *matmul) {
  ArrayRef<int64_t> shape = qblock::getMatrixShape(matmul->getOperand(1).getType());
  GemmConfig config{.n = shape[shape.size() - 2], .k = shape.back()};
  if (shape.size() == 3) {
    config.groups = shape[0];
    config.topK = qblock::getMatrixShape(matmul->getResult(0).getType())[1];
  }
  auto x = dyn_cast<qblock::BlockTensorType>(matmul->getOperand(0).getType());
  if (!x)
    config.element = machine::GemmElement::bf16;
  else if (x.getStorageType().isInteger())
    config.element = machine::GemmElement::i8;
  if (auto w = dyn_cast<qblock::BlockTensorType>(matmul->getOperand(1).getType()); w && x && x.getStorageType().isInteger())
    config.bf16Scales = w.getScaleType().isBF16();
  if (auto result = dyn_cast<ShapedType>(matmul->getResult(0).getType()); result && result.getElementType().isF32())
    config.outputType = machine::OutputType::f32;
  if (auto swiglu = dyn_cast<qblock::GroupedSwigluOp>(matmul)) {
    config.n /= 2;
    config.swiglu = true;
    config.powerOfTwoScales = swiglu.getPowerOfTwo();
  }
  return config;
}

GemmConfig hopper::getProjectionConfig(const machine::MlaProjection &mla, Type kvB, Type result) {
  GemmConfig config = machine::mlaGemmConfig(mla, qblock::getMatrixShape(kvB).back());
  if (cast<ShapedType>(result).getElementType().isF32())
    config.outputType = machine::OutputType::f32;
  return config;
}

DictionaryAttr hopper::getGemmParameters(Builder &builder, const GemmConfig &config) {
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
static bool setParameter(GemmConfig &config, NamedAttribute parameter) {
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

Result<GemmConfig> hopper::readGemmParameters(GemmConfig base, DictionaryAttr parameters) {
  for (NamedAttribute parameter : parameters)
    if (!setParameter(base, parameter)) {
      std::string text;
      llvm::raw_string_ostream(text) << parameter.getName().getValue() << " = " << parameter.getValue();
      return fail("the matmul's schedule has no parameter '" + text +
                  "': block_m, block_n, stages, split_k (i64), swap_ab (unit), multicast (\"a\" or \"b\")");
    }
  if (auto checked = machine::checkGemm(base); !checked)
    return tl::unexpected(checked.error());
  return base;
}
