// Keep the page up to date, and say so when it cannot be: an old green is worse than none.
"use strict";
const state = document.getElementById("state");
const stale = document.getElementById("stale");
const asof = document.getElementById("asof");
const since = document.getElementById("since");

// In milliseconds. Soon after something changed or somebody came, more often than on a wall at rest.
const BRISK = 2000;
const CALM = 10000;
const BRISK_FOR = 60000;
const PATIENCE = 8000;
// Longer than the longest pause and the longest wait for an answer.
const TOO_OLD = 20000;

const clock = new Intl.DateTimeFormat("ms-MY", { timeZone: "Asia/Kuala_Lumpur", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
let etag = state.dataset.etag;
// By the clock that nobody sets: when the page was last known to be true, by the browser and by the service.
let provenAt = performance.now();
let provenTime = null;
let stirredAt = provenAt;
let timer = null;
let asking = false;

function mark(old) {
  stale.hidden = !old;
  document.body.classList.toggle("stale", old);
  document.title = old ? "LAPUK · Pantau" : "Pantau";
}

function proven(answer) {
  provenAt = performance.now();
  provenTime = new Date(answer.headers.get("date") ?? Date.now());
  asof.hidden = false;
  asof.querySelector("time").textContent = clock.format(provenTime);
  since.textContent = ` sejak ${clock.format(provenTime)}`;
  mark(false);
}

async function refresh() {
  timer = null;
  if (asking) return;
  asking = true;
  try {
    const answer = await fetch("/fragment", {
      cache: "no-store",
      headers: { "If-None-Match": etag },
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (answer.status === 200) {
      state.innerHTML = await answer.text();
      etag = answer.headers.get("etag") ?? "";
      stirredAt = performance.now();
    } else if (answer.status !== 304) {
      throw new Error(answer.status);
    }
    proven(answer);
  } catch {
    mark(true);
  }
  asking = false;
  plan();
}

function plan() {
  clearTimeout(timer);
  const brisk = stale.hidden === false || performance.now() - stirredAt < BRISK_FOR;
  timer = document.hidden ? null : setTimeout(refresh, brisk ? BRISK : CALM);
}

function ages() {
  // Reckoned from the service's clock: the browser's may be wrong.
  const now = provenTime === null ? Date.now() : provenTime.getTime() + performance.now() - provenAt;
  for (const time of state.querySelectorAll("time.age")) {
    const seconds = Math.max(0, Math.floor((now - Date.parse(time.dateTime)) / 1000));
    const minutes = Math.floor(seconds / 60);
    const age = seconds < 90 ? `${seconds} s` : minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} j ${minutes % 60} min`;
    if (time.dataset.age !== age) time.dataset.age = age;
  }
}

function look() {
  // A laptop that slept, a tab that was hidden, a fetch that hangs: whatever the reason, what is shown is old.
  if (performance.now() - provenAt > TOO_OLD) mark(true);
  ages();
}

function stir() {
  stirredAt = performance.now();
  if (!document.hidden && !asking && performance.now() - provenAt > BRISK) {
    look();
    refresh();
  }
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : stir()));
window.addEventListener("focus", stir);
document.addEventListener("pointerdown", stir);
since.textContent = ` sejak ${clock.format(new Date())}`;
// From here on it is us who say whether the page is old.
document.documentElement.classList.add("proving");
mark(false);
setInterval(look, 1000);
refresh();
