//===- chat_template.cpp - messages to the text that a model was trained on ===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/chat_template.h"

#include "runtime/support/text.h"
#include "tools/text/template/lexer.h"
#include "tools/text/template/value.h"

#include <fmt/core.h>

namespace quant::text {
namespace {

/// Limits of one rendering.
constexpr size_t kMostOutput = 64 << 20, kMostSteps = 2'000'000, kMostCalls = 50, kMostRange = 100'000;

enum class Flow : uint8_t { Next, Break, Continue };

/// Runs a parsed template.
class Renderer {
public:
  explicit Renderer(const Json &variables) {
    scopes.emplace_back();
    auto shared = std::make_shared<const Json>(variables);
    for (auto it = shared->begin(); it != shared->end(); ++it)
      scopes[0][it.key()] = Value(std::shared_ptr<const Json>(shared, &it.value()));
  }

  Result<std::string> run(const Block &block) {
    QUANT_TRY(execute(block));
    return std::move(out);
  }

private:
  using Scope = std::map<std::string, Value>;

  //===--- Statements ---===//

  Result<Flow> execute(const Block &block) {
    for (const Statement &statement : block) {
      QUANT_TRY(step(statement.line));
      QUANT_TRY_ASSIGN(Flow flow, execute(statement));
      if (flow != Flow::Next)
        return flow;
    }
    return Flow::Next;
  }

  Result<void> step(int line) {
    return ++steps > kMostSteps ? Result<void>(failAt(line, "the template runs without end")) : Result<void>();
  }

  Result<Flow> execute(const Statement &statement) {
    switch (statement.kind) {
    case StatementKind::Text:
      QUANT_TRY(print(statement.line, statement.text));
      return Flow::Next;
    case StatementKind::Print: {
      QUANT_TRY_ASSIGN(Value value, evaluate(*statement.value));
      QUANT_TRY_ASSIGN(std::string text, at(statement.line, printed(value)));
      QUANT_TRY(print(statement.line, text));
      return Flow::Next;
    }
    case StatementKind::If: {
      QUANT_TRY_ASSIGN(Value condition, evaluate(*statement.value));
      return execute(condition.truthy() ? statement.body : statement.otherwise);
    }
    case StatementKind::For:
      return loop(statement);
    case StatementKind::Set:
      QUANT_TRY(set(statement));
      return Flow::Next;
    case StatementKind::Macro:
      scopes.back()[statement.text] = Value(&statement);
      return Flow::Next;
    case StatementKind::Break:
      return Flow::Break;
    case StatementKind::Continue:
      return Flow::Continue;
    }
    return Flow::Next;
  }

  Result<void> print(int line, const std::string &text) {
    if (out.size() + text.size() > kMostOutput)
      return failAt(line, "the template writes without end");
    out += text;
    return {};
  }

  Result<void> set(const Statement &statement) {
    QUANT_TRY_ASSIGN(Value value, evaluate(*statement.value));
    if (statement.names.size() == 1) {
      scopes.back()[statement.names[0]] = std::move(value);
      return {};
    }
    Value target = lookUp(statement.names[0]);
    const auto *space = std::get_if<std::shared_ptr<Namespace>>(&target.of);
    if (!space)
      return failAt(statement.line, fmt::format("{} is no namespace; its attribute cannot be set", quote(statement.names[0])));
    if (std::holds_alternative<std::shared_ptr<Namespace>>(value.of))
      return failAt(statement.line, "a namespace in a namespace is not read");
    (*space)->values[statement.names[1]] = std::move(value);
    return {};
  }

  Result<void> bind(const Statement &statement, const Value &item) {
    if (statement.names.size() == 1) {
      scopes.back()[statement.names[0]] = item;
      return {};
    }
    if (!item.isList() || item.asJson()->size() != statement.names.size())
      return failAt(statement.line, fmt::format("an item of the loop is not a list of {}", statement.names.size()));
    for (size_t i = 0; i < statement.names.size(); ++i)
      scopes.back()[statement.names[i]] = item.part((*item.asJson())[i]);
    return {};
  }

  /// The items that a loop's condition lets through.
  Result<std::vector<Value>> loopItems(const Statement &statement) {
    QUANT_TRY_ASSIGN(Value over, evaluate(*statement.value));
    QUANT_TRY_ASSIGN(std::vector<Value> items, at(statement.line, itemsOf(over)));
    if (!statement.condition)
      return items;
    std::vector<Value> kept;
    for (const Value &item : items) {
      QUANT_TRY(step(statement.line));
      Inner inner(*this);
      QUANT_TRY(bind(statement, item));
      QUANT_TRY_ASSIGN(Value keep, evaluate(*statement.condition));
      if (keep.truthy())
        kept.push_back(item);
    }
    return kept;
  }

  Result<Flow> loop(const Statement &statement) {
    QUANT_TRY_ASSIGN(std::vector<Value> items, loopItems(statement));
    if (items.empty()) {
      Inner inner(*this);
      return execute(statement.otherwise);
    }
    for (size_t i = 0; i < items.size(); ++i) {
      QUANT_TRY(step(statement.line));
      Inner inner(*this);
      QUANT_TRY(bind(statement, items[i]));
      scopes.back()["loop"] = loopValue(items, i);
      QUANT_TRY_ASSIGN(Flow flow, execute(statement.body));
      if (flow == Flow::Break)
        break;
    }
    return Flow::Next;
  }

  static Value loopValue(const std::vector<Value> &items, size_t i) {
    auto loop = std::make_shared<Namespace>();
    size_t count = items.size();
    loop->values = {{"index", Value::json(i + 1)},
                    {"index0", Value::json(i)},
                    {"revindex", Value::json(count - i)},
                    {"revindex0", Value::json(count - i - 1)},
                    {"first", Value::json(i == 0)},
                    {"last", Value::json(i + 1 == count)},
                    {"length", Value::json(count)},
                    {"previtem", i > 0 ? items[i - 1] : Value(Undefined{"previtem"})},
                    {"nextitem", i + 1 < count ? items[i + 1] : Value(Undefined{"nextitem"})}};
    return Value(std::move(loop));
  }

  //===--- Names ---===//

  /// Names that are set in here are forgotten at its end.
  struct Inner {
    explicit Inner(Renderer &renderer) : renderer(renderer) { renderer.scopes.emplace_back(); }
    Inner(const Inner &) = delete;
    ~Inner() { renderer.scopes.pop_back(); }
    Renderer &renderer;
  };

  Value lookUp(const std::string &name) const {
    // A macro sees its own names and those at the top of the template.
    for (size_t i = scopes.size(); i-- > 0; i = i == lowest && i > 0 ? 1 : i)
      if (auto found = scopes[i].find(name); found != scopes[i].end())
        return found->second;
    return Undefined{name};
  }

  //===--- Expressions ---===//

  template <typename T>
  static Result<T> at(int line, Result<T> result) {
    return result ? std::move(result) : Result<T>(failAt(line, result.error().message));
  }

  Result<Value> evaluate(const Expression &e) {
    switch (e.kind) {
    case ExpressionKind::String:
      return Value::json(e.name);
    case ExpressionKind::Integer:
      return Value::json(e.integer);
    case ExpressionKind::Float:
      return Value::json(e.real);
    case ExpressionKind::Boolean:
      return Value::json(e.integer != 0);
    case ExpressionKind::None:
      return Value::json(nullptr);
    case ExpressionKind::Name:
      return lookUp(e.name);
    case ExpressionKind::List:
    case ExpressionKind::Dict:
      return literal(e);
    case ExpressionKind::And:
    case ExpressionKind::Or: {
      QUANT_TRY_ASSIGN(Value left, evaluate(*e.parts[0]));
      return left.truthy() == (e.kind == ExpressionKind::And) ? evaluate(*e.parts[1]) : left;
    }
    case ExpressionKind::Conditional: {
      QUANT_TRY_ASSIGN(Value condition, evaluate(*e.parts[0]));
      const ExpressionPtr &chosen = e.parts[condition.truthy() ? 1 : 2];
      return chosen ? evaluate(*chosen) : Value(Undefined{"the missing else"});
    }
    case ExpressionKind::Call: {
      QUANT_TRY_ASSIGN(Value result, call(e));
      charge(result);
      return result;
    }
    default:
      return operation(e);
    }
  }

  /// Counts the work that a long value makes.
  void charge(const Value &value) {
    constexpr size_t kBytesOfStep = 256, kItemsOfStep = 8;
    if (value.isString())
      steps += value.string().size() / kBytesOfStep;
    else if (value.isList() || value.isDict())
      steps += value.asJson()->size() / kItemsOfStep;
  }

  /// Those that evaluate their first part in any case.
  Result<Value> operation(const Expression &e) {
    QUANT_TRY_ASSIGN(Value first, evaluate(*e.parts[0]));
    charge(first);
    Result<Value> result = operationOn(first, e);
    if (result)
      charge(*result);
    return result;
  }

  Result<Value> operationOn(const Value &first, const Expression &e) {
    switch (e.kind) {
    case ExpressionKind::Not:
      return Value::json(!first.truthy());
    case ExpressionKind::Negative:
      return at(e.line, combine(Value::json(0), "-", first));
    case ExpressionKind::Attribute:
      return at(e.line, attribute(first, e.name));
    case ExpressionKind::Test: {
      QUANT_TRY_ASSIGN(bool holds, at(e.line, applyTest(e.name, first)));
      return Value::json(holds);
    }
    case ExpressionKind::Filter: {
      QUANT_TRY_ASSIGN(Arguments arguments, argumentsOf(e));
      return at(e.line, applyFilter(e.name, first, arguments));
    }
    case ExpressionKind::Slice: {
      QUANT_TRY_ASSIGN(Arguments bounds, argumentsOf(e));
      return at(e.line, sliceOf(first, bounds.places[0], bounds.places[1], bounds.places[2]));
    }
    default: { // Item and Binary
      QUANT_TRY_ASSIGN(Value second, evaluate(*e.parts[1]));
      return at(e.line, e.kind == ExpressionKind::Item ? itemOf(first, second) : combine(first, e.name, second));
    }
    }
  }

  static Result<Value> attribute(const Value &of, const std::string &name) {
    if (of.isDict())
      for (const char *method :
           {"get", "items", "keys", "values", "pop", "copy", "update", "clear", "setdefault", "popitem", "fromkeys"})
        if (name == method)
          return fail(fmt::format("{} is a dict's method; without a call, or as a key, it is not read", quote(name)));
    return itemOf(of, Value::json(name));
  }

  Result<Value> literal(const Expression &e) {
    bool dict = e.kind == ExpressionKind::Dict;
    Json json = dict ? Json::object() : Json::array();
    for (size_t i = 0; i < e.parts.size(); i += dict ? 2 : 1) {
      QUANT_TRY_ASSIGN(Value value, evaluate(*e.parts[i + dict]));
      if (!value.asJson())
        return failAt(e.line, value.typeName() + ", in a list or dict is not read");
      if (!dict) {
        json.push_back(*value.asJson());
        continue;
      }
      QUANT_TRY_ASSIGN(Value key, evaluate(*e.parts[i]));
      if (!key.isString())
        return failAt(e.line, "keys that are no strings are not read");
      json[key.string()] = *value.asJson();
    }
    return Value::json(std::move(json));
  }

  /// The values of all parts but the first; undefined for those that are missing.
  Result<Arguments> argumentsOf(const Expression &e) {
    Arguments arguments;
    size_t places = e.parts.size() - e.keywords.size();
    for (size_t i = 1; i < e.parts.size(); ++i) {
      Value value;
      if (e.parts[i]) {
        QUANT_TRY_ASSIGN(value, evaluate(*e.parts[i]));
      }
      if (i < places)
        arguments.places.push_back(std::move(value));
      else
        arguments.names.emplace_back(e.keywords[i - places], std::move(value));
    }
    return arguments;
  }

  //===--- Calls ---===//

  Result<Value> call(const Expression &e) {
    const Expression &callee = *e.parts[0];
    QUANT_TRY_ASSIGN(Arguments arguments, argumentsOf(e));
    if (callee.kind == ExpressionKind::Attribute) {
      QUANT_TRY_ASSIGN(Value of, evaluate(*callee.parts[0]));
      charge(of);
      return at(e.line, callMethod(of, callee.name, arguments));
    }
    if (callee.kind != ExpressionKind::Name)
      return failAt(e.line, "a call of something without a name is not read");
    Value known = lookUp(callee.name);
    if (const auto *macro = std::get_if<const Statement *>(&known.of))
      return callMacro(**macro, arguments, e.line);
    if (!known.isUndefined())
      return failAt(e.line, fmt::format("{}, {}, is called", quote(callee.name), known.typeName()));
    if (callee.name == "namespace" && arguments.places.empty())
      return makeNamespace(arguments);
    if (callee.name == "range")
      return at(e.line, range(arguments));
    if (callee.name == "raise_exception" && arguments.places.size() == 1 && arguments.places[0].isString())
      return failAt(e.line, printable(arguments.places[0].string()));
    return failAt(e.line, fmt::format("function {} is not read", quote(callee.name)));
  }

  static Result<Value> makeNamespace(const Arguments &arguments) {
    auto space = std::make_shared<Namespace>();
    for (const auto &[name, value] : arguments.names)
      space->values[name] = value;
    return Value(std::move(space));
  }

  static Result<Value> range(const Arguments &arguments) {
    std::vector<int64_t> numbers;
    for (const Value &value : arguments.places) {
      if (!value.isInteger())
        return fail("range needs integers");
      numbers.push_back(value.integer());
    }
    if (numbers.empty() || numbers.size() > 3 || !arguments.names.empty() || (numbers.size() == 3 && numbers[2] == 0))
      return fail("range needs one to three integers, the third not 0");
    int64_t start = numbers.size() > 1 ? numbers[0] : 0, stop = numbers[numbers.size() > 1],
            step = numbers.size() > 2 ? numbers[2] : 1;
    Json list = Json::array();
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
      if (list.size() == kMostRange)
        return fail(fmt::format("a range has more than {} numbers", kMostRange));
      list.push_back(i);
      if (__builtin_add_overflow(i, step, &i))
        break;
    }
    return Value::json(std::move(list));
  }

  Result<Value> callMacro(const Statement &macro, const Arguments &arguments, int line) {
    if (calls == kMostCalls)
      return failAt(line, "macros call each other too deep");
    if (arguments.places.size() > macro.names.size())
      return failAt(line, fmt::format("macro {} has {} parameters, not {}", quote(macro.text), macro.names.size(),
                                      arguments.places.size()));
    Scope scope;
    for (size_t i = 0; i < macro.names.size(); ++i)
      if (i < arguments.places.size())
        scope[macro.names[i]] = arguments.places[i];
      else if (macro.defaults[i]) {
        QUANT_TRY_ASSIGN(scope[macro.names[i]], evaluate(*macro.defaults[i]));
      } else
        scope[macro.names[i]] = Undefined{macro.names[i]};
    for (const auto &[name, value] : arguments.names) {
      if (!scope.contains(name))
        return failAt(line, fmt::format("macro {} has no parameter {}", quote(macro.text), quote(name)));
      scope[name] = value;
    }
    return runMacro(macro, std::move(scope));
  }

  Result<Value> runMacro(const Statement &macro, Scope scope) {
    scopes.push_back(std::move(scope));
    size_t outer = std::exchange(lowest, scopes.size() - 1);
    std::string before = std::exchange(out, {});
    ++calls;
    Result<Flow> ran = execute(macro.body);
    --calls;
    std::string text = std::exchange(out, std::move(before));
    lowest = outer;
    scopes.pop_back();
    QUANT_TRY(ran);
    return Value::json(std::move(text));
  }

  std::vector<Scope> scopes;
  size_t lowest = 0; ///< scope that the innermost macro began with
  std::string out;
  size_t steps = 0, calls = 0;
};

} // namespace

struct ChatTemplate::Parsed {
  Block block;
};

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  QUANT_TRY_ASSIGN(Block block, parseTemplate(source));
  ChatTemplate result;
  result.parsed = std::make_shared<const Parsed>(Parsed{std::move(block)});
  return result;
}

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json &variables) const {
  return Renderer(variables).run(parsed->block);
}

} // namespace quant::text
