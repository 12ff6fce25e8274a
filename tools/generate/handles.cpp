//===- handles.cpp - the C API's handles, freed by themselves -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/generate/handles.h"

namespace quant::generate {

Result<ModuleHandle> openModule(const std::string &path) {
  quant_module *module = nullptr;
  if (quant_module_open(path.c_str(), &module) != QUANT_OK)
    return apiError();
  return ModuleHandle(module);
}

Result<SessionHandle> openSession(const quant_module *module, const std::string &weights, const quant_session_options &options) {
  quant_session *session = nullptr;
  if (quant_session_create(module, weights.c_str(), &options, &session) != QUANT_OK)
    return apiError();
  return SessionHandle(session);
}

nlohmann::json modelConfigValue(const quant_module *module, const char *key) {
  auto config = nlohmann::json::parse(quant_module_config(module), nullptr, /*allow_exceptions=*/false);
  return config.is_object() ? config.value(key, nlohmann::json()) : nlohmann::json();
}

Result<std::vector<int32_t>> modelEndTokens(const quant_module *module) {
  std::vector<int32_t> ends;
  nlohmann::json ids = modelConfigValue(module, "eos_token_id");
  for (const nlohmann::json &id : ids.is_array() ? ids : nlohmann::json::array({ids})) {
    if (id.is_null())
      continue;
    if (!id.is_number_integer())
      return fail("eos_token_id of its model is no integer and no list of them; compile it again");
    // An id that is none of the vocabulary's never comes.
    if (id >= 0 && id < quant_module_vocab(module))
      ends.push_back(id.get<int32_t>());
  }
  return ends;
}

} // namespace quant::generate
