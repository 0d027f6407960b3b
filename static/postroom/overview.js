// The overview's own: tells the server the browser's time zone once, and closes a definition on Escape.
"use strict";

(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.split("; ").some((each) => each.startsWith("tz="))) {
    // counts from the next refresh on; the form can choose another one
    document.cookie = `tz=${zone}; path=/; max-age=31536000; samesite=lax`;
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.activeElement?.classList.contains("tip-mark")) document.activeElement.blur();
  });
})();
