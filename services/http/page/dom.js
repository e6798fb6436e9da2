// Small helpers for the document: text is only ever set as text.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (selector, within = document) => within.querySelector(selector);

/** Set a node's text, and leave it alone if that is what it says already. */
export function say(node, text) {
  const value = String(text);
  if (node.textContent !== value) node.textContent = value;
}

/** Set an attribute, or take it away for null; and leave it alone if nothing changes. */
export function mark(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}

/** Make an element of attributes and children; texts become text nodes. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) mark(node, key, value);
  node.append(...children.filter((each) => each !== null));
  return node;
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) mark(node, key, value);
  node.append(...children);
  return node;
}

/** Have as many children as wanted: what is there is used again, so that rows do not flicker. */
export function rows(parent, count, make) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(make());
  return parent.children;
}

/** A button for an id: where it is too long, its end stays, since that tells it from others. */
export const idButton = () =>
  el("button", { type: "button", class: "link id" }, el("span"), el("span"));

export function showId(button, id) {
  say(button.firstElementChild, id.slice(0, -9));
  say(button.lastElementChild, id.slice(-9));
}
