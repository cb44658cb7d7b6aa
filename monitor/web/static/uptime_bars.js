// Read the days of a strip one by one: arrows by a day, Page Up and Down by a week, Home and End; Escape is done with it.
// On the document, so that strips which come later are read, too.
"use strict";
(() => {
  const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -7, PageDown: 7, Home: -Infinity, End: Infinity };

  function read(strip, at) {
    const days = strip.querySelectorAll("g");
    for (const day of strip.querySelectorAll(".here")) day.classList.remove("here");
    days[at]?.classList.add("here");
    strip.closest(".history").querySelector("output").textContent = days[at]?.querySelector("title").textContent ?? "";
  }

  document.addEventListener("keydown", (event) => {
    const strip = event.target.closest?.("svg.strip");
    if (!strip || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") return read(strip, -1);
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    const days = [...strip.querySelectorAll("g")];
    const here = days.findIndex((day) => day.classList.contains("here"));
    // The first key leads to today, whichever it is.
    const next = here < 0 && Number.isFinite(STEPS[event.key]) ? days.length - 1 : here + STEPS[event.key];
    read(strip, Math.min(days.length - 1, Math.max(0, next)));
  });
  document.addEventListener("focusout", (event) => {
    const strip = event.target.closest?.("svg.strip");
    if (strip) read(strip, -1);
  });
})();
