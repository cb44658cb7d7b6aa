// Show each phase of a test as it happens: ask for its part of the page every second until it is over.
"use strict";
const part = document.getElementById("trial");
const news = document.getElementById("news");
const EVERY = 1000;
const PATIENCE = 8000;

async function look() {
  try {
    const answer = await fetch(part.dataset.from, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) {
      // Signed out meanwhile, or too long ago: the page itself says which.
      location.reload();
      return;
    }
    part.innerHTML = await answer.text();
    const said = part.querySelector("[data-news]").dataset.news;
    if (news.textContent !== said) news.textContent = said;
    if (part.querySelector("[data-over]") !== null) return;
  } catch {
    // The service is not to be reached for a moment: what is shown stays, and is asked for again.
  }
  setTimeout(look, EVERY);
}
setTimeout(look, EVERY);
