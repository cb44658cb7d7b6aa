// Bring the page up to date every 2 s, and say so when it cannot be: an old green is worse than none.
"use strict";
const state = document.getElementById("state");
const stale = document.getElementById("stale");

async function refresh() {
  try {
    const answer = await fetch("/fragment", { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(answer.status);
    state.innerHTML = await answer.text();
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
  setTimeout(refresh, 2000);
}

setTimeout(refresh, 2000);
