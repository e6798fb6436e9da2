// The equation and the flow: the figures that are always there.

import { $, mark, say } from "./dom.js";
import { duration, number } from "./format.js";

const NAMES = ["created", "paid", "declined", "dead", "open"];
const terms = Object.fromEntries(NAMES.map((name) => [name, $(`[data-term=${name}]`)]));
const check = $("#check");
const sum = $("#sum");

export function showEquation(snapshot) {
  if (snapshot.created === undefined) return;
  // Room for the longest figure in each place, so that none moves its neighbours.
  const width = Math.max(6, number(snapshot.created).length);
  const equation = $("#equation");
  if (equation.dataset.width !== String(width)) {
    equation.dataset.width = width;
    equation.style.setProperty("--chars", width);
  }
  for (const name of NAMES) {
    say(terms[name].firstElementChild, number(snapshot[name]));
    mark(terms[name], "data-zero", snapshot[name] ? null : "");
  }
  const off = snapshot.created - snapshot.paid - snapshot.declined - snapshot.dead - snapshot.open;
  const isRight = off === 0 && snapshot.balanced;
  mark(check, "data-ok", isRight ? "yes" : "no");
  say(check.lastElementChild, isRight ? "adds up" : `off by ${number(off)}: run orderly verify`);
  const [created, ...rest] = NAMES.map((name) => number(snapshot[name]));
  say(sum, `${created} = ${rest.join(" + ")} ${isRight ? "✓" : "✗"}`);
}

const stations = Object.fromEntries(
  [...document.querySelectorAll("[data-station]")].map((node) => [node.dataset.station, node]),
);

export function showFlow(snapshot) {
  if (snapshot.created === undefined) return;
  const last = (column) => (column.length ? column[column.length - 1] : null);
  const { accepted, settled, p99 } = snapshot.points;
  const workers = snapshot.workers.length;
  const busy = snapshot.workers.filter((each) => each.state === "settling").length;
  station("intake", last(accepted), "accepted per s", `${number(snapshot.waiting)} at intake`);
  station("journal", snapshot.created, "journal", `${number(snapshot.open)} open`);
  station("queue", snapshot.queue, "queue", snapshot.queue === 1 ? "message" : "messages");
  station("settling", busy, "settling", `of ${number(workers)} worker${workers === 1 ? "" : "s"}`);
  const slow = last(p99);
  station("outcome", last(settled), "settled per s", slow === null ? "nothing just now" : `99% in ${duration(slow)}`);
  pipe("intake", last(accepted));
  pipe("journal", last(accepted));
  pipe("queue", last(settled));
  pipe("settling", last(settled));
}

function station(name, figure, label, note) {
  const [count, word, small] = stations[name].children;
  say(count, number(figure));
  say(word, label);
  say(small, note);
}

/** The line that leaves a station is as thick as what goes through it: a step for each decade. */
function pipe(name, rate) {
  mark(stations[name], "data-flow", rate ? Math.min(4, Math.floor(Math.log10(rate)) + 1) : 0);
}
