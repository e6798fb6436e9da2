// Dead letters: why they died, and what shall become of them.

import { $, el, idButton, mark, rows, say, showId } from "./dom.js";
import { money, number, time, timeTitle } from "./format.js";

const list = $("#letters ul");
const all = $("#letters-all");
const MOST = 50;
/** Decided about here; until the service's own list says so. */
const decided = new Set();

/**
 * @param {(orderId: string, decision: string, reference?: string) => Promise<boolean>} onDecide
 * @param {() => Promise<void>} onRetryAll
 * @param {(orderId: string) => void} onOpen
 */
export function deadLetters(onDecide, onRetryAll, onOpen) {
  let letters = [];
  let dead = 0;

  list.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    const letter = button?.closest("li");
    const id = letter?.dataset.order;
    if (!id || button.type === "submit") return;
    if (button.dataset.decision === "charged") return void askReference(letter);
    if (!button.dataset.decision) return void onOpen(id);
    await decide(letter, button.dataset.decision);
  });

  list.addEventListener("submit", async (event) => {
    event.preventDefault();
    const letter = event.target.closest("li");
    const reference = $("input", letter).value.trim();
    if (reference) await decide(letter, "settle", reference);
  });

  async function decide(letter, decision, reference) {
    const place = [...list.children].indexOf(letter);
    if (!await onDecide(letter.dataset.order, decision, reference)) return;
    decided.add(letter.dataset.order);
    draw();
    // The keyboard stays where it was, on the next letter.
    const next = list.children[Math.min(place, list.children.length - 1)];
    $(`[data-decision=${decision}]`, next ?? all)?.focus();
  }

  function askReference(letter) {
    const form = $("form", letter);
    form.hidden = !form.hidden;
    if (!form.hidden) $("input", form).focus();
  }

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
  if (node.dataset.order !== letter.order_id) {
    $("form", node).hidden = true;
    $("input", node).value = "";
  }
  node.dataset.order = letter.order_id;
  const [head, reason, foot] = node.children;
  showId(head.children[0], letter.order_id);
  mark(head.children[0], "title", letter.order_id);
  say(head.children[1], money(letter.amount, letter.currency));
  say(reason, letter.reason ?? "no reason given");
  mark(reason, "title", letter.reason);
  const [when, charged, retry, discard] = foot.children;
  say(when, `${number(letter.attempts)} attempt${letter.attempts === 1 ? "" : "s"}, ${time(letter.settled_at)}`);
  mark(when, "title", timeTitle(letter.settled_at));
  // One that may be charged is opened by who has looked at the backend, and says what is there.
  charged.hidden = !letter.in_doubt;
  mark(charged, "aria-label", `${letter.order_id} was charged`);
  say(retry, letter.in_doubt ? "Not charged" : "Retry");
  mark(retry, "data-decision", letter.in_doubt ? "uncharged" : "retry");
  mark(retry, "aria-label", letter.in_doubt ? `${letter.order_id} was not charged: retry it` : `Retry ${letter.order_id}`);
  mark(discard, "aria-label", `Discard ${letter.order_id}`);
}

function make() {
  const button = (decision, label) => el("button", { type: "button", class: "small quiet", "data-decision": decision }, label);
  return el("li", {},
    el("p", { class: "head" }, idButton(), el("span", { class: "n" })),
    el("p", { class: "reason" }),
    el("p", { class: "foot" }, el("span"), button("charged", "Charged"), button("retry", "Retry"), button("discard", "Discard")),
    el("form", { hidden: "" },
      el("input", { "aria-label": "The backend's reference of the charge", placeholder: "The backend's reference", maxlength: "200", autocomplete: "off" }),
      el("button", { type: "submit", class: "small" }, "Have it paid")));
}
