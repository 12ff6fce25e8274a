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

static LLVM::LLVMFuncOp createFunction(SimtBuilder &b, const LaunchRecipe &recipe, size_t sizes) {
  SmallVector<Type> types(recipe.operands.size(), b.ptr(1));
  types.append(sizes, b.i32());
  SmallVector<DictionaryAttr> attributes;
  // Operands do not overlap: that lets loads of what is only read go through the read-only path, and move past stores.
  for (const Operand &operand : recipe.operands) {
    NamedAttrList list;
    list.append("llvm.noalias", b.getUnitAttr());
    if (!operand.written)
      list.append("llvm.readonly", b.getUnitAttr());
    attributes.push_back(list.getDictionary(b.getContext()));
  }
  attributes.append(sizes, b.getDictionaryAttr({}));
  return createKernelFunction(b, recipe.kernel, types, attributes, b.threads);
}

Result<LaunchRecipe> buildSimtKernel(gpu::GPUModuleOp gpuModule, LaunchRecipe recipe, ArrayRef<Dim> sizes, SimtBody body) {
  if (gpuModule.lookupSymbol(recipe.kernel))
    return fail(fmt::format("gpu.module @{} already has a symbol {}", gpuModule.getName().str(), recipe.kernel));
  SimtBuilder builder(gpuModule.getLoc(), gpuModule.getContext(), recipe.block[0]);
  declareDynamicShared(builder, gpuModule);
  builder.setInsertionPointToEnd(gpuModule.getBody());
  LLVM::LLVMFuncOp function = createFunction(builder, recipe, sizes.size());
  builder.setInsertionPointToStart(function.addEntryBlock(builder));
  builder.begin();
  SmallVector<Value> arguments(function.getArguments());
  size_t operands = recipe.operands.size();
  if (Result<void> emitted = body(builder, ArrayRef(arguments).take_front(operands), ArrayRef(arguments).drop_front(operands));
      !emitted) {
    function.erase();
    return tl::unexpected(emitted.error());
  }
  LLVM::ReturnOp::create(builder, ValueRange());
  recipe.arch = machine::kSm90a.name;
  recipe.dynamicSharedBytes = builder.sharedBytes();
  for (size_t index = 0; index < operands; ++index)
    recipe.parameters.emplace_back(PointerParameter{static_cast<int>(index)});
  for (Dim size : sizes)
    recipe.parameters.emplace_back(I32Parameter{size});
  return recipe;
}

} // namespace quant::nvvm
