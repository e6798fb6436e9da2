// Requests: the token is asked for when the service wants one, and refusals become errors.
// Paths are as seen from the page, which may be below a path of a proxy.

import { $ } from "./dom.js";

export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function get(path) {
  return read(await reach(path, {}));
}

/** Change something; resolves to the answer, or to null if no token was given. */
export async function send(method, path, body) {
  for (let again = false; ; again = true) {
    const headers = {};
    const token = sessionStorage.getItem("token");
    if (token) headers.authorization = `Bearer ${token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    if (!token && needsToken && !(await askForToken(false))) return null;
    if (!token && needsToken) continue;
    const response = await reach(path, { method, headers, body: body && JSON.stringify(body) });
    if (response.status !== 401) return read(response);
    sessionStorage.removeItem("token");
    if (!(await askForToken(again || Boolean(token)))) return null;
  }
}

let needsToken = false;

/** Ask before the first change rather than after its refusal. */
export function tokenIsNeeded(isNeeded) {
  needsToken = isNeeded;
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Refusal(0, "The service does not answer. This page goes on trying; so can you.");
  }
}

async function read(response) {
  const answer = await response.json();
  if (!response.ok) throw new Refusal(response.status, answer.detail ?? answer.title);
  return answer;
}

function askForToken(wasWrong) {
  const dialog = $("#token");
  const input = $("#token-value");
  input.value = "";
  $("#token-why").textContent = wasWrong
    ? "That was not it. It is the value of API_TOKEN."
    : "It is the value of API_TOKEN. It is kept until this tab is closed.";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "ok" && input.value;
      if (given) sessionStorage.setItem("token", input.value);
      input.value = "";
      resolve(Boolean(given));
    }, { once: true });
  });
}
