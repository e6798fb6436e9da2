// Wires the page: a snapshot comes in, and every part shows its share, once a frame.

import { showCharts } from "./charts.js";
import { act, kill, showControls } from "./controls.js";
import { deadLetters } from "./dead.js";
import { $, mark, say } from "./dom.js";
import { showEquation, showFlow } from "./figures.js";
import { plural, span, time } from "./format.js";
import { showPartitions } from "./partitions.js";
import { ordersTable } from "./orders.js";
import { openStory } from "./story.js";
import { listen } from "./stream.js";
import { workersTable } from "./workers.js";

const showWorkers = workersTable(kill);
const showOrders = ordersTable(openStory);
const showLetters = deadLetters(decide, retryAll, openStory);

const parts = [
  showEquation, showFlow, showPartitions, showCharts, showWorkers, showOrders, showLetters, showControls,
];
let next = null;
let last = null;

function draw() {
  const snapshot = next;
  next = null;
  for (const show of parts) show(snapshot);
  say($("#mode"), snapshot.mode);
  mark($("#mode"), "title", `ledger ${snapshot.ledger}`);
  showNotice();
}

listen((snapshot) => {
  if (next === null) requestAnimationFrame(draw);
  next = last = snapshot;
}, showState);

let state = "connecting";
let age = null;

function showState(now, seconds) {
  [state, age] = [now, seconds];
  mark(document.body, "data-state", state);
  say($("#state"), state);
  say($("#uptime"), last && state === "live" ? `up ${span(last.at - last.started)}` : "");
  showNotice();
}

/** The one line about whatever is not as it should be, and what to do about it. */
function showNotice() {
  const notice = $("#notice");
  const text = problem();
  mark(document.body, "data-stale", state !== "live" && last ? "" : last?.trouble ? "" : null);
  mark(notice, "data-kind", last?.paused && state === "live" && !last.trouble ? "paused" : "error");
  notice.hidden = !text;
  say(notice, text);
}

function problem() {
  const since = last?.read ? ` The figures are of ${time(last.read * 1000)}.` : "";
  if (state === "stopped") return `The service has stopped. This page goes on when it is back.${since}`;
  if (state === "reconnecting") return `No news for ${span(age)}. Trying again.${since}`;
  if (state === "connecting") return age === null && last === null && performance.now() > 3000
    ? "The service does not answer yet. See that orderly serve runs; this page goes on trying." : "";
  if (last?.trouble) return `The ledger cannot be read: ${last.trouble}. What was accepted is safe; see to its database.${since}`;
  if (last?.cut_off) return `Redis is away: ${last.queue_trouble}. Orders are accepted, and settled when it is back.`;
  if (last?.gateway_away) return "The gateway is away. Orders are accepted, and paid when it is back; nothing is counted against them.";
  if (last?.paused) return "The consumers are paused. Orders are accepted and wait in the journal.";
  return "";
}

function decide(orderId, decision, reference = "") {
  const [path, words] = {
    retry: ["retry", "is open again"],
    uncharged: ["retry?not_charged=true", "is open again"],
    settle: [`settle?charged=${encodeURIComponent(reference)}`, "is paid in its turn"],
    discard: ["discard", "is marked as dealt with"],
  }[decision];
  return act("POST", `orders/${encodeURIComponent(orderId)}/${path}`, undefined, () => `${orderId} ${words}`);
}

async function retryAll() {
  await act("POST", "dead/retry", undefined, ({ retried, in_doubt: doubts }) =>
    `${plural(retried, "dead letter")} open again${doubts ? `; ${doubts} in doubt left` : ""}`);
}

for (const dialog of document.querySelectorAll("dialog")) {
  for (const button of dialog.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => dialog.close());
  }
}

// The equation is always in sight: in small, once the large one has left.
new IntersectionObserver(([entry]) => {
  mark(document.body, "data-scrolled", entry.isIntersecting ? null : "");
}, { rootMargin: "-56px 0px 0px 0px" }).observe($("#equation"));
