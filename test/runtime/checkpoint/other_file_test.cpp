//===- other_file_test.cpp - files that are not what they should be -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/other_file.h"

#include <gtest/gtest.h>

using quant::checkpoint::describeOtherFile;

namespace {

TEST(OtherFile, IsDescribed) {
  EXPECT_TRUE(describeOtherFile("version https://git-lfs.github.com/spec/v1\n").starts_with("is a git-lfs pointer"));
  for (const char *page : {"<!DOCTYPE html>", "\n  <!doctype HTML>", "<html lang=en>", "<?xml version"})
    EXPECT_TRUE(describeOtherFile(page).starts_with("is an HTML or XML page")) << page;
  for (const char *text : {"Entry not found", "Repository not found", "Invalid username or password.", "{\"error\":\"...\"}"})
    EXPECT_TRUE(describeOtherFile(text).starts_with("holds the text of an error")) << text;
  EXPECT_TRUE(describeOtherFile("PK\x03\x04").starts_with("is a zip archive"));
  EXPECT_TRUE(describeOtherFile("GGUF").starts_with("is a GGUF file"));
}

TEST(OtherFile, ManyAreNot) {
  for (const char *text : {"", " ", "{}", "{\"errors\": 1}", "version 2", "PK", "<svg>", "\x40\0\0"})
    EXPECT_EQ(describeOtherFile(text), "") << text;
}

} // namespace
