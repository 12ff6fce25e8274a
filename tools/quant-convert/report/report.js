// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What reports are made of: tables that sort, lists that unfold, plots as SVG. The functions return HTML.
"use strict";

/// Colours and markers in report.css and below: as many series as an eye tells apart.
const seriesCount = 7;

const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})[c]);

/// As C's %.<digits>g.
const short = (value, digits) => String(Number((Math.abs(value) < 1e-9 && digits === 5 ? 0 : value).toPrecision(digits)));

/// Figures of a page: {value, what, bad}.
const figures = (list) =>
  list
    .map(({value, what, bad}) =>
           `<div class="figure"><b${bad ? ' class="bad"' : ""}>${escape(value)}</b><span>${escape(what)}</span></div>\n`)
    .join("");

/// A table that sorts by a column when its title is clicked. Columns: {title, kind: "text", "name" or "number"}; cells: a text,
/// or {text, key} where a number to sort by stands behind it.
function table(columns, rows) {
  const head = columns.map(({title, kind}) => `<th scope="col" class="${kind}"><button>${escape(title)}</button></th>`).join("");
  const cell = (value, column) => {
    const {text, key} = typeof value === "object" ? value : {text: value};
    return `<td class="${column.kind}"${key === undefined ? "" : ` data-key="${escape(key)}"`}>${escape(text)}</td>`;
  };
  const body = rows.map((row) => `<tr>${row.map((value, i) => cell(value, columns[i])).join("")}</tr>\n`).join("");
  return `<div class="card"><table>\n<thead><tr>${head}</tr></thead>\n<tbody>\n${body}</tbody>\n</table></div>\n`;
}

/// `title` (n), to be unfolded; nothing if there are no lines.
function list(title, lines) {
  if (!lines.length)
    return "";
  const items = lines.map((line) => `<li><code>${escape(line)}</code></li>\n`).join("");
  return `<details><summary>${escape(title)} (${lines.length})</summary>\n<ul>\n${items}</ul></details>\n`;
}

//===----------------------------------------------------------------------===//
// Axes
//===----------------------------------------------------------------------===//

/// Of a drawing, in its own units: the page scales it.
const [width, height, left, right, top_, bottom] = [1100, 380, 58, 14, 34, 44];

/// A range of values on a stretch of the drawing, with ticks at round numbers.
function makeAxis(least, most, from, to, ticks) {
  if (!(most > least))
    most = least + 1;
  const raw = (most - least) / ticks;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => power * factor >= raw) ?? 10);
  const low = Math.floor(least / step) * step;
  const high = Math.ceil(most / step) * step;
  const at = (value) => from + ((Math.min(Math.max(value, low), high) - low) / (high - low)) * (to - from);
  const tickValues = Array.from({length: Math.round((high - low) / step) + 1}, (_, i) => low + step * i);
  return {low, high, from, to, at, ticks: tickValues};
}

/// The index of the value above the widest gap of sorted values; 0: there is none.
function aboveWidestGap(values) {
  let above = 0;
  for (let i = 1; i < values.length; ++i)
    if (!above || values[i] - values[i - 1] > values[above] - values[above - 1])
      above = i;
  return above;
}

/// One axis, or two with a break between: most values on one side of a gap, a few far above it.
function makeBrokenAxis(numbers, from, to, ticks) {
  const values = [...numbers].sort((a, b) => a - b);
  const range = values.length ? values[values.length - 1] - values[0] : 0;
  const above = aboveWidestGap(values);
  if (!above || values[above] - values[above - 1] < 0.4 * range || range < 1) {
    const whole =
      values.length ? makeAxis(values[0], values[values.length - 1], from, to, ticks) : makeAxis(0, 1, from, to, ticks);
    return {parts: [whole], of: () => whole, at: whole.at};
  }
  // Room by the values' number, but enough for a tick or two.
  const share = Math.min(Math.max(above / values.length, 0.25), 0.75);
  const gap = (to - from) * 0.04;
  const middle = from + (to - from) * share;
  const main = makeAxis(values[0], values[above - 1], from, middle - gap, Math.max(2, Math.trunc(ticks * share)));
  const upper =
    makeAxis(values[above], values[values.length - 1], middle + gap, to, Math.max(1, Math.trunc(ticks * (1 - share))));
  const of = (value) => (value >= upper.low ? upper : main);
  return {parts: [main, upper], of, at: (value) => of(value).at(value), gap: (main.to + upper.from) / 2};
}

//===----------------------------------------------------------------------===//
// Plots: a series has a colour and a marker, and can be hidden in the legend
//===----------------------------------------------------------------------===//

const line = (x1, y1, x2, y2, style = "axis") =>
  `<line class="${style}" x1="${short(x1, 5)}" y1="${short(y1, 5)}" x2="${short(x2, 5)}" y2="${short(y2, 5)}"/>\n`;

const label = (x, y, anchor, words) =>
  `<text text-anchor="${anchor}" x="${short(x, 5)}" y="${short(y, 5)}">${escape(words)}</text>\n`;

/// The y axis' title stands above it: upright words are read sooner.
const drawing = (name, xTitle, yTitle, content) =>
  `<svg role="img" aria-label="${escape(name)}" viewBox="0 0 ${width} ${height}">\n` +
  `${label(width - right, height - 8, "end", xTitle)}${label(4, 14, "start", yTitle)}${content}</svg>\n`;

const yTicks = (axis, text = (tick) => short(tick, 5)) =>
  axis.ticks
    .map((tick) => line(left, axis.at(tick), width - right, axis.at(tick)) + label(left - 8, axis.at(tick) + 4, "end", text(tick)))
    .join("");

/// Of about 10 units around the origin: shapes tell the series apart without colours.
const shapes = [
  "M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z",
  "M-3.8-3.8h7.6v7.6h-7.6z",
  "M0-5.2L5.2 0L0 5.2L-5.2 0z",
  "M0-5L4.8 3.8h-9.6z",
  "M0 5L4.8-3.8h-9.6z",
  "M-5-1.7h3.3v-3.3h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3z",
  "M-5-3h10v6h-10z",
];

const marker = (series, x, y, scale, alarm, tip) =>
  `<path class="mark${alarm ? " alarm" : ""}" d="${shapes[series]}" ` +
  `transform="translate(${short(x, 5)} ${short(y, 5)})${scale < 1 ? ` scale(${short(scale, 5)})` : ""}">${tip}</path>`;

/// Points over the layers, with a bar down to the lowest. Points: {x: the layer, -1 outside of them; series; y: Infinity stands
/// in the row above the plot; low: the lowest of what it stands for; alarm: to be marked; tip: shown when pointed at}. Where most
/// of the y axis would be empty, it has a break. `name` is what the plot is called, `tickText` how a number at the y axis is
/// written.
function scatter(points, yTitle, aboveTitle, name = "SQNR over the layers", tickText = undefined) {
  const aboveRow = top_ + 6;
  const values = points.flatMap(({low, y}) => [low, y]).filter(Number.isFinite);
  const first = points.reduce((least, {x}) => Math.min(least, x), 0);
  const last = points.reduce((most, {x}) => Math.max(most, x), 0);
  const axis = makeBrokenAxis(values, height - bottom, top_ + 28, 6);
  const column = (width - left - right) / (last - first + 1);
  const center = (x) => left + (x - first + 0.5) * column;

  let out = values.length ? axis.parts.map((part) => yTicks(part, tickText)).join("") : "";
  if (axis.gap !== undefined)
    out += line(left, axis.gap, width - right, axis.gap, "break");
  if (aboveTitle)
    out += line(left, aboveRow, width - right, aboveRow) + label(left - 8, aboveRow + 4, "end", aboveTitle);
  const every = Math.max(1, Math.ceil(34 / column));
  for (let x = first; x <= last; ++x)
    if (x < 0 || x % every === 0)
      out += label(center(x), height - bottom + 18, "middle", x < 0 ? "none" : x);
  for (const {x: layer, series, y: value, low, alarm, tip} of points) {
    // Left to right within a layer's column, so that the series do not cover each other; smaller where there are many layers.
    const x = center(layer) + (series - (seriesCount - 1) / 2) * Math.min(9, (column * 0.85) / seriesCount);
    const y = value === Infinity ? aboveRow : axis.at(value);
    const bar = low < value ? line(x, axis.at(low), x, y, "range") : "";
    const scale = Math.min(Math.max(column / 38, 0.55), 1);
    out += `<g class="s${series}">${bar}${marker(series, x, y, scale, alarm, `<title>${escape(tip)}</title>`)}</g>\n`;
  }
  return drawing(name, "layer", yTitle, out);
}

/// Counts of the values of each series on a part of the axis, in bins of some 16 units.
function binsOf(axis, valuesOfSeries, isHere) {
  const bins = Array.from({length: Math.trunc(Math.max(4, (axis.to - axis.from) / 16))}, () => Array(seriesCount).fill(0));
  valuesOfSeries.forEach((values, series) => {
    for (const value of values.filter(isHere)) {
      const share = (value - axis.low) / (axis.high - axis.low);
      ++bins[Math.min(bins.length - 1, Math.trunc(share * bins.length))][series];
    }
  });
  return bins;
}

function bars(axis, bins, y) {
  const step = (axis.to - axis.from) / bins.length;
  const lowOf = (bin) => short(axis.low + ((axis.high - axis.low) * bin) / bins.length, 5);
  const stack = (counts, bin) => {
    let out = "";
    let below = 0;
    counts.forEach((count, series) => {
      if (!count)
        return;
      // A few tensors beside thousands are still to be seen.
      const foot = y.at(below);
      const head = Math.min(y.at(below + count), foot - 2);
      const tip = `<title>${count} from ${lowOf(bin)} to ${lowOf(bin + 1)}</title>`;
      out += `<g class="s${series}"><rect class="bar" x="${short(axis.from + step * bin + 0.5, 5)}" y="${short(head, 5)}" ` +
             `width="${short(step - 1, 5)}" height="${short(foot - head, 5)}">${tip}</rect></g>\n`;
      below += count;
    });
    return out;
  };
  return bins.map(stack).join("");
}

/// How many values there are, the series stacked; of each series its finite values. The x axis may have a break, too.
function histogram(valuesOfSeries, xTitle, yTitle) {
  const all = valuesOfSeries.flat();
  if (!all.length)
    return "";
  const x = makeBrokenAxis(all, left, width - right, 12);
  const parts = x.parts.map((axis) => ({axis, bins: binsOf(axis, valuesOfSeries, (value) => x.of(value) === axis)}));
  const sum = (counts) => counts.reduce((a, b) => a + b);
  const highest = parts.flatMap(({bins}) => bins.map(sum)).reduce((a, b) => Math.max(a, b));
  const y = makeAxis(0, highest, height - bottom, top_, Math.min(5, highest));
  let out = yTicks(y);
  for (const {axis, bins} of parts) {
    for (const tick of axis.ticks)
      out += label(axis.at(tick), height - bottom + 18, "middle", short(tick, 5));
    out += bars(axis, bins, y);
  }
  if (x.gap !== undefined)
    out += line(x.gap, top_, x.gap, height - bottom, "break");
  return drawing("histogram of the SQNR", xTitle, yTitle, out);
}

/// Buttons that hide and show the series; those without a name are left out.
function legend(names) {
  const button = (name, i) =>
    `<button aria-pressed="true" data-series="${i}"><svg class="key" viewBox="-7 -7 14 14" aria-hidden="true">` +
    `<g class="s${i}">${marker(i, 0, 0, 1, false, "")}</g></svg>${escape(name)}</button>`;
  return `<div class="legend">${names.map((name, i) => (name ? button(name, i) : "")).join("")}</div>\n`;
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

/// The kinds of tensors fall into these.
const seriesNames =
  ["attention", "routed experts", "shared experts", "dense FFN", "norms and gate", "embedding and head", "other"];

function seriesOf(kind) {
  if (/norm|gate\.|mlp\.gate$/.test(kind))
    return 4;
  if (kind.includes("shared_experts"))
    return 2;
  if (kind.includes("experts"))
    return 1;
  if (kind.includes("attn"))
    return 0;
  if (/embed|head/.test(kind))
    return 5;
  return /mlp|ffn/.test(kind) ? 3 : 6;
}

const decibel = (value) => `${value < 0 && !Number.isFinite(value) ? "-inf" : value.toFixed(2)} dB`;

/// Numbers are written as text where JSON has none: "Infinity".
const numberOf = (value) => Number(value);

//===----------------------------------------------------------------------===//
// The page
//===----------------------------------------------------------------------===//

/// The JSON that quant-convert has put into the page.
const readData = () => JSON.parse(document.getElementById("data").textContent);

/// Puts `content` into the element `id`, behind what is there, and shows it; without content it stays hidden.
function show(id, content) {
  const element = document.getElementById(id);
  element.hidden = content === "";
  element.insertAdjacentHTML("beforeend", content);
}

function sortBy(title) {
  const body = title.closest("table").tBodies[0];
  const down = title.getAttribute("aria-sort") === "ascending";
  for (const other of title.parentNode.cells)
    other.removeAttribute("aria-sort");
  title.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.cells[title.cellIndex].dataset.key ?? row.cells[title.cellIndex].textContent;
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, {numeric: true}) : a - b);
  const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)));
  body.append(...(down ? rows.reverse() : rows));
}

/// To be called when all is shown.
function makeButtonsWork() {
  for (const title of document.querySelectorAll("th"))
    title.querySelector("button").onclick = () => sortBy(title);
  for (const button of document.querySelectorAll(".legend button"))
    button.onclick = () => button.setAttribute("aria-pressed", !document.body.classList.toggle(`hide${button.dataset.series}`));
}
