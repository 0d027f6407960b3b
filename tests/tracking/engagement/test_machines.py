"""The published rule: which requests are a machine's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tracking.engagement import machines

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
OUTLOOK = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Win64; x64; Trident/7.0; Microsoft Outlook 16.0.19328)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Thunderbird/145.0"
CUBOT = "Mozilla/5.0 (Linux; Android 12; CUBOT X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile"
GOOGLE = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"


@pytest.mark.parametrize("agent", [IPHONE, CHROME, OUTLOOK, FIREFOX, CUBOT])
def test_readers(agent):
    assert machines.of_request("GET", {"user-agent": agent, "purpose": "navigate"}) == ""


@pytest.mark.parametrize(
    ("method", "headers", "why"),
    [
        ("HEAD", {"user-agent": CHROME}, "HEAD"),
        ("GET", {}, "no user agent"),
        ("GET", {"user-agent": "  "}, "no user agent"),
        ("GET", {"user-agent": "Mozilla/5.0"}, "Apple"),
        ("GET", {"user-agent": GOOGLE}, "Google"),
        ("GET", {"user-agent": "YahooMailProxy; https://help.yahoo.com/"}, "Yahoo"),
        ("GET", {"user-agent": CHROME, "sec-purpose": "prefetch;prerender"}, "ahead"),
        ("GET", {"user-agent": CHROME, "x-moz": "Prefetch"}, "ahead"),
        ("GET", {"user-agent": IPHONE + " facebookexternalhit/1.1 Facebot Twitterbot/1.0"}, "program"),
        ("GET", {"user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}, "program"),
        ("GET", {"user-agent": "AhrefsBot/7.0"}, "program"),
        ("GET", {"user-agent": "python-requests/2.32"}, "program"),
        ("GET", {"user-agent": "Barracuda Sentinel (EE)"}, "program"),
    ],
)
def test_machines(method, headers, why):
    assert why in machines.of_request(method, headers)


def test_too_quick_and_too_many():
    sent = datetime(2026, 11, 21, tzinfo=UTC)
    assert machines.too_quick(sent - timedelta(seconds=1), sent)
    assert machines.too_quick(sent + timedelta(seconds=2.9), sent)
    assert not machines.too_quick(sent + timedelta(seconds=3), sent)
    assert machines.many([1, 2, 3]) and not machines.many([1, 2, 2, 1, 1])
