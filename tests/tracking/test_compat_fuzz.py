"""Every address of the other systems' interfaces, asked with what no client sends: an answer in the form of that
interface, and never an error of ours."""

from __future__ import annotations

import base64
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from django.test import Client
from django.urls import URLPattern

from tests.builders import make_account, make_channel, make_channel_message, make_key, make_project, open_to_pushwoosh
from tracking.api import refusals
from tracking.api.compat import pushwoosh_urls, smsbat_urls
from tracking.api.compat.socialplus import urls as socialplus_urls

pytestmark = pytest.mark.django_db

ROOTS = {"/bat/": smsbat_urls, "/json/1.3/": pushwoosh_urls, "/api/": socialplus_urls}
VALUES = ("x", "0", "-1", "%00", "%FF", "%2F..%2F", "é" * 200, "1" * 400, "00000000-0000-0000-0000-000000000000")
BODIES: tuple[Any, ...] = (
    *(b"", b"{", b"\xff", b"null", b"[]", b'"x"', b"1e999", b"[" * 5_000),
    *({}, {"request": None}, {"request": {}}, {"request": {"auth": 1, "application": [], "notifications": {}}}),
    *(
        {"messages": None},
        {"messages": [None, 1, {}, []]},
        {"userId": 7},
        {"userId": "\x00"},
        {"data": {"text": "\x00"}},
    ),
)
QUERIES = (
    "",
    "?options[limit]=x&options[token]=x",
    "?options[limit]=-1",
    "?messageIds[]=%00&channelIds[]=%00",
    "?a=%00",
)


def addresses() -> Iterator[str]:
    for root, module in ROOTS.items():
        for pattern in module.urlpatterns:
            assert isinstance(pattern, URLPattern)
            yield root + str(pattern.pattern)


@pytest.fixture(scope="module")
def names() -> list[str]:
    return list(addresses())


@pytest.fixture
def clients() -> dict[str, Client]:
    project = make_project()
    for channel in ("sms", "push", "chat"):
        make_account(project, channel=channel)
    open_to_pushwoosh(project)
    key = make_key(project)
    room = make_channel(project, key="x", users=["ada", "x"])
    make_channel_message(room, user="ada")
    basic = base64.b64encode(f"@:{key}".encode()).decode()
    return {
        "/bat/": Client(headers={"Authorization": f"Basic {basic}"}, raise_request_exception=False),
        "/json/1.3/": Client(raise_request_exception=False),
        "/api/": Client(headers={"X-API-Key": key}, raise_request_exception=False),
    }


def log_in(client: Client) -> None:
    """Anew for each address: among them is the one that ends all sessions."""
    client.defaults.pop("HTTP_AUTHORIZATION", None)
    opened = client.post("/api/v5/sessions", {"userId": "ada", "deviceId": "d"}, content_type="application/json")
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {opened.json()['accessToken']}"


def asked(pattern: str) -> Iterator[str]:
    """The address with each value in each of its places."""
    places = re.findall(r"<[^>]+>", pattern)
    if not places:
        yield pattern
    for place, value in itertools.product(places, VALUES):
        yield re.sub(r"<[^>]+>", "x", pattern.replace(place, value))


def test_no_address_breaks(clients: dict[str, Client], names: list[str]) -> None:
    wrong, statuses = [], Counter[int]()
    for pattern in names:
        root = next(root for root in ROOTS if pattern.startswith(root))
        if root == "/api/":
            log_in(clients[root])
        for path in asked(pattern):
            for method in ("get", "post", "put", "patch", "delete"):
                answer = getattr(clients[root], method)(path)
                statuses[answer.status_code] += 1
                wrong += _faults(f"{method} {path}", answer)
        for query in QUERIES:
            wrong += _faults(f"get {pattern}{query}", clients[root].get(re.sub(r"<[^>]+>", "x", pattern) + query))
        for body, method in itertools.product(BODIES, ("post", "put")):
            sent = body if isinstance(body, bytes) else orjson.dumps(body)
            path = re.sub(r"<[^>]+>", "x", pattern)
            answer = getattr(clients[root], method)(path, sent, content_type="application/json")
            wrong += _faults(f"{method} {path} {sent[:60]!r}", answer)
    assert statuses[200] > 20 and statuses[404] > 50, statuses
    assert wrong == []


def _faults(what: str, answer: Any) -> list[str]:
    if answer.status_code >= 500:
        return [f"{what}: {answer.status_code}"]
    if answer.status_code < 400 or "/files/" in what or not refusals.form_of(answer.request["PATH_INFO"]):
        return []
    kind = answer.headers["Content-Type"]
    return [] if kind in ("application/json", "application/problem+json") else [f"{what}: {answer.status_code} {kind}"]
