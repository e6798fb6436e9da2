// The stream of snapshots: it comes back by itself, and says how it is.

const SILENCE_MS = 4000;
const REST_MS = [500, 1000, 2000, 3000];

/**
 * Listen, for as long as the page is there.
 * @param {(snapshot: object) => void} onSnapshot
 * @param {(state: "connecting"|"live"|"reconnecting"|"stopped", ageSeconds: number|null) => void} onState
 *   called on every change and once a second
 */
export function listen(onSnapshot, onState) {
  let source = null;
  let failures = 0;
  let lastAt = null;
  let state = "connecting";
  let timer = null;

  const tell = () => onState(state, lastAt === null ? null : (performance.now() - lastAt) / 1000);
  const become = (next) => {
    state = next;
    tell();
  };

  const lose = () => {
    source?.close();
    source = null;
    if (state === "live") become("reconnecting");
    clearTimeout(timer);
    timer = setTimeout(open, REST_MS[Math.min(failures, REST_MS.length - 1)]);
    failures += 1;
  };

  function open() {
    source?.close();
    source = new EventSource("events");
    source.onerror = lose;
    source.onmessage = (message) => {
      const snapshot = JSON.parse(message.data);
      failures = 0;
      lastAt = performance.now();
      const next = snapshot.stopping ? "stopped" : "live";
      if (next !== state) become(next);
      onSnapshot(snapshot);
    };
  }

  setInterval(() => {
    // A connection may be dead without anybody having said so.
    if (state === "live" && performance.now() - lastAt > SILENCE_MS) lose();
    tell();
  }, 1000);
  open();
}
