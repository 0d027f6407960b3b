"""What stands in a path is the caller's: whatever it is, no address of any interface or page fails over it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.urls.resolvers import RoutePattern, URLResolver

from tests.builders import make_key, make_project, open_to_pushwoosh
from tests.dashboard.people import superuser
from tests.seeds.test_socialplus import log_in
from tracking.api import authentication

pytestmark = pytest.mark.django_db
SEGMENTS = ["%00", "%ff", "9" * 30, "x" * 3000]


def routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    """Every address with a parameter; each parameter of it as {}."""
    for each in resolver.url_patterns:
        if not isinstance(each.pattern, RoutePattern):
            continue
        path = before + "".join(
            part if place % 2 == 0 else "{}" for place, part in enumerate(_parts(str(each.pattern)))
        )
        if isinstance(each, URLPattern):
            yield from [path] if "{}" in path else []
        else:
            yield from routes(each, path)


def _parts(route: str) -> list[str]:
    """Fixed text and parameters, in turn."""
    return [part for piece in route.split("<") for part in piece.split(">", 1)]


ROUTES = sorted(set(routes(get_resolver())))


@pytest.fixture
def clients(db) -> dict[str, Client]:
    """Somebody who may do everything, for each interface."""
    authentication.forget()
    project = make_project()
    open_to_pushwoosh(project, "APP")
    key = make_key(project)
    found = {
        "admin/": superuser(),
        "v1/": Client(headers={"Authorization": f"Bearer {key}"}),
        "bat/": Client(headers={"X-Authorization-Key": key}),
        "api/": log_in(project, "ada", key=key),
        "": Client(),
    }
    found["api/v1/"] = Client(headers={"Authorization": f"Bearer {key}"})
    found["api/v1/markers/"] = found["api/"]
    for client in found.values():
        client.raise_request_exception = False  # whoever calls sees the 500
    return found


def test_the_routes_are_found() -> None:
    assert {"v1/channels/{}/members/{}", "bat/message/{}", "api/v5/message-feeds/channel/{}"} <= set(ROUTES)
    assert {"json/1.3/files/{}.zip", "downloads/exports/{}", "hooks/{}"} <= set(ROUTES)


@pytest.mark.parametrize("segment", SEGMENTS, ids=lambda text: text[:6])
def test_absurd_paths(clients: dict[str, Client], segment: str) -> None:
    broken = []
    for route in ROUTES:
        prefix = max((each for each in clients if route.startswith(each)), key=len)
        path = "/" + route.replace("{}", segment)
        for method in ("get", "head", "post", "put", "patch", "delete"):
            answer = getattr(clients[prefix], method)(
                path, **({"data": "{}", "content_type": "application/json"} if method[0] == "p" else {})
            )
            if answer.status_code >= 500:
                broken.append(f"{answer.status_code} {method} {path[:80]}")
    assert not broken


def test_a_feed_that_no_channel_can_have_is_unknown(clients: dict[str, Client]) -> None:
    answer = clients["api/"].get("/api/v5/message-feeds/channel/%00")
    assert (answer.status_code, answer.json()["messageFeeds"]) == (200, [])
    assert clients["api/"].get("/api/v5/message-feeds/channel/").status_code == 404
