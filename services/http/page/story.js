// One order's story: a vertical timeline, which goes on while the order is open.

import { get } from "./api.js";
import { $, el, say } from "./dom.js";
import { duration, money, number, timeExact, timeTitle } from "./format.js";

const AGAIN_MS = 700;
const dialog = $("#story");
const body = $(".body", dialog);
let shown = null;
let timer = null;

$("[data-close]", dialog).addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // what is around it
});
dialog.addEventListener("close", () => {
  shown = null;
  clearTimeout(timer);
});

export async function openStory(orderId) {
  shown = orderId;
  say($("#story-title"), orderId);
  body.replaceChildren(el("p", { class: "empty" }, "–"));
  if (!dialog.open) dialog.showModal();
  await tell(orderId);
}

async function tell(orderId) {
  let story;
  try {
    story = await get(`orders/${encodeURIComponent(orderId)}`);
  } catch (error) {
    if (shown === orderId) body.replaceChildren(el("p", { class: "empty" }, error.message));
    return;
  }
  if (shown !== orderId) return;
  body.replaceChildren(facts(story), timeline(story));
  if (story.status === "open") timer = setTimeout(tell, AGAIN_MS, orderId);
}

function facts(story) {
  const pairs = [
    ["status", el("span", { class: "state", "data-state": story.status }, story.status)],
    ["total", money(story.total, story.currency)],
    ["customer", story.customer_id],
    ["place", `partition ${story.partition}, number ${number(story.number)}`],
    ["attempts", number(story.attempts)],
  ];
  return el("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function timeline(story) {
  const events = story.history.flatMap((event) => [{ ...event, text: said(event) }]);
  for (const transfer of story.transfers) {
    const amount = money(transfer.amount, transfer.currency);
    events.push({ at: transfer.at, event: "transfer", text: [amount, `from ${transfer.debit}`, `to ${transfer.credit}`] });
  }
  events.sort((a, b) => (a.at < b.at ? -1 : Number(a.at > b.at)));
  let before = null;
  const nodes = events.map((event) => {
    const at = Date.parse(event.at);
    const later = before === null || at === before ? "" : `+${duration(Math.max(0, at - before))}`;
    before = at;
    return el("li", { "data-state": event.event },
      el("time", { datetime: event.at, title: timeTitle(event.at) }, timeExact(event.at), el("small", {}, later)),
      el("div", {}, el("b", {}, event.event), ...event.text.map((line) => el("span", {}, line))));
  });
  if (story.status === "open") {
    nodes.push(el("li", { "data-state": "open" }, el("time", {}, "now"),
      el("div", {}, el("b", {}, "open"), el("span", {}, "waits to be settled"))));
  }
  return el("ol", { class: "timeline" }, ...nodes);
}

/** What an event says beside its name. */
function said(event) {
  const lines = [];
  if (event.event === "accepted") lines.push(`journalled as number ${number(event.number)}`, `run ${event.run_id}`);
  if (event.attempt) lines.push(`attempt ${number(event.attempt)}`);
  if (event.attempts) lines.push(`after ${number(event.attempts)} attempt${event.attempts === 1 ? "" : "s"}`);
  if (event.reason) lines.push(event.reason);
  if (event.worker) lines.push(`by ${event.worker}`);
  if (event.event === "retried") lines.push("opened again under a new number");
  if (event.event === "discarded") lines.push("dealt with; it stays dead");
  return lines;
}
