//===- html.cpp - one self-contained HTML page ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/report/html.h"

#include "runtime/support/text.h"

using namespace quant;
using namespace quant::convert;

static constexpr std::string_view kStyle = R"css(
:root { color-scheme: light dark; --text: #1d2330; --dim: #5d6675; --back: #fbfbfc; --card: #fff; --line: #dfe3e9; --bad: #c41230;
  --s0: #2463b5; --s1: #b65b00; --s2: #1d7f4f; --s3: #8440a8; --s4: #66707f; --s5: #b3305f; --s6: #6b6200; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e5e8ee; --dim: #9aa4b4; --back: #14171c; --card: #1c2027; --line: #333a45; --bad: #ff6b81;
    --s0: #6ea8f5; --s1: #f0a04b; --s2: #5cc592; --s3: #c690e8; --s4: #a5afbd; --s5: #f084a9; --s6: #cfc255; } }
body { margin: 0 auto; max-width: 1180px; padding: 24px 20px 60px; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 22px; margin: 0 0 4px; }
h2 { font-size: 17px; margin: 32px 0 8px; }
p { margin: 4px 0; }
.dim { color: var(--dim); }
code, td.name { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 13px; overflow-wrap: anywhere; }
.figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px; min-width: 110px; }
.figure b { display: block; font-size: 20px; font-weight: 600; }
.figure span { color: var(--dim); font-size: 13px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.name { white-space: normal; min-width: 260px; }
th.number, td.number { text-align: right; }
tr:last-child td { border-bottom: 0; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible, .legend button:focus-visible { outline: 2px solid var(--s0); outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \25B2"; font-size: 10px; }
th[aria-sort=descending] button::after { content: " \25BC"; font-size: 10px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0 0 8px; }
.legend button { all: unset; cursor: pointer; display: inline-flex; align-items: center; gap: 6px; font-size: 14px; }
.legend button[aria-pressed=false] { opacity: 0.35; text-decoration: line-through; }
svg { display: block; width: 100%; min-width: 760px; height: auto; }
svg.key { width: 14px; min-width: 0; height: 14px; }
svg text { fill: var(--dim); font-size: 12px; }
.axis { stroke: var(--line); fill: none; }
.break { stroke: var(--dim); stroke-dasharray: 2 5; }
.mark { stroke: var(--card); stroke-width: 0.75; }
.mark:hover { stroke: var(--text); stroke-width: 1.5; }
.alarm { stroke: var(--bad); stroke-width: 2.5; }
.bad { color: var(--bad); }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .s2 { --c: var(--s2); } .s3 { --c: var(--s3); } .s4 { --c: var(--s4); }
.s5 { --c: var(--s5); } .s6 { --c: var(--s6); }
.mark, rect.bar { fill: var(--c); } .range { stroke: var(--c); stroke-width: 1.5; opacity: 0.6; }
.hide0 svg:not(.key) .s0, .hide1 svg:not(.key) .s1, .hide2 svg:not(.key) .s2, .hide3 svg:not(.key) .s3, .hide4 svg:not(.key) .s4,
.hide5 svg:not(.key) .s5, .hide6 svg:not(.key) .s6 { display: none; }
details { margin: 8px 0; } summary { cursor: pointer; } details ul { margin: 6px 0; }
)css";

static constexpr std::string_view kScript = R"js(
for (const title of document.querySelectorAll("th")) title.querySelector("button").onclick = () => {
  const table = title.closest("table"), body = table.tBodies[0], column = title.cellIndex;
  const down = title.getAttribute("aria-sort") === "ascending";
  for (const other of title.parentNode.cells) other.removeAttribute("aria-sort");
  title.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[column].dataset.key ?? row.cells[column].textContent;
  const compare = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, {numeric: true}) : a - b;
  const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)));
  body.append(...(down ? rows.reverse() : rows));
};
for (const button of document.querySelectorAll(".legend button")) button.onclick = () => {
  const hidden = document.body.classList.toggle("hide" + button.dataset.series);
  button.setAttribute("aria-pressed", !hidden);
};
)js";

std::string convert::escapeHtml(std::string_view text) {
  std::string out;
  for (char character : printable(text))
    switch (character) {
    case '&':
      out += "&amp;";
      break;
    case '<':
      out += "&lt;";
      break;
    case '>':
      out += "&gt;";
      break;
    case '"':
      out += "&quot;";
      break;
    default:
      out += character;
    }
  return out;
}

std::string convert::htmlPage(std::string_view title, std::string_view body) {
  std::string page = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>";
  page += escapeHtml(title);
  page.append("</title>\n<style>").append(kStyle).append("</style>\n</head>\n<body>\n").append(body);
  return page.append("<script>").append(kScript).append("</script>\n</body>\n</html>\n");
}

std::string convert::htmlTable(const std::vector<HtmlColumn> &columns, const std::vector<std::vector<HtmlCell>> &rows) {
  static constexpr const char *classes[] = {"text", "name", "number"};
  std::string out = "<div class=\"card\"><table>\n<thead><tr>";
  for (const HtmlColumn &column : columns)
    out += std::string("<th scope=\"col\"") + (column.kind == HtmlColumn::Number ? " class=\"number\"" : "") + "><button>" +
           escapeHtml(column.title) + "</button></th>";
  out += "</tr></thead>\n<tbody>\n";
  for (const auto &row : rows) {
    out += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      out += std::string("<td class=\"") + classes[columns[i].kind] + "\"";
      if (!row[i].sortKey.empty())
        out += " data-key=\"" + escapeHtml(row[i].sortKey) + "\"";
      out += ">" + escapeHtml(row[i].text) + "</td>";
    }
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table></div>\n";
}

std::string convert::htmlList(std::string_view title, const std::vector<std::string> &lines) {
  if (lines.empty())
    return "";
  std::string out = "<details><summary>" + escapeHtml(title) + " (" + std::to_string(lines.size()) + ")</summary>\n<ul>\n";
  for (const std::string &line : lines)
    out += "<li><code>" + escapeHtml(line) + "</code></li>\n";
  return out + "</ul></details>\n";
}
