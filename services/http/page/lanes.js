// The partition lanes: how much waits in each, whose it is, and whether it moves.

import { $, el, mark, rows, say } from "./dom.js";
import { number } from "./format.js";

const MOST = 64;
const STANDS_SECONDS = 2;
const list = $("#lanes");
let scale = 200;
const before = [];

/** Shows each lane's depth, on one scale for all. */
export function showLanes(snapshot) {
  if (!snapshot.lanes) return;
  const lanes = snapshot.lanes.slice(0, MOST);
  const deepest = Math.max(...lanes.map((lane) => lane.open));
  if (deepest > scale || deepest < scale / 8) scale = Math.max(200, nice(deepest));
  const more = snapshot.lanes.length - lanes.length;
  say($("#lanes-scale"), `full width: ${number(scale)} open${more ? `; ${more} more not shown` : ""}`);
  const nodes = rows(list, lanes.length, make);
  const names = new Map(snapshot.workers.map((each) => [each.worker, each]));
  lanes.forEach((lane, index) => show(nodes[index], lane, index, names, snapshot));
}

function show(node, lane, index, names, snapshot) {
  const [label, track, depth, holder] = node.children;
  say(label, index);
  say(depth, number(lane.open));
  mark(depth, "data-zero", lane.open ? null : "");
  track.firstElementChild.style.setProperty("--fill", Math.min(1, lane.open / scale).toFixed(3));
  const moved = lane.settled !== before[index]?.settled || !lane.open;
  const since = moved ? snapshot.at : before[index].since;
  before[index] = { settled: lane.settled, since };
  const stands = lane.open > 0 && snapshot.at - since > STANDS_SECONDS;
  mark(node, "data-stands", stands ? "" : null);
  const worker = names.get(lane.worker);
  const isHere = worker?.state === "settling" && worker.partition === index;
  mark(node, "data-busy", isHere ? "" : null);
  const name = lane.worker ?? "nobody yet";
  say(holder, stands ? `stands ${Math.round(snapshot.at - since)} s, ${name}` : name);
  mark(holder, "title", lane.worker);
}

function make() {
  return el("li", {}, el("span", { class: "lane" }), el("span", { class: "track" }, el("i")),
    el("b"), el("span", { class: "holder" }));
}

/** The next 1, 2 or 5 times a power of ten. */
export function nice(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 2, 5, 10].map((step) => step * power).find((each) => each >= value);
}
