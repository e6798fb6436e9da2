// The generator's panel, and the buttons that break things.

import { send, tokenIsNeeded } from "./api.js";
import { $, mark, say } from "./dom.js";
import { number } from "./format.js";

const said = $("#said");
let quiet = null;

/** Say something for a while, to eyes and to screen readers. */
export function tell(text, isError = false) {
  say(said, text);
  mark(said, "data-error", isError ? "" : null);
  clearTimeout(quiet);
  quiet = setTimeout(() => say(said, ""), isError ? 12_000 : 6000);
}

/** Do something, and say what came of it; resolves to whether it was done. */
export async function act(method, path, body, done) {
  try {
    const answer = await send(method, path, body);
    if (answer === null) return false;
    tell(done(answer));
    return true;
  } catch (error) {
    tell(error.message, true);
    return false;
  }
}

export const kill = (worker) =>
  act("POST", "chaos/kill", { worker }, () => `${worker ?? "A worker"} is killed; another takes its place`);

let generator = null;
let isPaused = false;

$("#generate").addEventListener("submit", (event) => {
  event.preventDefault();
  if (generator?.running) {
    act("DELETE", "generator", undefined, () => "No more orders are generated");
    return;
  }
  const body = { orders: $("#count").valueAsNumber, rate: $("#rate").valueAsNumber };
  act("POST", "generator", body, () => `Generating ${number(body.orders)} orders`);
});
$("#kill").addEventListener("click", () => kill(null));
$("#pause").addEventListener("click", () => {
  if (isPaused) act("POST", "chaos/resume", undefined, () => "The consumers go on");
  else act("POST", "chaos/pause", undefined, () => "The consumers are paused; orders wait in the journal");
});

export function showControls(snapshot) {
  ({ generator } = snapshot);
  isPaused = snapshot.paused;
  tokenIsNeeded(snapshot.needs_token);
  mark(document.body, "data-chaos", snapshot.chaos ? "" : null);
  say($("#generate button"), generator?.running ? "Stop" : "Generate");
  say($("#pause"), isPaused ? "Resume consumers" : "Pause consumers");
  mark($("#pause"), "aria-pressed", isPaused);
  const progress = $("#generated");
  const made = generator && `${number(generator.made)} of ${number(generator.orders)}`;
  if (!generator) say(progress, "Synthetic groceries, new ones each time.");
  else if (generator.error) say(progress, `${made} accepted, then: ${generator.error}`);
  else if (generator.running) say(progress, `${made} accepted${snapshot.open >= snapshot.max_pending * 0.95 ? "; full, it waits" : ""}`);
  else say(progress, `${made} accepted, done`);
}
