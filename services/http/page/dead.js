// Dead letters: why they died, and what shall become of them.

import { $, el, idButton, mark, rows, say, showId } from "./dom.js";
import { money, number, time, timeTitle } from "./format.js";

const list = $("#letters ul");
const all = $("#letters-all");
const MOST = 50;
/** Decided about here; until the service's own list says so. */
const decided = new Set();

/**
 * @param {(orderId: string, decision: "retry"|"discard") => Promise<boolean>} onDecide
 * @param {() => Promise<void>} onRetryAll
 * @param {(orderId: string) => void} onOpen
 */
export function deadLetters(onDecide, onRetryAll, onOpen) {
  let letters = [];
  let dead = 0;

  list.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    const id = button?.closest("li").dataset.order;
    if (!id) return;
    if (!button.dataset.decision) return void onOpen(id);
    const place = [...list.children].indexOf(button.closest("li"));
    if (await onDecide(id, button.dataset.decision)) {
      decided.add(id);
      draw();
      // The keyboard stays where it was, on the next letter.
      const next = list.children[Math.min(place, list.children.length - 1)];
      $(`[data-decision=${button.dataset.decision}]`, next ?? all)?.focus();
    }
  });

  const ask = el("button", { type: "button", class: "quiet", id: "retry-all" }, "Retry all");
  const yes = el("button", { type: "button" });
  const no = el("button", { type: "button", class: "quiet" }, "No");
  all.append(ask, yes, no);
  const asking = (is) => {
    ask.hidden = is || !letters.length;
    yes.hidden = no.hidden = !is;
  };
  ask.addEventListener("click", () => {
    asking(true);
    yes.focus();
  });
  no.addEventListener("click", () => {
    asking(false);
    ask.focus();
  });
  yes.addEventListener("click", async () => {
    await onRetryAll();
    asking(false);
  });
  asking(false);

  function draw() {
    const shown = letters.filter((each) => !decided.has(each.order_id));
    const nodes = rows(list, shown.length, make);
    shown.forEach((each, index) => fill(nodes[index], each));
    say($("#letters-note"), dead ? `${number(dead)}${dead > MOST ? `, the latest ${MOST}` : ""}` : "");
    const empty = $("#letters-empty");
    empty.hidden = shown.length > 0;
    say(empty, dead ? "All of them are decided about." : "None. Orders that the gateway will not take wait here.");
    if (yes.hidden) asking(false);
    say(yes, "Retry all of them");
  }

  return (snapshot) => {
    if (snapshot.created === undefined || !snapshot.letters) return;
    const text = JSON.stringify([snapshot.letters, snapshot.dead]);
    if (text === draw.text) return;
    draw.text = text;
    const there = new Set(snapshot.letters.map((each) => each.order_id));
    for (const id of decided) if (!there.has(id)) decided.delete(id);
    ({ letters, dead } = snapshot);
    draw();
  };
}

function fill(node, letter) {
  node.dataset.order = letter.order_id;
  const [head, reason, foot] = node.children;
  showId(head.children[0], letter.order_id);
  mark(head.children[0], "title", letter.order_id);
  say(head.children[1], money(letter.amount, letter.currency));
  say(reason, letter.reason ?? "no reason given");
  mark(reason, "title", letter.reason);
  const [when, retry, discard] = foot.children;
  say(when, `${number(letter.attempts)} attempt${letter.attempts === 1 ? "" : "s"}, ${time(letter.settled_at)}`);
  mark(when, "title", timeTitle(letter.settled_at));
  mark(retry, "aria-label", `Retry ${letter.order_id}`);
  mark(discard, "aria-label", `Discard ${letter.order_id}`);
}

function make() {
  const button = (decision, label) => el("button", { type: "button", class: "small quiet", "data-decision": decision }, label);
  return el("li", {},
    el("p", { class: "head" }, idButton(), el("span", { class: "n" })),
    el("p", { class: "reason" }),
    el("p", { class: "foot" }, el("span"), button("retry", "Retry"), button("discard", "Discard")));
}
