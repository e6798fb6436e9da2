// The latest orders, and the search that takes their place.

import { get } from "./api.js";
import { $, el, idButton, mark, rows, say, showId } from "./dom.js";
import { money, number, plural, time, timeTitle } from "./format.js";
import { ID } from "./ids.js";

const body = $("#orders tbody");
const table = $("#orders .scroll");
const note = $("#orders-note");
const empty = $("#orders-empty");
const query = $("#query");

let latest = null;
let found = null;
let asked = "";
let timer = null;

/** @param {(orderId: string) => void} onOpen */
export function ordersTable(onOpen) {
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row?.dataset.order) onOpen(row.dataset.order);
  });
  // Rows hold still while somebody points at one, or the wrong one would be opened.
  for (const name of ["pointerleave", "focusout"]) table.addEventListener(name, () => draw());
  $("#search").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  query.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, 250);
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, dialog");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      query.focus();
      query.select();
    } else if (event.key === "Escape" && event.target === query && query.value) {
      query.value = "";
      search();
    }
  });
  return (snapshot) => {
    if (!snapshot.orders || snapshot.created === undefined) return;
    latest = snapshot.orders;
    if (!body.matches(":hover") && !body.contains(document.activeElement)) draw();
    else if (!found) say(note, "held while you point at it");
  };
}

async function search() {
  clearTimeout(timer);
  asked = query.value.trim();
  if (!asked) {
    found = null;
    return draw();
  }
  const text = asked;
  if (!ID.test(text)) {
    found = { orders: [], why: "Ids consist of letters, digits and . _ : -" };
    return draw();
  }
  try {
    const id = encodeURIComponent(text);
    const pages = await Promise.all([get(`orders?order_id=${id}`), get(`orders?customer_id=${id}`)]);
    if (text !== asked) return null;
    const seen = new Set();
    const orders = pages.flatMap((page) => page.orders)
      .filter((each) => !seen.has(each.order_id) && seen.add(each.order_id));
    found = { orders, more: Boolean(pages[1].next), why: `No order and no customer is called ${text}.` };
  } catch (error) {
    found = { orders: [], why: error.message };
  }
  return draw();
}

function draw() {
  if (latest === null && !found) return;
  const orders = found ? found.orders : latest;
  const nodes = rows(body, orders.length, make);
  orders.forEach((each, index) => fill(nodes[index], each));
  table.hidden = !orders.length;
  empty.hidden = orders.length > 0;
  if (found) {
    say(note, orders.length ? `${plural(orders.length, "match").replace("matchs", "matches")}${found.more ? ", the latest" : ""}` : "");
    if (!orders.length) empty.replaceChildren(el("p", {}, found.why));
  } else {
    say(note, orders.length ? `the latest ${orders.length}` : "");
    if (!orders.length && !empty.querySelector("pre")) empty.replaceChildren(...firstOrder());
  }
}

/** What to do where there is no order yet. */
function firstOrder() {
  const where = new URL("orders", document.baseURI);
  const order = `{"order_id":"a-1","customer_id":"ada","currency":"EUR",\n    "placed_at":"2026-01-31T09:30:00Z",\n    "items":[{"sku":"tea","quantity":2,"unit_price":350}]}`;
  return [
    el("p", {}, "No order yet. Press Generate under ", el("a", { href: "#try" }, "Try it"), ", or place one:"),
    el("pre", { tabindex: 0 }, `curl ${where} \\\n  -H 'Content-Type: application/json' -d \\\n  '${order}'`),
  ];
}

function fill(row, order) {
  const [id, customer, status, total, place, accepted] = row.children;
  row.dataset.order = order.order_id;
  showId(id.firstElementChild, order.order_id);
  mark(id, "title", order.order_id);
  say(customer, order.customer_id);
  mark(customer, "title", order.customer_id);
  say(status, order.status);
  mark(status, "data-state", order.status);
  mark(status, "title", order.reason);
  say(total, money(order.total, order.currency));
  say(place, `${order.partition} / ${number(order.number)}`);
  mark(place, "title", `partition ${order.partition}, number ${order.number}`);
  say(accepted, time(order.accepted_at));
  mark(accepted, "title", timeTitle(order.accepted_at));
}

function make() {
  return el("tr", {},
    el("td", { class: "name" }, idButton()),
    el("td", { class: "name" }), el("td", { class: "state" }),
    el("td", { class: "n" }), el("td", { class: "n" }), el("td", { class: "n" }));
}
