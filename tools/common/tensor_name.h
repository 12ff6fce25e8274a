//===- tensor_name.h - what the name of a tensor tells ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_COMMON_TENSOR_NAME_H
#define QUANT_TOOLS_COMMON_TENSOR_NAME_H

#include <cstdint>
#include <string>
#include <string_view>

namespace quant::tools {

/// The part behind the part `key`, if that is a number, else -1: for "layers" 12 of "model.layers.12.mlp.up_proj.weight".
int64_t numberAfter(std::string_view name, std::string_view key);

/// The name with a `*` for every part that is a number: "model.layers.*.mlp.experts.*.up_proj.weight".
std::string nameOfKind(std::string_view name);

/// The module within its layer, for people: "mlp.experts.up_proj", "self_attn.o_proj", "input_layernorm", "lm_head".
std::string moduleKind(std::string_view name);

} // namespace quant::tools

#endif // QUANT_TOOLS_COMMON_TENSOR_NAME_H
