//===- encode_documents.cpp - documents to token ids, for the oracle ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// encode-documents TOKENIZER.json ROUNDS <DOCUMENTS >IDS: test/interop/test_tokenizer.py runs it beside the `tokenizers` library.
// DOCUMENTS are a 32-bit length and as many bytes each, IDS a 32-bit count and as many ids. Seconds of each round go to stderr.
//
//===----------------------------------------------------------------------===//

#include "tools/text/tokenizer.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>

using namespace quant;

static int refuse(const Error &error) {
  std::fprintf(stderr, "encode-documents: error: %s\n", error.message.c_str());
  return 1;
}

static std::vector<std::string_view> documentsOf(std::string_view input) {
  std::vector<std::string_view> documents;
  for (uint32_t bytes = 0; input.size() >= sizeof bytes; input.remove_prefix(sizeof bytes + bytes)) {
    std::memcpy(&bytes, input.data(), sizeof bytes);
    documents.push_back(input.substr(sizeof bytes, bytes));
  }
  return documents;
}

int main(int argc, char **argv) {
  if (argc != 3)
    return 2;
  Result<std::shared_ptr<const text::Tokenizer>> tokenizer = text::Tokenizer::read(argv[1]);
  if (!tokenizer)
    return refuse(tokenizer.error());
  std::string input(std::istreambuf_iterator<char>(std::cin), {});
  std::vector<std::string_view> documents = documentsOf(input);
  std::vector<std::vector<int32_t>> ids(documents.size());
  for (int round = 0; round < std::atoi(argv[2]); ++round) {
    auto start = std::chrono::steady_clock::now();
    text::Encoder encoder(*tokenizer);
    for (size_t i = 0; i < documents.size(); ++i) {
      Result<std::vector<int32_t>> encoded = encoder.encode(documents[i]);
      if (!encoded)
        return refuse(encoded.error());
      ids[i] = std::move(*encoded);
    }
    std::fprintf(stderr, "%.6f\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  for (const std::vector<int32_t> &of : ids) {
    auto count = static_cast<uint32_t>(of.size());
    std::fwrite(&count, sizeof count, 1, stdout);
    std::fwrite(of.data(), sizeof(int32_t), of.size(), stdout);
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}
