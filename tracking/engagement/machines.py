"""Which opens and clicks were made by a machine: the published rule (docs/engagement.md). Pure; used by visits.

What one request shows is judged when it comes, what several show together when they are recorded. A reason is given
in words, so that the timeline can say it; "" is a human being, as far as anybody can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

TOO_QUICK = timedelta(seconds=3)  # after the hand-over
TOGETHER = timedelta(seconds=5)  # what comes with shorter pauses is one visit
LONGEST = timedelta(seconds=30)  # of one visit
MANY_LINKS = 3  # different ones, in one visit

# Header → what its value begins with where nobody has looked yet.
_PREFETCH = {
    "sec-purpose": ("prefetch", "prerender"),
    "purpose": ("prefetch", "preview"),
    "x-purpose": ("prefetch", "preview"),
    "x-moz": ("prefetch",),
}
# Privacy proxies fetch every image, whether or not somebody reads the mail.
_PROXIES = (
    (re.compile(r"^Mozilla/5\.0$"), "Apple Mail Privacy Protection"),
    (re.compile(r"GoogleImageProxy"), "Google image proxy"),
    (re.compile(r"YahooMailProxy"), "Yahoo mail proxy"),
)
_SCANNER = re.compile(  # Cubot makes telephones
    r"(?<!cu)bot\b|crawl|spider|slurp|preview|scan|barracuda|mimecast|proofpoint|symantec|forcepoint|fireeye|sophos"
    r"|trendmicro|trend micro|cloudmark|messagelabs|safelinks|phish|virus|urldefense|facebookexternalhit|whatsapp/"
    r"|telegrambot|headlesschrome|phantomjs|python|curl/|wget/|libwww|go-http-client|okhttp|java/|ruby|perl|axios"
    r"|node-fetch|httpclient|monitor|validator",
    re.IGNORECASE,
)


def of_request(method: str, headers: Mapping[str, str]) -> str:
    """Why this request is a machine's, or "". `headers`: lower-case names."""
    if method == "HEAD":
        return "a HEAD request"
    for name, values in _PREFETCH.items():
        if headers.get(name, "").lower().startswith(values):
            return "fetched ahead"
    agent = headers.get("user-agent", "").strip()
    if not agent:
        return "no user agent"
    for pattern, name in _PROXIES:
        if pattern.search(agent):
            return name
    return "a scanner or another program" if _SCANNER.search(agent) else ""


def too_quick(at: datetime, handed_over: datetime) -> bool:
    """Sooner than a mail can be delivered and read."""
    return at < handed_over + TOO_QUICK


def many(links: Iterable[int]) -> bool:
    """More different links than a reader follows in one visit."""
    return len(set(links)) >= MANY_LINKS
