// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The report of quant-convert compare: compare_page.cpp says what the data is.
"use strict";

const plain = (value) => (Number.isFinite(value) ? short(value, 3) : value < 0 ? "-inf" : "inf");

/// The SQNR of a tensor as a cell: those with NaN or Inf on one side are the worst.
function sqnrCell({sqnr, identical, mismatched}) {
  if (mismatched)
    return {text: "NaN/Inf", key: -Infinity};
  return {text: identical ? "identical" : decibel(numberOf(sqnr)), key: numberOf(sqnr)};
}

//===----------------------------------------------------------------------===//
// Parts of the page
//===----------------------------------------------------------------------===//

function figuresOf(data) {
  const list = [
    {value: data.compared, what: "tensors compared"},
    {value: data.values, what: "values"},
    {value: data.identical, what: "identical"},
  ];
  const addIf = (condition, value, what, bad) => condition && list.push({value, what, bad});
  if (data.worst_figure)
    list.push({value: sqnrCell(data.worst_figure).text, what: "worst SQNR"});
  addIf(data.median !== null, data.median === null ? "" : decibel(numberOf(data.median)), "median of those that differ");
  addIf(data.mismatched, data.mismatched, "with NaN or Inf on one side", true);
  addIf(data.not_compared.length, data.not_compared.length, "could not be compared", true);
  const alone = data.only_in_a.length + data.only_in_b.length;
  addIf(alone, alone, "on one side only");
  return figures(list);
}

/// The tensors of one kind in one layer: the median, from the worst.
function pointOf(group) {
  const [median, lowest] = [numberOf(group.median), numberOf(group.lowest)];
  const text = (value) => (value === Infinity ? (group.mismatched ? "the same where finite" : "identical") : decibel(value));
  let tip = `${group.layer < 0 ? "" : `layer ${group.layer}, `}${group.kind}: ${text(median)}`;
  if (group.tensors > 1)
    tip += ` in the median of ${group.tensors}; worst ${text(lowest)} (${group.worst})`;
  if (group.mismatched)
    tip += "; NaN or Inf on one side only";
  return {x: group.layer, series: seriesOf(group.kind), y: median, low: lowest, alarm: group.mismatched > 0, tip};
}

function layersPlot(data) {
  const points = data.groups.map(pointOf);
  const names = seriesNames.map((name, series) => (points.some((point) => point.series === series) ? name : ""));
  return `<div class="card">${legend(names)}${scatter(points, "SQNR in dB", "identical")}</div>\n`;
}

function distributionPlot(data) {
  const values = seriesNames.map(() => []);
  for (const [kind, numbers] of Object.entries(data.sqnr))
    values[seriesOf(kind)].push(...numbers);
  const without = data.compared - values.flat().length;
  const plot = histogram(values, "SQNR in dB", "tensors");
  const noun = without === 1 ? "the tensor that is identical or has" : `the ${without} tensors that are identical or have`;
  const note = without ? `<p class="dim">Without ${noun} no signal.</p>\n` : "";
  return plot && `${note}<div class="card">${plot}</div>\n`;
}

function kindsTable(data) {
  const columns = [
    {title: "kind", kind: "name"},
    {title: "tensors", kind: "number"},
    {title: "worst SQNR", kind: "number"},
    {title: "median SQNR", kind: "number"},
    {title: "worst tensor", kind: "name"},
  ];
  const row = (kind) => {
    const median = kind.median === null ? {text: "identical", key: Infinity}
                                        : {text: decibel(numberOf(kind.median)), key: numberOf(kind.median)};
    return [kind.kind, kind.tensors, sqnrCell(kind), median, kind.median === null ? "" : kind.worst];
  };
  return data.kinds.length ? table(columns, data.kinds.map(row)) : "";
}

function worstTable(data) {
  const numbers = ["shape", "SQNR", "cosine", "relative error", "max error", "NaN, Inf"];
  const columns = [
    {title: "tensor", kind: "name"},
    {title: "A", kind: "text"},
    {title: "B", kind: "text"},
    ...numbers.map((title) => ({title, kind: "number"})),
  ];
  const cell = (value, text) => ({text, key: numberOf(value)});
  const row = (tensor) => [tensor.name,
                           tensor.dtype_a,
                           tensor.dtype_b,
                           cell(tensor.elements, tensor.shape),
                           sqnrCell(tensor),
                           cell(tensor.cosine, numberOf(tensor.cosine).toFixed(8)),
                           cell(tensor.relative_error, plain(numberOf(tensor.relative_error))),
                           cell(tensor.max_error, plain(numberOf(tensor.max_error))),
                           tensor.non_finite,
  ];
  return data.worst.length ? table(columns, data.worst.map(row)) : "";
}

function showReport(data) {
  show("a", escape(data.a));
  show("b", escape(data.b));
  show("figures", figuresOf(data));
  document.getElementById("same").hidden = data.compared === 0 || data.identical < data.compared;
  if (data.identical < data.compared) {
    show("layers", layersPlot(data));
    show("distribution", distributionPlot(data));
  }
  show("kinds", kindsTable(data));
  show("worst", worstTable(data));
  const lists = [list("Not compared", data.not_compared), list("Only in A", data.only_in_a), list("Only in B", data.only_in_b)];
  show("lists", lists.join(""));
  makeButtonsWork();
}

if (typeof document !== "undefined")
  showReport(readData());
