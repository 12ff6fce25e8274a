// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The report of quant-convert quantize: quantize_report.cpp says what the data is.
"use strict";

/// Weights in the table of the page; the JSON report has all.
const mostTensors = 300;

const seriesOfUnit = {attention: 0, experts: 1, shared_experts: 2, dense: 3};
const unitNames = {attention: "attention", experts: "routed experts", shared_experts: "shared experts", dense: "dense FFN"};

/// 10 to that power, as short as it goes: "3.2e-4".
const power = (exponent) => (10 ** exponent).toExponential(1).replace(".0", "");
const withoutSuffix = (name) => name.replace(/\.weight$/, "");

const megabytes = (bytes) => (bytes >= 1e9 ? `${short(bytes / 1e9, 4)} GB` : `${short(bytes / 1e6, 4)} MB`);
const percentOf = (loss) => `${loss < 0 ? "" : "+"}${(100 * Math.expm1(loss)).toFixed(3)} %`;

//===----------------------------------------------------------------------===//
// Parts of the page
//===----------------------------------------------------------------------===//

function quantizedFigures(data) {
  const list = [
    {value: `${megabytes(data.bytes_before)} → ${megabytes(data.bytes_after)}`, what: "all tensors"},
    {value: data.bits.toFixed(3), what: "bits a quantized weight, with scales"},
  ];
  if (data.held_out) {
    const {tokens, perplexity_before, perplexity_after, loss_difference, standard_error, kl, same_first_choice} = data.held_out;
    list.push({value: `${perplexity_before.toFixed(3)} → ${perplexity_after.toFixed(3)}`, what: `perplexity of ${tokens} tokens`});
    list.push({value: `${percentOf(loss_difference)} ± ${(100 * standard_error).toFixed(3)}`, what: "change, standard error"});
    list.push({value: kl.toFixed(5), what: "KL in nats"});
    list.push({value: `${(100 * same_first_choice).toFixed(1)} %`, what: "same first choice"});
  }
  const shares = data.tensors.map(({of_nearest}) => of_nearest).filter((share) => share !== undefined);
  if (shares.length)
    list.push({value: (shares.reduce((a, b) => a + b) / shares.length).toFixed(3), what: "of round-to-nearest's output error, mean"});
  const unhit = (data.experts_never_chosen ?? []).length;
  if (unhit)
    list.push({value: unhit, what: "layers of experts that no token chose", bad: true});
  return figures(list);
}

function budgetTables({budget}) {
  if (!budget)
    return "";
  const groups = new Map();
  for (const part of budget.parts) {
    const key = `${part.kind}\n${part.scheme}`;
    const group = groups.get(key) ?? {kind: part.kind, scheme: part.scheme, layers: [], parameters: 0, bytes: 0, kl: 0};
    group.layers.push(part.layer);
    group.parameters += part.parameters;
    group.bytes += part.bytes;
    group.kl += part.kl;
    groups.set(key, group);
  }
  const number = (title) => ({title, kind: "number"});
  const columns = [{title: "kind", kind: "text"}, {title: "scheme", kind: "text"}, {title: "layers", kind: "name"}, number("bits"),
                   number("size"), number("KL, each alone")];
  const size = (bytes) => ({text: megabytes(bytes), key: bytes});
  const order = (a, b) => a.kind.localeCompare(b.kind) || Math.min(...a.layers) - Math.min(...b.layers);
  const rows = [...groups.values()].sort(order).map(({kind, scheme, layers, parameters, bytes, kl}) =>
    [unitNames[kind] ?? kind, scheme, layers.sort((a, b) => a - b).join(", "), ((8 * bytes) / parameters).toFixed(3), size(bytes),
     kl.toFixed(6)]);
  const others = budget.uniform.map(({scheme, bytes, kl}) =>
    [scheme, size(bytes), kl.toFixed(6), bytes > budget.allowed_layer_bytes ? "too large" : ""]);
  const head = `<p>${budget.bits.toFixed(3)} bits a weight, ${megabytes(budget.layer_bytes)} of ${megabytes(budget.allowed_layer_bytes)} ` +
               `allowed; the KLs of the parts sum up to ${budget.kl.toFixed(6)}, the least there is within that.</p>\n`;
  const compared = others.length ? `<p>All in one scheme, to compare with:</p>\n` +
                                     table([{title: "scheme", kind: "text"}, number("size"), number("KL, sum"), {title: "", kind: "text"}], others)
                                 : "";
  return head + table(columns, rows) + compared;
}

/// A plot for each scheme.
function sensitivityPlots({sensitivities}) {
  const units = sensitivities ? sensitivities.units : [];
  const schemes = [...new Set(units.flatMap(({schemes}) => Object.keys(schemes)))];
  const names = seriesNames.map((name, series) => (units.some(({kind}) => seriesOfUnit[kind] === series) ? name : ""));
  const plot = (scheme) => {
    const points = units.filter(({schemes}) => schemes[scheme] && schemes[scheme].kl > 0).map(({layer, kind, schemes}) => {
      const {kl, loss_difference, standard_error} = schemes[scheme];
      const tip = `layer ${layer}, ${unitNames[kind] ?? kind}: KL ${short(kl, 3)}, perplexity ${percentOf(loss_difference)} ` +
                  `± ${(100 * standard_error).toFixed(3)}`;
      return {x: layer, series: seriesOfUnit[kind] ?? 6, y: Math.log10(kl), low: Math.log10(kl), alarm: false, tip};
    });
    return `<h3>${escape(scheme)}</h3>\n` +
           scatter(points, "KL in nats", "", `sensitivities of ${scheme}`, power);
  };
  return units.length ? `<div class="card">${legend(names)}${schemes.map(plot).join("")}</div>\n` : "";
}

/// Points for weights by layer and kind: of what `valueOf` says the median, from the least.
function groupPoints(tensors, valueOf, words) {
  const groups = new Map();
  for (const tensor of tensors) {
    const value = valueOf(tensor);
    if (value === undefined)
      continue;
    const key = `${tensor.layer} ${tensor.kind}`;
    const group = groups.get(key) ?? {layer: tensor.layer, kind: tensor.kind, values: []};
    group.values.push(value);
    groups.set(key, group);
  }
  return [...groups.values()].map(({layer, kind, values}) => {
    values.sort((a, b) => a - b);
    const median = values[Math.trunc(values.length / 2)];
    const range = values.length > 1 ? ` in the median of ${values.length}, ${words(values[0])} to ${words(values.at(-1))}` : "";
    return {x: layer, series: seriesOf(kind), y: median, low: values[0], alarm: false, tip: `layer ${layer}, ${kind}: ${words(median)}${range}`};
  });
}

function pointsPlot(points, yTitle, name) {
  if (!points.length)
    return "";
  const names = seriesNames.map((title, series) => (points.some((point) => point.series === series) ? title : ""));
  const above = points.some(({y}) => y === Infinity) ? "identical" : "";
  return `<div class="card">${legend(names)}${scatter(points, yTitle, above, name)}</div>\n`;
}

const errorsPlot = ({tensors}) =>
  pointsPlot(groupPoints(tensors, ({of_nearest}) => of_nearest, (share) => short(share, 3)), "share of round-to-nearest's error",
             "output errors over the layers");

const sqnrPlot = ({tensors}) => pointsPlot(
  groupPoints(tensors, ({sqnr}) => (sqnr === undefined ? undefined : numberOf(sqnr)), decibel), "SQNR in dB", "SQNR over the layers");

function quantizedKinds({kinds}) {
  const number = (title) => ({title, kind: "number"});
  const columns = [{title: "kind", kind: "name"}, number("weights"), number("SQNR"), number("cosine"), number("of nearest's output error"),
                   {title: "worst", kind: "name"}];
  const row = ({kind, tensors, sqnr, cosine, of_nearest, worst}) =>
    [kind, tensors, sqnr === undefined ? {text: "scaled", key: -1} : {text: decibel(numberOf(sqnr)), key: numberOf(sqnr)},
     cosine === undefined ? "" : numberOf(cosine).toFixed(6), of_nearest === undefined ? "" : of_nearest.toFixed(3), withoutSuffix(worst ?? "")];
  return kinds.length ? table(columns, kinds.map(row)) : "";
}

function quantizedTensors({tensors}) {
  const number = (title) => ({title, kind: "number"});
  const columns = [{title: "weight", kind: "name"}, {title: "scheme", kind: "text"}, number("shape"), number("SQNR"), number("cosine"),
                   number("tokens"), number("output error"), number("of nearest's")];
  const order = (tensor) => (tensor.sqnr === undefined ? -Infinity : numberOf(tensor.sqnr));
  const worst = [...tensors].sort((a, b) => order(a) - order(b)).slice(0, mostTensors);
  const row = ({name, scheme, shape, elements, scaled, sqnr, cosine, tokens, borrowed_tokens, output_error, of_nearest}) =>
    [withoutSuffix(name), scheme, {text: shape, key: elements},
     scaled ? {text: "scaled", key: -1} : {text: decibel(numberOf(sqnr)), key: numberOf(sqnr)},
     scaled ? "" : numberOf(cosine).toFixed(6),
     tokens === undefined ? "" : {text: borrowed_tokens ? `${tokens} + ${borrowed_tokens} lent` : tokens, key: tokens},
     output_error === undefined ? "" : {text: short(output_error, 3), key: output_error}, of_nearest === undefined ? "" : of_nearest.toFixed(3)];
  const left = tensors.length - worst.length;
  return (worst.length ? table(columns, worst.map(row)) : "") + (left ? `<p class="dim">and ${left} more</p>\n` : "");
}

function expertLists(data) {
  return list("Layers of experts that no token of the text chose: by the inputs of their layer's other experts", data.experts_never_chosen ?? []) +
         list("Layers of experts with few tokens, which borrow from their layer's others", data.experts_that_borrow ?? []) +
         list("Rounded to the nearest: the method or the module does not reach them", data.rounded_to_nearest ?? []);
}

/// Static scales of inputs, those that saturate first.
function inputScaleTables({input_scales}) {
  if (!input_scales)
    return "";
  const {recipe, pieces, layers, experts_by_their_layers_largest} = input_scales;
  const number = (title) => ({title, kind: "number"});
  const columns = [{title: "layer", kind: "name"}, number("largest input"), number("scale"), number("tokens"), number("pieces beyond")];
  const all = Object.entries(layers).sort(([, a], [, b]) => b.pieces_beyond - a.pieces_beyond || b.scale - a.scale);
  const digits = (value) => ({text: short(value, 4), key: value});
  const rows = all.slice(0, mostTensors).map(([layer, {scale, amax, tokens, pieces: reached, pieces_beyond}]) =>
    [layer, digits(amax), digits(scale), tokens, {text: pieces_beyond ? `${pieces_beyond} of ${reached}` : "", key: pieces_beyond}]);
  const how = recipe.history ? ` (the last ${recipe.history})` : recipe.percentile !== undefined ? ` (${recipe.percentile} %)` : "";
  const head = `<p>By the ${escape(recipe.name)}${how} of ${pieces} pieces.</p>\n`;
  const left = all.length - rows.length;
  return head + table(columns, rows) + (left ? `<p class="dim">and ${left} more</p>\n` : "") +
         list("Layers of experts with few tokens: by the largest of their layer's experts", experts_by_their_layers_largest);
}

function showQuantized(data) {
  show("input", escape(data.input));
  show("output", escape(data.output));
  const groups = data.groups.map(({scheme, layers}) => `${layers} layers to ${scheme}`).join(", ");
  show("how", escape(`${data.method}: ${groups}`));
  show("figures", quantizedFigures(data));
  show("notes", data.notes.map((note) => `<p class="dim">note: ${escape(note)}</p>\n`).join(""));
  show("budget", budgetTables(data));
  show("sensitivities", sensitivityPlots(data));
  show("errors", errorsPlot(data));
  show("sqnr", sqnrPlot(data));
  show("inputs", inputScaleTables(data));
  show("experts", expertLists(data));
  show("kinds", quantizedKinds(data));
  show("tensors", quantizedTensors(data));
  makeButtonsWork();
}

if (typeof document !== "undefined")
  showQuantized(readData());
