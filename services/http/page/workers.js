// The workers: who is there, what they do, and in chaos a button to end each.

import { $, el, mark, rows, say } from "./dom.js";
import { number, span } from "./format.js";

const body = $("#workers tbody");
const COLUMNS = 8;
const NOW_SECONDS = 2; // workers report twice a second

/** @param {(worker: string) => void} onKill */
export function workersTable(onKill) {
  body.addEventListener("click", (event) => {
    const worker = event.target.closest("button")?.value;
    if (worker) onKill(worker);
  });
  return show;
}

function show(snapshot) {
  if (!snapshot.workers) return;
  const workers = snapshot.workers;
  say($("#workers-note"), workers.length ? number(workers.length) : "");
  const nodes = rows(body, Math.max(1, workers.length), make);
  if (!workers.length) {
    const none = snapshot.mode === "redis" ? "none yet: start some with orderly pay" : "starting";
    fill(nodes[0], ["–", none, "–", "–", "–", "–", "–", "–"], null, snapshot);
    return;
  }
  workers.forEach((each, index) => {
    const partition = each.partition === null ? "–" : number(each.partition);
    const state = snapshot.paused && each.state === "idle" ? "paused" : each.state;
    const cells = [each.slot, each.host, each.pid, state, partition, number(each.settled), number(each.restarts),
      each.silent < NOW_SECONDS ? "now" : `${span(each.silent)} ago`];
    fill(nodes[index], cells, each.worker, snapshot);
  });
}

function fill(row, cells, worker, snapshot) {
  cells.forEach((text, index) => say(row.children[index], text));
  mark(row.children[1], "title", cells[1]);
  mark(row.children[3], "data-state", cells[3]);
  const button = row.lastElementChild.firstElementChild;
  button.hidden = !worker;
  if (worker && button.value !== worker) {
    button.value = worker;
    button.setAttribute("aria-label", `Kill worker ${worker}`);
  }
}

function make() {
  const cells = Array.from({ length: COLUMNS }, (_, index) =>
    el("td", { class: { 1: "name", 3: "state", 4: "n", 5: "n", 6: "n", 7: "n" }[index] }));
  const button = el("button", { type: "button", class: "small danger" }, "Kill");
  return el("tr", {}, ...cells, el("td", { class: "act chaos" }, button));
}
