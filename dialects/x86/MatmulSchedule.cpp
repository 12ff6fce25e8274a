//===- MatmulSchedule.cpp - a matmul's schedule on x86 ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/x86/MatmulSchedule.h"

#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace quant;
using x86::MatmulSchedule;

namespace {

/// A parameter that is an integer, with its least and its largest value.
struct Parameter {
  StringRef name;
  int64_t MatmulSchedule::*field;
  int64_t least, largest;
};
constexpr Parameter kParameters[] = {
    {"dot_tokens", &MatmulSchedule::dotTokens, 1, 64},         {"dot_sums", &MatmulSchedule::dotSums, 1, 64},
    {"panel_columns", &MatmulSchedule::panelColumns, 1, 4096}, {"tile_tokens", &MatmulSchedule::tileTokens, 3, 24},
    {"tile_vectors", &MatmulSchedule::tileVectors, 1, 4},      {"input_parts", &MatmulSchedule::inputParts, 0, 3},
    {"call_rows", &MatmulSchedule::callRows, 0, 4096},         {"packed_columns", &MatmulSchedule::packedColumns, 0, 16384}};

} // namespace

DictionaryAttr x86::getMatmulParameters(Builder &builder, const MatmulSchedule &schedule) {
  SmallVector<NamedAttribute> parameters = {builder.getNamedAttr("tile", builder.getDenseI64ArrayAttr({0, schedule.rows, 0}))};
  for (const Parameter &parameter : kParameters)
    parameters.push_back(builder.getNamedAttr(parameter.name, builder.getI64IntegerAttr(schedule.*parameter.field)));
  return builder.getDictionaryAttr(parameters);
}

/// Sets what `attribute` says.
static Result<void> setParameter(MatmulSchedule &schedule, NamedAttribute attribute) {
  StringRef name = attribute.getName().getValue();
  if (name == "tile") {
    // The schedule's verifier has seen to its three sizes.
    if (int64_t rows = cast<DenseI64ArrayAttr>(attribute.getValue())[1]; rows > 0)
      schedule.rows = rows;
    return {};
  }
  const Parameter *parameter = llvm::find_if(kParameters, [&](const Parameter &known) { return known.name == name; });
  if (parameter == std::end(kParameters))
    return fail(llvm::formatv("the host's schedules have no parameter '{0}'", name));
  auto value = dyn_cast<IntegerAttr>(attribute.getValue());
  if (!value || value.getInt() < parameter->least || value.getInt() > parameter->largest)
    return fail(llvm::formatv("{0} must be an integer from {1} to {2}, not {3}", name, parameter->least, parameter->largest,
                              attribute.getValue()));
  schedule.*parameter->field = value.getInt();
  return {};
}

Result<MatmulSchedule> x86::readMatmulParameters(MatmulSchedule base, DictionaryAttr parameters) {
  for (NamedAttribute parameter : parameters)
    QUANT_TRY(setParameter(base, parameter));
  return base;
}
