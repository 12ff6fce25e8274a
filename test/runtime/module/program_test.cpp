//===- program_test.cpp - manifests and programs that lie -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test_module.h"

#include "runtime/module/module.h"

#include <gtest/gtest.h>

#include <sstream>

namespace quant::runtime::test {

using nlohmann::json;

namespace {

Result<Module> parse(const TestModule &module) {
  std::string file = module.build();
  return parseModule(bytesOf(file), "toy.qmod");
}

/// Sets the field at `path` (a JSON pointer) to `value`, both as text; "null" removes it.
struct BadJson {
  const char *what;
  const char *path;
  const char *value;
  const char *error;
};

/// For parameterized tests: the spoilt module is refused with the error.
void expectError(const BadJson &bad, const TestModule &module) {
  Result<Module> parsed = parse(module);
  ASSERT_FALSE(parsed);
  EXPECT_NE(parsed.error().message.find(bad.error), std::string::npos) << parsed.error().message;
}

void spoil(json &document, const BadJson &bad) {
  json::json_pointer path(bad.path);
  json value = json::parse(bad.value);
  if (value.is_null())
    document[path.parent_pointer()].erase(path.back());
  else
    document[path] = value;
}

class BadManifest : public testing::TestWithParam<BadJson> {};
class BadProgram : public testing::TestWithParam<BadJson> {};

TEST_P(BadManifest, IsRefused) {
  TestModule module = toyModule();
  spoil(module.manifest, GetParam());
  expectError(GetParam(), module);
}

TEST_P(BadProgram, IsRefused) {
  TestModule module = toyModule();
  spoil(module.program, GetParam());
  expectError(GetParam(), module);
}

const BadJson kBadManifests[] = {
    {"format", "/format", "1",
     "manifest.json: the module has format 1, this runtime reads 3; compile it with the quant-compile of this version"},
    {"format_text", "/format", "\"1\"", "'format' is string"},
    {"producer", "/producer", "null", "manifest.json: 'producer' is missing"},
    {"targets_object", "/targets", "{}", "'targets' is not an array"},
    {"target_text", "/targets/0", "\"x\"", "target 0: expected an object, found string"},
    {"unknown_key", "/targets/0/colour", "1", "target 0: unknown key 'colour'"},
    {"program_absent", "/targets/0/program", "\"x\"", "there is no section 'x'"},
    {"target_twice", "/targets/1", "{\"name\":\"\",\"objects\":[]}", "target '' is empty or stands twice"},
    {"kind_absent", "/targets/0/kernels/0/kind", "null", "kernel 0: 'kind' is missing"},
    {"kind_number", "/targets/0/kernels/0/kind", "1", "kernel 0: 'kind' is not a string"},
    {"unit", "/targets/0/kernels/0/unit", "[]", "kernel 0: 'unit' is not a string"},
    {"why", "/targets/0/kernels/0/why", "1", "kernel 0: 'why' is not a string"},
    {"dtype", "/targets/0/kernels/0/operands/0/dtype", "\"f31\"", "kernel 0: operand 0: unknown dtype 'f31'"},
    {"access", "/targets/0/kernels/0/operands/0/access", "\"eat\"", "'access' is 'eat'"},
    {"operand_shape", "/targets/0/kernels/0/operands/0/shape", "[0]", "operand 0: 'shape' has extent 0"},
    {"scratch", "/targets/0/kernels/0/scratch_bytes", "1099511627776", "'scratch_bytes' is 1099511627776"},
    {"scratch_negative", "/targets/0/kernels/0/scratch_bytes", "-1", "'scratch_bytes' is -1"},
    {"scratch_huge", "/targets/0/kernels/0/scratch_bytes", "18446744073709551615", "'scratch_bytes' is 18446744073709551615"},
    {"scratch_float", "/targets/0/kernels/0/scratch_bytes", "1.5", "'scratch_bytes' is 1.5"},
    {"kernel_twice", "/targets/0/kernels/1/name", "\"embed\"", "kernel 'embed' is empty or stands twice"},
    {"no_objects", "/targets/0/objects", "[]", "'objects' is empty"},
    {"section_absent", "/targets/0/objects/0/section", "\"code.x\"", "object 0: there is no section 'code.x'"},
    {"isa_twice", "/targets/0/objects/1/isa", "\"future\"", "isa 'future' is empty or stands twice"},
    {"requires_numbers", "/targets/0/objects/0/requires", "[1]", "'requires' holds something other than strings"},
    {"text_offset_unaligned", "/targets/0/objects/0/text_offset", "64", "'text_offset' 64 is not a multiple of 4096"},
    {"text_offset_wrap", "/targets/0/objects/0/text_offset", "9223372036854771712", "'text_offset' is 9223372036854771712"},
    {"text_bytes", "/targets/0/objects/0/text_bytes", "100000", "'text_bytes' is 100000"},
    {"text_empty", "/targets/0/objects/0/text_bytes", "0", "'text_bytes' is 0"},
    {"entry_before_text", "/targets/0/objects/0/entries/mix", "4095", "object 0: entries: 'mix' is 4095"},
    {"entry_after_text", "/targets/0/objects/0/entries/mix", "8192", "object 0: entries: 'mix' is 8192"},
    {"entry_absent", "/targets/0/objects/0/entries/mix", "null", "object 0: entries: 'mix' is missing"},
    {"entry_unknown", "/targets/0/objects/0/entries/xim", "4096", "entries: unknown key 'xim'"},
    {"operand_count", "/targets/0/kernels/2/operands/5", R"({"dtype": "f32", "access": "read"})",
     "dispatch 2 of kernel 'store': 5 operands, the kernel has 6"},
    {"operand_dtype", "/targets/0/kernels/2/operands/1/dtype", "\"bf16\"",
     "operand 1 (value 4 'kv.0'): has dtype f32, the kernel expects bf16"},
    {"access_size", "/targets/0/kernels/1/operands/1/shape", R"(["tokens", 9])",
     "dispatch 1 of kernel 'mix': operand 1 (value 5 'hidden'): has type tokensx8xf32, the kernel expects tokensx9xf32"},
    {"group_count", "/targets/0/kernels/1/operands/0/count", "4", "has 3 tensors, the kernel expects 4"},
    {"group_for_tensor", "/targets/0/kernels/0/operands/1/count", "4", "has 0 tensors, the kernel expects 4"},
    {"weight_written", "/targets/0/kernels/0/operands/1/access", "\"write\"",
     "operand 1 (value 2 'embed.weight'): is written, but a value of kind weight is read-only"},
    {"group_written", "/targets/0/kernels/1/operands/0/access", "\"readwrite\"", "kind weight_group is read-only"},
    {"input_written", "/targets/0/kernels/0/operands/0/access", "\"readwrite\"", "kind input is read-only"},
};

const BadJson kBadPrograms[] = {
    {"format", "/format", "0", "program.host.json: 'format' is 0"},
    {"dims", "/dims/3", "\"heads\"", "'dims' is not"},
    {"dims_order", "/dims", R"(["sequences", "tokens", "outputs", "context"])", "'dims' is not"},
    {"unknown_key", "/colour", "1", "unknown key 'colour'"},
    {"limit_zero", "/limits/tokens", "0", "limits: 'tokens' is 0"},
    {"limit_huge", "/limits/context", "1e30", "limits: 'context' is 1e+30"},
    {"limit_vocab", "/limits/vocab", "4294967296", "limits: 'vocab' is 4294967296"},
    {"kind", "/values/0/kind", "\"thing\"", "value 0: unknown kind 'thing'"},
    {"dtype", "/values/0/dtype", "\"int\"", "value 0: unknown dtype 'int'"},
    {"unknown_dim", "/values/0/shape", R"(["heads"])", "value 0: 'shape' names unknown dim 'heads'"},
    {"zero_extent", "/values/2/shape", "[16, 0]", "value 2: 'shape' has extent 0"},
    {"negative_extent", "/values/2/shape", "[16, -8]", "value 2: 'shape' has extent -8"},
    {"rank", "/values/2/shape", "[1,1,1,1,1,1,1,1,1]", "at most 8 extents"},
    {"shape_overflow", "/values/1/shape", R"(["outputs", 4611686018427387904])", "value 1 'logits': size overflows 64 bits"},
    {"huge_cache", "/values/4/shape", R"(["context", 1000000000])", "value 4 'kv.0': contextx1000000000xf32 is"},
    {"weight_dim", "/values/2/shape", R"(["tokens", 8])", "a weight's shape cannot depend on run-time sizes"},
    {"cache_dim", "/values/4/shape", R"(["tokens", 8])", "a cache's shape can depend on 'context' only"},
    {"group_without_braces", "/values/3/name", "\"experts\"",
     "value 3 'experts': the name is empty, or a weight_group's without one"},
    {"group_two_braces", "/values/3/name", "\"{}{}\"", "without one '{}'"},
    {"group_alias", "/values/3/aliases", "[\"x\"]", "alias 'x' is empty"},
    {"role", "/values/3/role", "\"spice\"", "value 3: unknown role 'spice'"},
    {"role_type", "/values/3/role", "1", "value 3: 'role' is not a string"},
    {"role_of_cache", "/values/4/role", "\"scale\"", "value 4: unknown key 'role'"},
    {"role_dtype", "/values/3/dtype", "\"i32\"",
     "value 3 'experts.{}.weight_scale_inv': scales are f32, f16, bf16, f8E8M0FNU or f8E4M3FN, found i32"},
    {"role_global", "/values/3/role", "\"global_scale\"",
     "value 3 'experts.{}.weight_scale_inv': a global scale is 1x1xf32, found"},
    {"order_of_a_group", "/values/3/order", "\"g_idx\"", "order 'g_idx' is of a weight whose columns cannot be sorted"},
    {"order_type", "/values/3/order", "3", "value 3: 'order' is not a string"},
    {"group_count", "/values/3/count", "0", "value 3: 'count' is 0"},
    {"offset_missing", "/values/5/offset", "null", "value 5: 'offset' is missing"},
    {"offset_unaligned", "/values/5/offset", "32", "value 5 'hidden': offset 32 is not a multiple of 64"},
    {"offset_outside", "/values/5/offset", "64", "offset 64 with 128 bytes leaves the workspace of 128"},
    {"offset_wrap", "/values/5/offset", "9223372036854775744", "leaves the workspace"},
    {"offset_on_weight", "/values/2/offset", "0", "value 2: unknown key 'offset'"},
    {"workspace_small", "/workspace_bytes", "127", "leaves the workspace of 127"},
    {"workspace_bomb", "/workspace_bytes", "9223372036854775807", "workspace_bytes is 9223372036854775807, at most"},
    {"workspace_unneeded", "/workspace_bytes", "1000000", "workspace_bytes is 1000000, the values end at 128"},
    {"inputs_twice", "/values/1/name", "\"tokens\"", "two inputs or outputs are called 'tokens'"},
    {"kernel_unknown", "/dispatches/0/kernel", "\"nope\"", "dispatch 0: the manifest has no kernel 'nope'"},
    {"ordinal", "/dispatches/0/operands/1", "10", "dispatch 0: operand 1 is value 10, there are 10 values"},
    {"ordinal_negative", "/dispatches/0/operands/1", "-1", "operand 1 is value -1"},
    {"ordinal_huge", "/dispatches/0/operands/1", "18446744073709551615", "operand 1 is value 18446744073709551615"},
    {"ordinal_text", "/dispatches/0/operands/1", "\"2\"", "operand 1 is value string"},
    {"too_few_operands", "/dispatches/2/operands", "[5]", "1 operands, the kernel has 5"},
    {"swapped_operands", "/dispatches/0/operands", "[2, 0, 5]", "operand 0 (value 2 'embed.weight'): has dtype f32"},
    {"writes_weight", "/dispatches/2/operands", "[5, 2, 6, 7, 8]", "a value of kind weight is read-only"},
    {"grid_negative", "/dispatches/0/grid", "-1", "dispatch 0: grid: constant -1 is negative"},
    {"grid_dim", "/dispatches/0/grid", "\"heads\"", "dispatch 0: grid: unknown dim \"heads\""},
    {"grid_recipe_dim", "/dispatches/0/grid", "\"sms\"", "dispatch 0 of kernel 'embed': grid: the size 'sms' is not known here"},
    {"grid_operator", "/dispatches/0/grid", R"(["-", "tokens", 1])", "grid: unknown operator \"-\""},
    {"grid_operands", "/dispatches/0/grid", R"(["ceildiv", "tokens"])", "operator 'ceildiv' has 1 operands, not 2 to 2"},
    {"grid_float", "/dispatches/0/grid", "1.5", "grid: found 1.5, not an integer, a dim or"},
    {"grid_overflow", "/dispatches/0/grid", R"(["*", "tokens", 4611686018427387904])",
     "dispatch 0 of kernel 'embed': grid: (tokens * 4611686018427387904) overflows 64 bits"},
    {"grid_sum_overflow", "/dispatches/0/grid", R"(["+", 9223372036854775807, 1])",
     "grid: (9223372036854775807 + 1) overflows 64 bits"},
    {"grid_bomb", "/dispatches/0/grid", R"(["*", "tokens", 1000000000000])", "grid can have 4000000000000 blocks"},
    {"grid_divides_by_zero", "/dispatches/0/grid", R"(["ceildiv", "tokens", "outputs"])", "an expression that can be zero"},
    {"grid_deep", "/dispatches/0/grid", R"(["+",1,["+",1,["+",1,["+",1,["+",1,["+",1,["+",1,["+",1,["+",1,1]]]]]]]]])",
     "grid: nests deeper than 8"},
};

auto nameOf = [](const auto &info) { return std::string(info.param.what); };
INSTANTIATE_TEST_SUITE_P(Module, BadManifest, testing::ValuesIn(kBadManifests), nameOf);
INSTANTIATE_TEST_SUITE_P(Module, BadProgram, testing::ValuesIn(kBadPrograms), nameOf);

TEST(Module, IsRead) {
  std::string file = toyModule().build();
  Result<Module> module = parseModule(bytesOf(file), "toy.qmod");
  ASSERT_TRUE(module) << module.error().message;
  EXPECT_EQ(module->producer, "test");
  EXPECT_EQ(module->modelConfig, R"({"model_type":"toy"})");
  EXPECT_EQ(module->find("sm_90a"), nullptr);
  const Target *host = module->find("host");
  ASSERT_NE(host, nullptr);
  EXPECT_EQ(host->kernels[1].scratchBytes, 32);
  EXPECT_EQ(host->kernels[1].operands[1].access, Access::ReadWrite);
  EXPECT_EQ(host->objects[0].features, (std::vector<std::string>{"avx2", "warp_drive"}));
  EXPECT_EQ(host->objects[1].entries[0], 4096);
  EXPECT_EQ(host->program.limits.vocab, 16);
  EXPECT_EQ(host->program.values[2].aliases, std::vector<std::string>{"tied.weight"});
  EXPECT_FALSE(host->program.values[2].isScale);
  EXPECT_TRUE(host->program.values[3].isScale);
}

TEST(Module, IsPrinted) {
  TestModule toy = toyModule();
  toy.manifest["targets"][0]["kernels"][1]["unit"] = "avx2";
  toy.manifest["targets"][0]["kernels"][1]["why"] = "avx512 has no gather of three";
  toy.manifest["targets"][0]["kernels"][3]["unit"] = "avx512";
  std::string file = toy.build();
  Result<Module> module = parseModule(bytesOf(file), "toy.qmod");
  ASSERT_TRUE(module);
  std::ostringstream os;
  printProgram(os, *module->find("host"));
  EXPECT_EQ(os.str(), R"(program @host { // at most 4 tokens a call, 256 of context, vocabulary 16; workspace 128 bytes
  %0 = input "tokens" : tokensxi32
  %1 = output "logits" : outputsx16xf32
  %2 = weight "embed.weight" : 16x8xf32, or "tied.weight"
  %3 = weight_group "experts.{}.weight_scale_inv" : 3 of 8xf32 scales
  %4 = cache "kv.0" : contextx8xf32
  %5 = workspace "hidden" : tokensx8xf32 at 0
  %6 = input "positions" : tokensxi32
  %7 = input "sequences" : tokensxi32
  %8 = input "pages" : sequencesx4xi32
  %9 = input "selected" : outputsxi32
  kernel mix on avx2 // avx512 has no gather of three
  kernel logits on avx512
  embed[tokens](%0, %2, =%5) // embedding
  mix[ceildiv((tokens * 8), 8)](%3, +=%5) // experts
  store[tokens](%5, =%4, %6, %7, %8)
  logits[outputs](%4, %6, %7, %8, %9, =%1) // head
}
)");
}

TEST(Module, MayHaveADraft) {
  TestModule toy = toyModule();
  toy.manifest["targets"][0]["draft"] = "program.host.draft.json";
  Result<Module> without = parse(toy);
  ASSERT_FALSE(without);
  EXPECT_NE(without.error().message.find("there is no section 'program.host.draft.json'"), std::string::npos);
  auto withDraft = [&](const nlohmann::json &draft) {
    std::vector<std::pair<std::string, std::string>> sections = {{"manifest.json", toy.manifest.dump()},
                                                                 {"program.host.json", toy.program.dump()},
                                                                 {"program.host.draft.json", draft.dump()}};
    sections.insert(sections.end(), toy.code.begin(), toy.code.end());
    return buildContainer(sections);
  };
  std::string file = withDraft(toy.program);
  Result<Module> module = parseModule(bytesOf(file), "toy.qmod");
  ASSERT_TRUE(module) << module.error().message;
  ASSERT_TRUE(module->find("host")->draft);
  EXPECT_EQ(module->find("host")->draft->dispatches.size(), 4);
  std::ostringstream os;
  printProgram(os, *module->find("host"));
  EXPECT_NE(os.str().find("program @host.draft {"), std::string::npos);
  nlohmann::json spoilt = toy.program;
  spoilt["dispatches"][2]["operands"] = {5};
  file = withDraft(spoilt);
  module = parseModule(bytesOf(file), "toy.qmod");
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().message,
            "toy.qmod: draft of target 'host': dispatch 2 of kernel 'store': 1 operands, the kernel has 5");
}

TEST(Module, ListsOtherTargets) {
  TestModule toy = toyModule();
  toy.manifest["targets"].push_back(
      {{"name", "gfx90a"}, {"launch", "unknown here"}, {"objects", {{{"isa", "hsaco"}, {"x", 1}}}}});
  Result<Module> module = parse(toy);
  ASSERT_TRUE(module) << module.error().message;
  ASSERT_NE(module->find("gfx90a"), nullptr);
  EXPECT_EQ(module->find("gfx90a")->objects[0].isa, "hsaco");
  EXPECT_TRUE(module->find("gfx90a")->isForeign);
  EXPECT_FALSE(module->find("host")->isForeign);
}

/// What it is called does not matter: a kind of kernel that is not known here makes a target another runtime's.
TEST(Module, ReadsTargetsByTheKindOfTheirKernels) {
  TestModule toy = toyModule();
  toy.manifest["targets"][0]["name"] = "rv64";
  EXPECT_EQ(parse(toy)->find("rv64")->kernels.size(), 4u);
  toy.manifest["targets"][0]["kernels"][3]["kind"] = "graph";
  Result<Module> module = parse(toy);
  ASSERT_TRUE(module) << module.error().message;
  EXPECT_TRUE(module->find("rv64")->isForeign);
  EXPECT_EQ(module->find("rv64")->objects[0].isa, "future");
  EXPECT_TRUE(module->find("rv64")->kernels.empty());
}

json recipeOf(const json &kernel) {
  return {{"kernel", kernel},         {"block", {32, 1, 1}},       {"cluster", {1, 1, 1}},      {"grid", "tokens"},
          {"limits", json::object()}, {"dynamic_shared_bytes", 0}, {"operands", json::array()}, {"parameters", json::array()}};
}

/// The toy with a second target, whose kernels have launch recipes, and a layout.
TestModule toyWithGpu() {
  TestModule toy = toyModule();
  json target = toy.manifest["targets"][0];
  for (json &kernel : target["kernels"]) {
    kernel.erase("scratch_bytes");
    kernel["kind"] = "recipe";
    kernel["launch"] = recipeOf(kernel["name"]);
  }
  json &mix = target["kernels"][1];
  mix.erase("launch");
  mix["variants"] = {{{"m", {1, 2}}, {"launch", recipeOf("small")}}, {{"m", {3, 4}}, {"launch", recipeOf("large")}}};
  target["name"] = "sm_90a";
  target["program"] = "program.sm_90a.json";
  target["objects"] = json::parse(R"([{"isa": "ptx", "section": "code.sm_90a.ptx"}])");
  toy.manifest["targets"].push_back(target);
  toy.code.emplace_back("program.sm_90a.json", toy.program.dump());
  toy.code.emplace_back("code.sm_90a.ptx", "// PTX");
  return toy;
}

TEST(Module, ReadsGpuKernels) {
  Result<Module> module = parse(toyWithGpu());
  ASSERT_TRUE(module) << module.error().message;
  const Target &gpu = *module->find("sm_90a");
  ASSERT_EQ(gpu.kernels[0].variants.size(), 1u);
  EXPECT_EQ(gpu.kernels[0].variants[0].recipe.kernel, "embed");
  EXPECT_EQ(gpu.kernels[0].variants[0].recipe.grid.text(), "tokens");
  EXPECT_EQ(gpu.kernels[0].variants[0].highRows, INT64_MAX);
  ASSERT_EQ(gpu.kernels[1].variants.size(), 2u);
  EXPECT_EQ(gpu.kernels[1].variants[1].lowRows, 3);
  EXPECT_EQ(gpu.kernels[1].variants[1].highRows, 4);
  EXPECT_EQ(gpu.objects[0].isa, "ptx");
  EXPECT_EQ(gpu.objects[0].image.size(), 6u);
  EXPECT_EQ(gpu.program.dispatches.size(), 4u);
}

class BadGpuKernel : public testing::TestWithParam<BadJson> {};

TEST_P(BadGpuKernel, IsRefused) {
  TestModule module = toyWithGpu();
  spoil(module.manifest["targets"][1], GetParam());
  expectError(GetParam(), module);
}

constexpr BadJson kBadGpuKernels[] = {
    {"NoLaunch", "/kernels/0/launch", "null", "target 1: kernel 0: 'launch' is missing"},
    {"LaunchIsText", "/kernels/0/launch", "\"x\"", "kernel 0: 'launch' is not an object"},
    {"LaunchMalformed", "/kernels/0/launch/grid", "\"rows\"",
     "target 1: kernel 0: the recipe has a malformed size: unknown dim \"rows\""},
    {"NoVariants", "/kernels/1/variants", "[]", "kernel 1: 'variants' is empty"},
    {"VariantWithoutRange", "/kernels/1/variants/0/m", "[1]", "variant 0: 'm' is not a range [low, high]"},
    {"RangeBackwards", "/kernels/1/variants/0/m", "[2, 1]", "variant 0: 'm' is not a range [low, high]"},
    {"RangeNegative", "/kernels/1/variants/0/m", "[-1, 1]", "variant 0: 'm' is not a range [low, high]"},
    {"Kind", "/kernels/0/kind", "\"entry\"", "kernel 0: 'scratch_bytes' is missing"},
    {"Scratch", "/kernels/0/scratch_bytes", "0", "kernel 0: unknown key 'scratch_bytes'"},
    {"LayoutUnknown", "/kernels/0/operands/2/layout", "\"columns\"", "operand 2: unknown layout 'columns'"},
    {"LayoutDiffers", "/kernels/0/operands/2/layout", "\"k_major\"", "is not k_major as the kernel expects"},
    {"NoSection", "/objects/0/section", "\"code.sm_90a.cubin\"", "there is no section 'code.sm_90a.cubin'"},
};
INSTANTIATE_TEST_SUITE_P(Module, BadGpuKernel, testing::ValuesIn(kBadGpuKernels), nameOf);

TEST(Module, NamesAllThatHaveNoCode) {
  Target target;
  target.name = "sm_90a";
  target.kernels.resize(2);
  target.kernels[0].name = "norm";
  target.kernels[0].kind = KernelKind::Recipe;
  target.kernels[0].unsupported = "too odd";
  target.kernels[1].name = "gate";
  EXPECT_EQ(checkKernels(target, KernelKind::Recipe).error().message,
            "there is no sm_90a code for norm (too odd); gate (it is called, not launched)");
  EXPECT_EQ(checkKernels(target, KernelKind::Entry).error().message, "there is no sm_90a code for norm (too odd)");
  target.kernels[0].unsupported.clear();
  EXPECT_EQ(checkKernels(target, KernelKind::Entry).error().message,
            "there is no sm_90a code for norm (it is launched, not called)");
  target.kernels.pop_back();
  EXPECT_TRUE(checkKernels(target, KernelKind::Recipe));
}

TEST(Module, KMajorScalesHaveRoomForFours) {
  TestModule toy = toyModule();
  toy.program["values"][5]["layout"] = "k_major";
  for (auto [kernel, operand] : {std::pair{0, 2}, {1, 1}, {2, 0}})
    toy.manifest["targets"][0]["kernels"][kernel]["operands"][operand]["layout"] = "k_major";
  Result<Module> module = parse(toy);
  ASSERT_TRUE(module) << module.error().message;
  const Value &value = module->find("host")->program.values[5];
  for (auto [tokens, rows] : {std::pair<int64_t, int64_t>{1, 4}, {4, 4}, {5, 8}, {0, 0}})
    EXPECT_EQ(byteSize(value, {tokens, 0, 0, 1}).value_or(-1), rows * 8 * 4);
  // At 3 tokens' limit the workspace still needs room for 4 rows.
  toy.program["limits"]["tokens"] = 3;
  toy.program["workspace_bytes"] = 96;
  Result<Module> small = parse(toy);
  ASSERT_FALSE(small);
  EXPECT_NE(small.error().message.find("offset 0 with 128 bytes leaves the workspace of 96"), std::string::npos)
      << small.error().message;
}

TEST(ByteSize, RoundsSubByteTypesUp) {
  EXPECT_EQ(byteSize({{.size = 3, .dim = {}}}, DType::I4, {}).value(), 2);
  EXPECT_EQ(byteSize({}, DType::F32, {}).value(), 4);
}

} // namespace
} // namespace quant::runtime::test
