// Figures as people read them: separators, units, local times.

import { MINOR_DIGITS } from "./currencies.js";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const precise = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});
const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });
const decimals = new Map();

export const number = (value) => (value === null || value === undefined ? "–" : whole.format(value));

/** Milliseconds with a unit, to two or three digits. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.round(ms / 1000)} s`;
}

/** Seconds as the largest two units. */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

export const time = (date) => clock.format(new Date(date));
export const timeExact = (date) => precise.format(new Date(date));
export const timeTitle = (date) => full.format(new Date(date));

/** Minor units of a currency, as `1,234.50 USD`. */
export function money(minor, currency) {
  const digits = MINOR_DIGITS[currency];
  if (!decimals.has(digits)) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    decimals.set(digits, new Intl.NumberFormat("en", options));
  }
  return `${decimals.get(digits).format(minor / 10 ** digits)} ${currency}`;
}

export const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
