//===- table.h - aligned columns for people ---------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_COMMON_TABLE_H
#define QUANT_TOOLS_COMMON_TABLE_H

#include <string>
#include <vector>

namespace quant::tools {

/// Rows of cells, each column as wide as its widest cell, two spaces between columns.
class Table {
public:
  /// The first row; a title that begins with '>' (which is not printed) makes a column of right-aligned cells.
  explicit Table(std::vector<std::string> titles);

  /// As many cells as there are titles.
  void add(std::vector<std::string> cells) { rows.push_back(std::move(cells)); }
  bool empty() const { return rows.size() == 1; }
  /// A line per row, each indented by `indent` spaces; no spaces at the ends of lines.
  std::string str(size_t indent = 0) const;

private:
  std::vector<bool> right;
  std::vector<std::vector<std::string>> rows;
};

} // namespace quant::tools

#endif // QUANT_TOOLS_COMMON_TABLE_H
