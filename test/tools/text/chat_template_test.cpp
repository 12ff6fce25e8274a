//===- chat_template_test.cpp - templates against Jinja2's goldens, and what they refuse ===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/chat_template.h"
#include "tools/text/text_files.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace quant::text {
namespace {

using Json = nlohmann::ordered_json;

std::string readText(const std::string &path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

Result<std::string> render(const std::string &source, const Json &variables = Json::object()) {
  Result<ChatTemplate> parsed = ChatTemplate::parse(source);
  return parsed ? parsed->render(variables) : Result<std::string>(tl::unexpected(parsed.error()));
}

std::string refusal(const std::string &source) {
  Result<std::string> rendered = render(source, Json{{"messages", Json::array()}, {"text", "abc"}, {"n", 3}});
  return rendered ? "accepted: " + *rendered : rendered.error().message;
}

/// The goldens are Jinja2's (test/interop/test_chat_template.py --make-golden).
TEST(ChatTemplateTest, EqualsJinja) {
  Json golden = Json::parse(readText(QUANT_TEXT_GOLDEN "/templates.json"));
  size_t same = 0, errors = 0;
  for (const Json &one : golden["cases"]) {
    std::string name = one["name"], source = one["template"];
    if (name.ends_with(".jinja"))
      source = readText(QUANT_TEXT_TEMPLATES "/" + name);
    else if (name.ends_with(".json"))
      source = Json::parse(readText(QUANT_TINY "/tokenizer_config.json"))["chat_template"];
    int64_t variables = one["variables"];
    Result<std::string> rendered =
        render(source, variables < 0 ? Json::object() : golden["variables"][static_cast<size_t>(variables)]);
    if (one.contains("error")) {
      EXPECT_FALSE(rendered) << source << "\n" << *rendered;
      ++errors;
      continue;
    }
    ASSERT_TRUE(rendered) << name << ": " << source << "\n" << rendered.error().message;
    EXPECT_EQ(*rendered, one["text"].get<std::string>()) << name << ": " << source;
    ++same;
  }
  EXPECT_GT(same, 200u);
  EXPECT_GT(errors, 20u);
}

TEST(ChatTemplateTest, RefusesByNameWithTheLine) {
  EXPECT_EQ(refusal("\n{% include 'x' %}"),
            "line 2: tag 'include' is not read; known are if, for, set, macro, break and continue");
  EXPECT_EQ(refusal("\n\n{{ text | wordwrap }}"), "line 3: filter 'wordwrap' is not read");
  EXPECT_EQ(refusal("{{ text is divisibleby(3) }}"), "line 1: test 'divisibleby' with arguments is not read");
  EXPECT_EQ(refusal("{{ text is odd }}"), "line 1: test 'odd' is not read");
  EXPECT_EQ(refusal("{{ text.title() }}"), "line 1: method 'title' is not read");
  EXPECT_EQ(refusal("{{ strftime_now('%d') }}"), "line 1: function 'strftime_now' is not read");
  EXPECT_EQ(refusal("{{ n | tojson(indent=4) }}"), "line 1: filter 'tojson' with argument indent= is not read");
  EXPECT_EQ(refusal("{{ messages }}"), "line 1: a list would be printed in Python's syntax, which is not read; use tojson");
  EXPECT_EQ(refusal("{{ 1 < n < 5 }}"), "line 1: several comparisons in a row are not read; use 'and'");
  EXPECT_EQ(refusal("{% set a, b = 1 %}"), "line 1: a set without '=' (a block, or several targets) is not read");
  EXPECT_EQ(refusal("{{ (1, 2) }}"), "line 1: tuples are not read");
  EXPECT_EQ(refusal("{% if text %}"), "line 1: the template ends where 'endif' should be");
  EXPECT_EQ(refusal("a\n{{ text + 1 }}"), "line 2: '+' is not read between a string and a number");
  EXPECT_EQ(refusal("{{ nothing.at_all }}"), "line 1: 'nothing', undefined, has no items");
  EXPECT_EQ(refusal("{{ raise_exception('roles must alternate') }}"), "line 1: roles must alternate");
  EXPECT_EQ(refusal("{{ 'ä' | upper }}"), "line 1: upper and lower case are read of ASCII only");
}

TEST(ChatTemplateTest, EndsWhateverTheTemplateDoes) {
  const std::string loop = "{% for a in range(100000) %}";
  EXPECT_EQ(refusal(loop + loop + "{% endfor %}{% endfor %}").substr(0, 40), "line 1: the template runs without end");
  EXPECT_EQ(refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "line 1: macros call each other too deep");
  EXPECT_EQ(
      refusal("{% set ns = namespace(a='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}{% set ns.a = ns.a + ns.a %}{% endfor %}"),
      "line 1: a string has more than 16777216 bytes");
  EXPECT_EQ(refusal("{{ range(100001) | length }}"), "line 1: a range has more than 100000 numbers");
  EXPECT_EQ(refusal("{{ " + std::string(300, '(') + "1" + std::string(300, ')') + " }}"),
            "line 1: expressions or blocks are nested too deep");
  std::string sum = "1";
  for (int i = 0; i < 5000; ++i)
    sum += "+1";
  EXPECT_EQ(refusal("{{ " + sum + " }}"), "line 1: an expression is too long");
}

class TextFilesTest : public testing::Test {
protected:
  TextFilesTest() {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    std::filesystem::copy(QUANT_TINY "/tokenizer.json", folder);
  }
  ~TextFilesTest() override { std::filesystem::remove_all(folder); }
  void write(const char *name, const std::string &text) { std::ofstream(folder / name) << text; }
  std::string refusal() {
    Result<TextFiles> files = TextFiles::read(folder);
    return files ? "accepted" : files.error().message.substr(folder.string().size() + 1);
  }

  std::filesystem::path folder =
      testing::TempDir() + "text_files_" + testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(TextFilesTest, ReadsTheTinyModel) {
  Result<TextFiles> files = TextFiles::read(QUANT_TINY);
  ASSERT_TRUE(files) << files.error().message;
  Encoder encoder(files->tokenizer);
  EXPECT_EQ(files->encodeText(encoder, "1")->front(), 0); // add_bos_token
  EXPECT_EQ(*files->encodeText(encoder, "<｜begin▁of▁sentence｜>1"), *files->encodeText(encoder, "1"));
  Json messages = {{{"role", "system"}, {"content", "S"}}, {{"role", "user"}, {"content", "U"}}};
  EXPECT_EQ(*files->renderChat(messages, Json::object()), "<｜begin▁of▁sentence｜>S<｜User｜>U<｜Assistant｜>");
}

TEST_F(TextFilesTest, WithoutAConfigThereIsNoTemplate) {
  Result<TextFiles> files = TextFiles::read(folder);
  ASSERT_TRUE(files) << files.error().message;
  EXPECT_TRUE(files->prefix.empty());
  EXPECT_EQ(files->renderChat(Json::array(), Json::object()).error().message.substr(0, 37),
            "the checkpoint has no chat template (");
}

TEST_F(TextFilesTest, TakesTheTemplateOfItsOwnFile) {
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(*TextFiles::read(folder)->renderChat(Json::array(), Json::object()), "d");
  write("chat_template.jinja", "own");
  EXPECT_EQ(*TextFiles::read(folder)->renderChat(Json::array(), Json::object()), "own");
}

TEST_F(TextFilesTest, NamesFileAndKey) {
  auto expect = [&](const char *config, const std::string &error) {
    write("tokenizer_config.json", config);
    EXPECT_EQ(refusal(), error);
  };
  expect("[]", "tokenizer_config.json: is no JSON object");
  expect(R"({"bos_token": 1})", "tokenizer_config.json: bos_token: 1 is no token");
  expect(R"({"bos_token": "<s>", "add_bos_token": true})",
         "tokenizer_config.json: bos_token: token '<s>' is not in the tokenizer");
  expect(R"({"chat_template": 1})", "tokenizer_config.json: chat_template is no text, and no list with one of name 'default'");
  expect(R"({"chat_template": "a\n{% x %}"})",
         "tokenizer_config.json: chat_template: line 2: tag 'x' is not read; known are if, for, set, macro, break and continue");
}

} // namespace
} // namespace quant::text
