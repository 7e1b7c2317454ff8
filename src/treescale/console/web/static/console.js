// What pages do beyond links and forms: copy a command, show what happens. All works without it.
"use strict";

// A button beside each text to copy.
for (const text of document.querySelectorAll("main [data-copy]")) {
  const words = document.body.dataset;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain copy";
  button.textContent = words.copy;
  if (text.dataset.label) button.setAttribute("aria-label", text.dataset.label);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text.dataset.copy || text.textContent.trim());
    button.textContent = words.copied;
    setTimeout(() => { button.textContent = words.copy; }, 2000);
  });
  text.after(button);
}

// Parts of the page, by their id, as the server makes them; only while somebody looks.
const AGAIN_MILLISECONDS = 10000;
const live = document.querySelector("[data-live]");
if (live) {
  let source = null;
  const state = document.getElementById("live-state");
  const show = (text) => { if (state && state.textContent !== text) state.textContent = text; };
  const follow = () => {
    source = new EventSource(live.dataset.live);
    source.addEventListener("open", () => show(document.body.dataset.liveOn));
    source.addEventListener("error", () => {
      show(document.body.dataset.liveOff);
      if (source && source.readyState === EventSource.CLOSED) {  // it was refused: not tried by itself
        source = null;
        setTimeout(() => { if (!document.hidden && !source) follow(); }, AGAIN_MILLISECONDS);
      }
    });
    source.addEventListener("part", (event) => {
      const part = JSON.parse(event.data);
      const place = document.getElementById(part.id);
      if (place) place.innerHTML = part.html;
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && source) { source.close(); source = null; }
    if (!document.hidden && !source) follow();
  });
  if (!document.hidden) follow();
}
