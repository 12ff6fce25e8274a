// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the reports' scripts draw:  node test/tools/quant-convert/report_test.js
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const test = require("node:test");
const vm = require("node:vm");

const folder = path.join(__dirname, "../../../tools/quant-convert/report");
const read = (name) => fs.readFileSync(path.join(folder, name), "utf8");

/// The scripts' names, outside of a browser.
const names =
  ["histogram", "scatter", "table", "list", "legend", "figuresOf", "layersPlot", "distributionPlot", "kindsTable", "worstTable"];
const parts = vm.runInNewContext(`${read("report.js")}\n${read("compare.js")}\n({ ${names.join(", ")} })`);
const sampleOf = (page) => JSON.parse(/<script id="data"[^>]*>([^]*?)<\/script>/.exec(read(page))[1]);
const sample = () => sampleOf("compare.html");
const quantizeNames = ["quantizedFigures", "budgetTables", "sensitivityPlots", "errorsPlot", "sqnrPlot", "quantizedKinds", "quantizedTensors",
                       "expertLists", "inputScaleTables"];
const quantize = vm.runInNewContext(`${read("report.js")}\n${read("quantize.js")}\n({ ${quantizeNames.join(", ")} })`);

/// How often `what` stands in a text.
const count = (text, what) => text.split(what).length - 1;
const point = (x, series, y, low, tip) => ({x, series, y, low, alarm: false, tip});

test("a histogram of nothing is nothing, of one value a bar", () => {
  assert.equal(parts.histogram([[], []], "x", "y"), "");
  assert.match(parts.histogram([[31]], "x", "y"), />1 from /);
});

test("every value of a histogram is in a bar", () => {
  const bars = parts.histogram([[30, 30.01, 31], [], [30, 95, 96.5]], "x", "y").matchAll(/class="s(\d)">.*?<title>(\d+) from/g);
  const sums = {};
  for (const [, series, number] of bars)
    sums[series] = (sums[series] ?? 0) + Number(number);
  assert.deepEqual(sums, {0: 3, 2: 3});
});

test("points at infinity stand in the plot", () => {
  const strange = parts.scatter([point(-1, 0, Infinity, Infinity, "a"), point(3, 6, -Infinity, -Infinity, "<b>")], "dB", "same");
  assert.ok(strange.includes("&lt;b&gt;"));
  for (const plot of [strange, parts.scatter([point(0, 0, 31, 30, ""), point(1, 1, 120, 120, "")], "dB", "same")])
    assert.doesNotMatch(plot, /nan|inf|undefined/i);
});

test("texts from checkpoints stay texts", () => {
  const bad = '<img src="x">&';
  const good = "&lt;img src=&quot;x&quot;&gt;&amp;";
  for (const html of [parts.table([{title: bad, kind: "name"}], [[bad], [{text: bad, key: bad}]]), parts.list(bad, [bad]),
                      parts.legend([bad])]) {
    assert.ok(html.includes(good), html);
    assert.ok(!html.includes("<img"), html);
  }
});

test("the sample's figures", () => {
  const html = parts.figuresOf(sample());
  for (const figure of ["7</b><span>tensors compared", "28.40 dB</b><span>worst SQNR", "31.20 dB</b><span>median",
                        '"bad">1</b><span>with NaN'])
    assert.ok(html.includes(figure), html);
});

test("the sample's plots and tables", () => {
  const data = sample();
  const plot = parts.layersPlot(data);
  assert.equal(count(plot, '<path class="mark'), data.groups.length + 5, "a marker a group, and those of the legend");
  assert.ok(
    plot.includes("layer 1, mlp.experts.up_proj: 31.00 dB in the median of 3; worst 28.40 dB (model.layers.1.mlp.experts.2"));
  assert.ok(parts.distributionPlot(data).includes("Without the tensor that is identical"));
  assert.ok(parts.kindsTable(data).includes('data-key="Infinity">identical'));
  assert.ok(parts.worstTable(data).includes('data-key="-Infinity">NaN/Inf'));
});

test("nothing in common is a page, too", () => {
  const data = {
    ...sample(),
    compared: 0,
    identical: 0,
    mismatched: 0,
    worst_figure: null,
    median: null,
    groups: [],
    sqnr: {},
    kinds: [],
    worst: []
  };
  assert.ok(parts.figuresOf(data).includes("0</b><span>tensors compared"));
  assert.equal(parts.kindsTable(data) + parts.worstTable(data) + parts.distributionPlot(data), "");
});

test("a quantized model's figures, plots and tables", () => {
  const data = sampleOf("quantize.html");
  const figures = quantize.quantizedFigures(data);
  for (const figure of ["20.6 MB → 7.9 MB", "29.500 → 29.610", "+0.371 % ± 0.050", "0.00610", "95.1 %", '0.650</b><span>of round-to-nearest',
                        '"bad">1</b><span>layers of experts'])
    assert.ok(figures.includes(figure), figure);
  const budget = quantize.budgetTables(data);
  for (const cell of ["routed experts", "w4a16:32", "keep", "2.55 MB of 2.6 MB", "4.500"])
    assert.ok(budget.includes(cell), cell);
  const plots = quantize.sensitivityPlots(data);
  assert.equal(count(plots, "<svg role"), 2); // of w4a16:32 and of w8a16
  assert.equal(count(plots, "layer 0, dense FFN: KL 0.0021"), 1);
  assert.ok(quantize.errorsPlot(data).includes("layer 1, mlp.experts.up_proj: 0.5"));
  assert.ok(quantize.sqnrPlot(data).includes("layer 0, self_attn.o_proj: 44.10 dB"));
  assert.ok(quantize.quantizedKinds(data).includes("20.20 dB"));
  const tensors = quantize.quantizedTensors(data);
  assert.ok(tensors.indexOf("experts.3") < tensors.indexOf("experts.2") && tensors.indexOf("experts.2") < tensors.indexOf("o_proj"));
  assert.ok(tensors.includes("0 + 256 lent"));
  assert.ok(quantize.expertLists(data).includes("model.layers.1.mlp.experts.2.up_proj"));
  const inputs = quantize.inputScaleTables(data);
  assert.ok(inputs.includes("percentile (90 %) of 94 pieces") && inputs.includes("2 of 7") && inputs.includes("0.0125"));
  assert.ok(inputs.indexOf("experts.2.up_proj") < inputs.indexOf("o_proj")); // those that saturate first
  for (const html of [figures, budget, plots, tensors, inputs])
    assert.doesNotMatch(html, /NaN|undefined|Infinity/);
});

test("a report of a plain run has no more than it knows", () => {
  const data = {...sampleOf("quantize.html"), held_out: undefined, budget: undefined, sensitivities: undefined, input_scales: undefined,
                tensors: [{name: "a", kind: "b", layer: 0, scheme: "w8a8", shape: "1", elements: 1, sqnr: "Infinity", cosine: 1}],
                experts_never_chosen: undefined, experts_that_borrow: undefined, rounded_to_nearest: undefined};
  for (const name of ["budgetTables", "sensitivityPlots", "errorsPlot", "expertLists", "inputScaleTables"])
    assert.equal(quantize[name](data), "", name);
  assert.doesNotMatch(quantize.quantizedFigures(data) + quantize.sqnrPlot(data) + quantize.quantizedTensors(data), /NaN|undefined/);
});
