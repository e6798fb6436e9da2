// Two line charts over the same five minutes, written by hand in SVG.

import { $, mark, svg } from "./dom.js";
import { duration, number } from "./format.js";
import { nice } from "./partitions.js";

const SECONDS = 300;
const LEFT = 48, RIGHT = 104, TOP = 12, BOTTOM = 40, LINE = 16;

/** Points by second: kept here too, so that a restart of the service leaves no hole. */
const points = new Map();
let marks = [];
let until = 0;

const charts = [
  chart($("#rates"), [
    { column: "accepted", label: "accepted", kind: "open" },
    { column: "settled", label: "settled", kind: "paid" },
  ], { scale: linear, text: (value) => `${number(value)}/s` }),
  chart($("#latency"), [
    { column: "p99", label: "99%", kind: "muted" },
    { column: "median", label: "median", kind: "text" },
  ], { scale: logarithmic, text: duration }),
];

export function showCharts(snapshot) {
  if (!snapshot.points) return;
  if (snapshot.points.until === until && snapshot.marks.length === marks.length) return;
  take(snapshot);
  for (const draw of charts) draw();
}

function take(snapshot) {
  const columns = snapshot.points;
  until = columns.until;
  const first = until - columns.accepted.length + 1;
  columns.accepted.forEach((_, index) => {
    points.set(first + index, Object.fromEntries(
      ["accepted", "settled", "median", "p99"].map((name) => [name, columns[name][index]]),
    ));
  });
  for (const second of points.keys()) if (second <= until - SECONDS) points.delete(second);
  const known = new Set(snapshot.marks.map((each) => each.at));
  marks = [...marks.filter((each) => !known.has(each.at)), ...snapshot.marks]
    .filter((each) => each.at > until - SECONDS).sort((a, b) => a.at - b.at);
}

/** Make a chart; returns what draws it. */
function chart(node, series, { scale, text }) {
  const grid = svg("g", { class: "grid" });
  const axis = svg("g", { class: "axis" });
  const lines = series.map((each) => svg("path", { class: `line ${each.kind}` }));
  const ends = series.map((each) => svg("g", { class: `end ${each.kind}` }, svg("circle", { r: 3 }), svg("text")));
  const empty = svg("text", { class: "empty" });
  node.append(grid, axis, ...lines, ...ends, empty);
  let width = 0, height = 0;

  function draw() {
    if (!width) return;
    const inner = { left: LEFT, right: width - RIGHT, top: TOP, bottom: height - BOTTOM };
    const x = (second) => inner.right - ((until - second) / (SECONDS - 1)) * (inner.right - inner.left);
    const seconds = [...points.keys()].sort((a, b) => a - b);
    const values = seconds.flatMap((second) => series.map((each) => points.get(second)[each.column]))
      .filter((value) => value !== null);
    const { y, ticks } = scale(values, inner);
    drawGrid(grid, ticks, y, text, inner, width);
    drawAxis(axis, x, inner);
    series.forEach((each, index) => mark(lines[index], "d", path(seconds, each.column, x, y)));
    drawEnds(ends, series, x, y, text, inner);
    const hasData = values.some((value) => value > 0);
    empty.textContent = hasData ? "" : "nothing in the last five minutes";
    mark(empty, "x", (inner.left + inner.right) / 2);
    mark(empty, "y", (inner.top + inner.bottom) / 2);
  }

  new ResizeObserver(([entry]) => {
    width = Math.round(entry.contentRect.width);
    height = Math.round(entry.contentRect.height);
    mark(node, "viewBox", `0 0 ${width} ${height}`);
    draw();
  }).observe(node);
  return draw;
}

/** A path that breaks where nothing was measured. */
function path(seconds, column, x, y) {
  let text = "";
  let last = null;
  for (const second of seconds) {
    const value = points.get(second)[column];
    if (value === null) continue;
    text += `${last === second - 1 ? "L" : "M"}${x(second).toFixed(1)} ${y(value).toFixed(1)}`;
    // A point alone would not be seen.
    if (last !== second - 1) text += "h.1";
    last = second;
  }
  return text;
}

function linear(values, { top, bottom }) {
  const most = nice(Math.max(10, ...values));
  const y = (value) => bottom - (value / most) * (bottom - top);
  return { y, ticks: [0, most / 2, most] };
}

function logarithmic(values, { top, bottom }) {
  const some = values.length ? values : [1, 1000];
  const low = Math.max(-1, Math.floor(Math.log10(Math.max(0.1, Math.min(...some)))));
  const high = Math.max(low + 2, Math.ceil(Math.log10(Math.max(...some))));
  const y = (value) => bottom - ((Math.log10(Math.max(value, 10 ** low)) - low) / (high - low)) * (bottom - top);
  return { y, ticks: Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index)) };
}

function drawGrid(group, ticks, y, text, inner, width) {
  group.replaceChildren(...ticks.flatMap((tick) => [
    svg("path", { d: `M${inner.left} ${y(tick)}H${inner.right}` }),
    svg("text", { x: inner.left - 8, y: y(tick) + 4, "text-anchor": "end" }),
  ]));
  const texts = group.querySelectorAll("text");
  ticks.forEach((tick, index) => { texts[index].textContent = short(text(tick)); });
}

/** An axis has less room than a label: `5,000/s` is 5,000 there, and `10.0 ms` is 10 ms. */
const short = (text) => text.replace("/s", "").replace(/\.0\b/, "");

function drawAxis(group, x, inner) {
  const nodes = [];
  const step = inner.right - inner.left < 360 ? 2 : 1;
  for (let minute = 0; minute <= 5; minute += step) {
    const at = minute === 5 ? inner.left : x(until - minute * 60);
    const label = svg("text", { x: at, y: inner.bottom + 32, "text-anchor": "middle" });
    label.textContent = minute ? `−${minute} min` : "now";
    nodes.push(svg("path", { d: `M${at} ${inner.bottom}v4` }), label);
  }
  let free = Infinity;
  for (const event of together(marks, x).reverse()) {
    const kind = /replaced|away/.test(event.label) ? "event fault" : "event";
    nodes.push(svg("path", { class: kind, d: `M${event.x} ${inner.top}V${inner.bottom}` }));
    const width = event.label.length * 7.2; // pixels of a letter, and some more
    const isRightward = event.x + width < inner.right;
    const start = isRightward ? event.x : event.x - width;
    // A name that would cover the next one's is left to its line and its title.
    if (start + width > free || start < 0) continue;
    free = start - 8;
    const label = svg("text", { class: kind, x: event.x, y: inner.bottom + 16,
      "text-anchor": isRightward ? "start" : "end" });
    label.textContent = event.label;
    nodes.push(label);
  }
  group.replaceChildren(...nodes);
}

/** Marks that lie on one another become one, named after the latest, with how many they are. */
function together(all, x) {
  const groups = [];
  for (const each of all) {
    const at = Math.round(x(Math.floor(each.at)));
    const last = groups[groups.length - 1];
    if (at < LEFT) continue;
    if (last && at - last.x < 6) {
      last.count += 1;
      last.label = `${each.label} +${last.count - 1}`;
    } else {
      groups.push({ x: at, label: each.label, count: 1 });
    }
  }
  return groups;
}

/** Labels at the lines' ends, which make way for one another. */
function drawEnds(ends, series, x, y, text, inner) {
  const latest = points.get(until);
  const places = series.map((each, index) => ({ index, value: latest?.[each.column] ?? null }))
    .map((each) => ({ ...each, y: each.value === null ? inner.bottom - LINE * (1 - each.index) : y(each.value) }));
  const sorted = [...places].sort((a, b) => a.y - b.y);
  const [upper, lower] = sorted;
  const lack = LINE * 2 - (lower.y - upper.y);
  const labels = new Map(sorted.map((each) => [each.index, each.y]));
  // A label has two lines, and those of the axis keep their place below.
  const lowest = inner.bottom - LINE;
  if (lack > 0 || lower.y > lowest) {
    const base = Math.min(Math.max(inner.top + 4, upper.y - Math.max(0, lack) / 2), lowest - LINE * 2);
    labels.set(upper.index, base);
    labels.set(lower.index, Math.min(lowest, Math.max(lower.y, base + LINE * 2)));
  }
  for (const place of places) {
    const [circle, label] = ends[place.index].children;
    mark(circle, "visibility", place.value === null ? "hidden" : null);
    mark(circle, "cx", inner.right);
    mark(circle, "cy", place.y);
    const at = labels.get(place.index);
    label.replaceChildren(
      span(series[place.index].label, inner.right + 10, at + 1, "name"),
      span(place.value === null ? "–" : text(place.value), inner.right + 10, at + 15, "value"),
    );
  }
}

function span(text, x, y, kind) {
  const node = svg("tspan", { x, y, class: kind });
  node.textContent = text;
  return node;
}
