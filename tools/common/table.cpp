//===- table.cpp - aligned columns for people -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/common/table.h"

#include <algorithm>

using namespace quant;
using namespace quant::tools;

Table::Table(std::vector<std::string> titles) {
  for (std::string &title : titles) {
    right.push_back(title.starts_with('>'));
    if (right.back())
      title.erase(0, 1);
  }
  rows.push_back(std::move(titles));
}

/// Columns on a terminal: characters, not the bytes of their UTF-8.
static size_t width(const std::string &cell) {
  return static_cast<size_t>(std::ranges::count_if(cell, [](char byte) { return (byte & 0xC0) != 0x80; }));
}

std::string Table::str(size_t indent) const {
  std::vector<size_t> widths(right.size());
  for (const auto &row : rows)
    for (size_t column = 0; column < row.size(); ++column)
      widths[column] = std::max(widths[column], width(row[column]));
  std::string out;
  for (const auto &row : rows) {
    out += std::string(indent, ' ');
    for (size_t column = 0; column < row.size(); ++column) {
      std::string padding(widths[column] - width(row[column]), ' ');
      out += (column ? "  " : "") + (right[column] ? padding + row[column] : row[column] + padding);
    }
    out.erase(out.find_last_not_of(' ') + 1);
    out += "\n";
  }
  return out;
}
