//===- SimtKernel.cpp - function, arguments and recipe -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/SimtKernel.h"

#include "dialects/machine/Gpu.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include <fmt/core.h>

using namespace mlir;

namespace quant::nvvm {

static LLVM::LLVMFuncOp createFunction(SimtBuilder &builder, const SimtSpec &spec) {
  MLIRContext *context = builder.getContext();
  SmallVector<Type> types(spec.operands.size(), LLVM::LLVMPointerType::get(context, 1));
  types.append(spec.sizes.size(), builder.getI32Type());
  SmallVector<DictionaryAttr> attributes;
  // Operands do not overlap: that lets loads of what is only read go through the read-only path, and move past stores.
  for (const Operand &operand : spec.operands) {
    NamedAttrList list;
    list.append("llvm.noalias", builder.getUnitAttr());
    if (!operand.written)
      list.append("llvm.readonly", builder.getUnitAttr());
    attributes.push_back(list.getDictionary(context));
  }
  attributes.append(spec.sizes.size(), builder.getDictionaryAttr({}));
  auto threads = builder.getDenseI32ArrayAttr({static_cast<int32_t>(spec.threads), 1, 1});
  SmallVector<NamedAttribute> kernel = {builder.getNamedAttr("gpu.kernel", builder.getUnitAttr()),
                                        builder.getNamedAttr("nvvm.kernel", builder.getUnitAttr()),
                                        builder.getNamedAttr("nvvm.maxntid", threads),
                                        // Without it ptxas aims at 32 registers a thread, and spills to get there.
                                        builder.getNamedAttr("nvvm.minctasm", builder.getI32IntegerAttr(1))};
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), types);
  return LLVM::LLVMFuncOp::create(builder, spec.name, type, LLVM::Linkage::External, /*dsoLocal=*/false, LLVM::CConv::C,
                                  SymbolRefAttr(), kernel, attributes);
}

static LaunchRecipe recipeOf(const SimtSpec &spec, int64_t sharedBytes) {
  LaunchRecipe recipe;
  recipe.kernel = spec.name;
  recipe.arch = machine::kSm90a.name;
  recipe.block = {spec.threads, 1, 1};
  recipe.grid = spec.grid;
  recipe.dynamicSharedBytes = sharedBytes;
  recipe.operands = spec.operands;
  recipe.config = spec.config;
  for (size_t index = 0; index < spec.operands.size(); ++index)
    recipe.parameters.emplace_back(PointerParameter{static_cast<int>(index)});
  for (Dim size : spec.sizes)
    recipe.parameters.emplace_back(I32Parameter{size});
  return recipe;
}

Result<LaunchRecipe> buildSimtKernel(gpu::GPUModuleOp gpuModule, const SimtSpec &spec, SimtBody body) {
  if (gpuModule.lookupSymbol(spec.name))
    return fail(fmt::format("gpu.module @{} already has a symbol {}", gpuModule.getName().str(), spec.name));
  SimtBuilder builder(gpuModule.getLoc(), gpuModule.getContext(), spec.threads);
  declareDynamicShared(builder, gpuModule);
  builder.setInsertionPointToEnd(gpuModule.getBody());
  LLVM::LLVMFuncOp function = createFunction(builder, spec);
  Block *entry = function.addEntryBlock(builder);
  builder.setInsertionPointToStart(entry);
  builder.begin();
  SmallVector<Value> arguments(entry->getArguments().begin(), entry->getArguments().end());
  ArrayRef<Value> all(arguments);
  Result<void> emitted = body(builder, all.take_front(spec.operands.size()), all.drop_front(spec.operands.size()));
  if (!emitted) {
    function.erase();
    return tl::unexpected(emitted.error());
  }
  LLVM::ReturnOp::create(builder, ValueRange());
  return recipeOf(spec, builder.sharedBytes());
}

} // namespace quant::nvvm
