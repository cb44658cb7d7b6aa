// Keep the page up to date, and say so when it cannot be: an old green is worse than none.
"use strict";
const state = document.getElementById("state");
const stale = document.getElementById("stale");
const asof = document.getElementById("asof");
const since = document.getElementById("since");
const news = document.getElementById("news");
const filter = document.getElementById("filter");

// In milliseconds. Soon after something changed or somebody came, more often than on a wall at rest.
const BRISK = 2000;
const CALM = 10000;
const BRISK_FOR = 60000;
const PATIENCE = 8000;
// Longer than the longest pause and the longest wait for an answer.
const TOO_OLD = 20000;
// So many pieces of news are read out; of more only how many there are.
const READ_OUT = 5;
const TYPING = 300;

const clock = new Intl.DateTimeFormat("ms-MY", { timeZone: "Asia/Kuala_Lumpur", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const title = document.title;
let etag = state.dataset.etag;
let from = state.dataset.from;
// By the clock that nobody sets: when the page was last known to be true, by the browser and by the service.
let provenAt = performance.now();
let provenTime = null;
let stirredAt = provenAt;
let timer = null;
let asking = null;
let typing = null;
// Whether somebody has clicked or typed since the last answer: a page that asks by itself extends no session.
let used = false;

function mark(old) {
  if (stale.hidden === !old) return;
  stale.hidden = !old;
  document.body.classList.toggle("stale", old);
  entitle();
}

// How many agencies are down can be seen in a tab among others.
function entitle() {
  const down = Number(state.querySelector("#n-down b")?.textContent ?? 0);
  document.title = (stale.hidden ? "" : `${stale.dataset.word} · `) + (down > 0 ? `(${down}) ` : "") + title;
}

function proven(answer) {
  provenAt = performance.now();
  provenTime = new Date(answer.headers.get("date") ?? Date.now());
  asof.hidden = false;
  asof.querySelector("time").textContent = clock.format(provenTime);
  since.textContent = `${since.dataset.word} ${clock.format(provenTime)}`;
  mark(false);
}

function alike(one, other) {
  return one !== null && one.nodeName === other.nodeName && !one.id;
}

// Make `old` what `fresh` is, and touch nothing else: what has the focus, is selected or was unfolded stays so.
function become(old, fresh) {
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  // What was unfolded, and what the script has reckoned, the service does not know of.
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open" && name !== "data-age") old.removeAttribute(name);
  const wanted = new Set();
  for (const child of fresh.children) if (child.id) wanted.add(child.id);
  const known = new Map();
  for (const child of [...old.children]) {
    if (!child.id) continue;
    if (wanted.has(child.id)) known.set(child.id, child);
    else child.remove();
  }
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const here = child.id ? known.get(child.id) : alike(at, child) ? at : undefined;
    if (here === undefined || here.nodeName !== child.nodeName) {
      old.insertBefore(child, at);
      continue;
    }
    // What stands before it and has no name goes; to move it would undo what is selected in it.
    let ahead = at;
    while (ahead !== null && ahead !== here && !ahead.id) ahead = ahead.nextSibling;
    if (ahead === here) {
      while (at !== here) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
      }
      at = at.nextSibling;
    } else if (old.moveBefore) old.moveBefore(here, at);
    else old.insertBefore(here, at);
    if (here.nodeType === Node.ELEMENT_NODE) become(here, child);
    else if (here.data !== child.data) here.data = child.data;
  }
  while (at !== null) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

// What may be news, by what it is of.
function told() {
  const found = new Map();
  for (const each of state.querySelectorAll("[id][data-news]")) found.set(each.id, each.dataset.news);
  for (const list of state.querySelectorAll("[data-says]")) for (const each of list.children) found.set(each.id, `${each.id.slice(2)}: ${list.dataset.says}`);
  return found;
}

function tell(before, now) {
  const fresh = [...now].filter(([id, text]) => before.get(id) !== text).map(([, text]) => text);
  if (fresh.length === 0) return;
  const more = fresh.length - READ_OUT;
  news.textContent = fresh.slice(0, READ_OUT).join(". ") + (more > 0 ? `. ${news.dataset.more.replace("#", more)}` : "");
}

function show(text, narrowed) {
  const fresh = document.createElement("main");
  fresh.innerHTML = text;
  for (const { name, value } of state.attributes) fresh.setAttribute(name, value);
  const before = told();
  const focused = state.contains(document.activeElement) ? document.activeElement : null;
  const home = focused?.closest("[id]")?.id ?? "";
  become(state, fresh);
  entitle();
  if (focused !== null && document.activeElement !== focused) {
    // A card that has become a tile is another element.
    const there = document.getElementById(home);
    const again = focused.isConnected ? focused : there?.matches("a") ? there : there?.querySelector("a");
    again?.focus({ preventScroll: true });
  }
  // Who narrows the page down asks for what comes and goes; only how much it is is said.
  const now = told();
  tell(narrowed ? new Map([...now].filter(([id]) => id !== "found")) : before, now);
}

async function refresh(narrowed = false) {
  timer = null;
  if (asking !== null) return;
  const mine = (asking = new AbortController());
  const headers = { "If-None-Match": etag };
  if (used) headers["X-Pantau-Used"] = "1";
  used = false;
  try {
    const answer = await fetch(from, {
      cache: "no-store",
      headers,
      signal: AbortSignal.any([mine.signal, AbortSignal.timeout(PATIENCE)]),
    });
    if (answer.status === 200) {
      const text = await answer.text();
      show(text, narrowed);
      etag = answer.headers.get("etag") ?? "";
      stirredAt = performance.now();
    } else if (answer.status !== 304) {
      // The session is over: to the way in, which leads back to this page.
      if (answer.status === 401) location.reload();
      throw new Error(answer.status);
    }
    proven(answer);
    ages();
  } catch {
    // Somebody typed on: the next answer is on its way.
    if (asking !== mine) return;
    mark(true);
  }
  asking = null;
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
    const [days, hours] = document.documentElement.lang === "ms" ? ["hari", "j"] : ["d", "h"];
    const age = seconds < 90 ? `${seconds} s` : minutes < 90 ? `${minutes} min` : minutes < 2 * 1440 ? `${Math.floor(minutes / 60)} ${hours} ${minutes % 60} min` : `${Math.floor(minutes / 1440)} ${days} ${Math.floor((minutes % 1440) / 60)} ${hours}`;
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
  if (!document.hidden && asking === null && performance.now() - provenAt > BRISK) {
    look();
    refresh();
  }
}

function use() {
  used = true;
  stir();
}

function narrow() {
  const said = new URLSearchParams([...new FormData(filter)].filter(([, value]) => value.trim() !== ""));
  history.replaceState(null, "", said.size > 0 ? `/?${said}` : "/");
  for (const link of document.querySelectorAll("a.kept")) {
    const kept = new URL(link.href).searchParams;
    kept.delete("q");
    kept.delete("state");
    link.href = `/?${new URLSearchParams([...said, ...kept])}`;
  }
  said.set("lang", document.documentElement.lang);
  from = `/fragment?${said}`;
  etag = "";
  const before = asking;
  asking = null;
  before?.abort();
  clearTimeout(timer);
  refresh(true);
}

filter?.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(narrow, TYPING);
});
filter?.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  narrow();
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : stir()));
window.addEventListener("focus", stir);
document.addEventListener("pointerdown", use);
document.addEventListener("keydown", use);
since.textContent = `${since.dataset.word} ${clock.format(new Date())}`;
// From here on it is us who say whether the page is old.
document.documentElement.classList.add("proving");
mark(false);
entitle();
setInterval(look, 1000);
refresh();
