// The partitions: how much waits in each, whose it is, and whether it moves.

import { $, el, mark, rows, say } from "./dom.js";
import { number } from "./format.js";

const MOST = 64;
const STANDS_SECONDS = 2;
const list = $("#partitions");
let scale = 200;
const before = [];

/** Shows each partition's depth, on one scale for all. */
export function showPartitions(snapshot) {
  if (!snapshot.partitions) return;
  const partitions = snapshot.partitions.slice(0, MOST);
  const deepest = Math.max(...partitions.map((partition) => partition.open));
  if (deepest > scale || deepest < scale / 8) scale = Math.max(200, nice(deepest));
  const more = snapshot.partitions.length - partitions.length;
  say($("#partitions-scale"), `full width: ${number(scale)} open${more ? `; ${more} more not shown` : ""}`);
  const nodes = rows(list, partitions.length, make);
  const names = new Map(snapshot.workers.map((each) => [each.worker, each]));
  partitions.forEach((partition, index) => show(nodes[index], partition, index, names, snapshot));
}

function show(node, partition, index, names, snapshot) {
  const [label, track, depth, holder] = node.children;
  say(label, index);
  say(depth, number(partition.open));
  mark(depth, "data-zero", partition.open ? null : "");
  track.firstElementChild.style.setProperty("--fill", Math.min(1, partition.open / scale).toFixed(3));
  const moved = partition.settled !== before[index]?.settled || !partition.open;
  const since = moved ? snapshot.at : before[index].since;
  before[index] = { settled: partition.settled, since };
  const stands = partition.open > 0 && snapshot.at - since > STANDS_SECONDS;
  mark(node, "data-stands", stands ? "" : null);
  const worker = names.get(partition.worker);
  const isHere = worker?.state === "settling" && worker.partition === index;
  mark(node, "data-busy", isHere ? "" : null);
  const name = partition.worker ?? "nobody yet";
  say(holder, stands ? `stands ${Math.round(snapshot.at - since)} s, ${name}` : name);
  mark(holder, "title", partition.worker);
}

function make() {
  return el("li", {}, el("span", { class: "partition" }), el("span", { class: "track" }, el("i")),
    el("b"), el("span", { class: "holder" }));
}

/** The next 1, 2 or 5 times a power of ten. */
export function nice(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 2, 5, 10].map((step) => step * power).find((each) => each >= value);
}
