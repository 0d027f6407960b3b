// Refreshes the parts of a page that say `data-live`, every five seconds, as long as the page can be seen; what polls at
// a pace of its own (hx-trigger="every …") is held back while it cannot be seen, too.
// htmx fetches and swaps them: hx-get says what, hx-trigger="live" that we say when.
"use strict";

(() => {
  const PERIOD = 5000; // ms

  const refresh = () => {
    if (document.hidden) return;
    for (const part of document.querySelectorAll("[data-live]")) htmx.trigger(part, "live");
  };

  const partOf = (event) => event.target.closest?.("[data-live]");

  // A refresh that was led elsewhere, as to the login, must not end up inside the page.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const part = partOf(event);
    const asked = part && new URL(part.getAttribute("hx-get"), location.href).href;
    if (asked && event.detail.xhr.responseURL !== asked) {
      event.detail.shouldSwap = false;
      location.reload();
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => partOf(event)?.removeAttribute("data-stale"));
  for (const trouble of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(trouble, (event) => partOf(event)?.setAttribute("data-stale", ""));
  }
  document.addEventListener("htmx:beforeRequest", (event) => {
    const polls = event.target.getAttribute("hx-trigger")?.startsWith("every");
    if (polls && document.hidden) event.preventDefault();
  });
  document.addEventListener("visibilitychange", refresh);
  document.addEventListener("DOMContentLoaded", () => setInterval(refresh, PERIOD));
})();
