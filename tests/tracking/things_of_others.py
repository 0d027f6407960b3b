"""Things that the addresses of other systems' interfaces, and those that plain views answer, may name; and how each is
asked. For tests that go through all addresses of the OpenAPI document, beside `things`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.test import Client

from providers.sandbox import wire
from tests.builders import (
    make_account,
    make_channel,
    make_channel_message,
    make_key,
    make_message,
    make_project,
    open_to_pushwoosh,
)
from tests.tracking import engaged, things
from tracking import accounts, loops, tasks
from tracking.models import Export, Heartbeat, Project, PushwooshSettings
from tracking.services import export_links
from tracking.services import push_log as logs
from tracking.services.dress import CALLBACK

HTML = '<body><a href="https://shop.example/x">x</a></body>'
PHONE = "+4915112345678"


def open_project() -> Project:
    """One that every interface may use, with accounts of all channels."""
    project = make_project()
    for channel in ("email", "sms", "push", "chat"):
        make_account(project, channel=channel)
    open_to_pushwoosh(project)
    return project


def things_of(project: Project, path: str) -> dict[str, Any]:
    """As things.things_of, for every address; what it names stands in paths, queries or bodies."""
    makers = ((make(project, path)) for root, make in _MAKERS if path.startswith(root))
    return next(makers, None) or things.things_of(project, path)


def filled(example: Any, known: dict[str, Any]) -> Any:
    """The example, with the names of these things instead of its own."""
    if isinstance(example, list):
        return [filled(each, known) for each in example]
    if not isinstance(example, dict):
        return example
    return {name: known.get(name, filled(value, known)) for name, value in example.items()}


def headers_of(project: Project, operation: Any, body: bytes) -> dict[str, str]:
    """Who asks, in the first of the ways that are described."""
    if operation["tags"] == ["Receipts"]:
        return wire.sign("test-hook-secret", body, int(time.time()))
    (name,) = next(iter(operation.get("security", ())), {"": []})
    return {
        "": lambda: {},
        "bearer": lambda: {"Authorization": f"Bearer {make_key(project)}"},
        "header": lambda: {"X-API-Key": make_key(project)},
        "smsbatKey": lambda: {"X-Authorization-Key": make_key(project)},
        "session": lambda: {"Authorization": f"Bearer {session_of(project)}"},
    }[name]()


def session_of(project: Project, user: str = "ada") -> str:
    headers = {"X-API-Key": make_key(project)}
    answer = Client().post("/api/v5/sessions", {"userId": user}, content_type="application/json", headers=headers)
    token: str = answer.json()["accessToken"]
    return token


def _social(project: Project, path: str) -> dict[str, Any]:
    channel = make_channel(project, users=["ada", "ben"])
    message = str(make_channel_message(channel, user="ben").pk)
    of_channel = dict.fromkeys(("channel", "feed", "messageFeedId"), channel.key)
    several = {"messageFeedIds": [channel.key], "messageFeedIds[]": channel.key, "channelIds[]": channel.key}
    of_message = dict.fromkeys(("message", "messageId", "messageIds[]"), message)
    users = {"user": "ada", "userId": "ada", "userIds[]": "ada"}
    return {**of_channel, **several, **of_message, **users, "deviceLastSyncAt": "2026-01-01T00:00:00Z"}


def _bat(project: Project, path: str) -> dict[str, Any]:
    leg = {"channel": "sms", "recipient": PHONE, "content": {"text": "Hello"}}
    return {"message": make_message(project, fallback=[leg])}


def _pushwoosh(project: Project, path: str) -> dict[str, Any]:
    settings = PushwooshSettings.objects.filter(project=project).first() or open_to_pushwoosh(project)
    log, _ = logs.ask(project.pk, datetime.now(UTC).date())
    tasks.push_log_slice()
    log.refresh_from_db()
    auth = {"auth": make_key(project), "application": settings.application}
    return {**auth, "request_id": log.request_id, "token": log.file_token}


def _hook(project: Project, path: str) -> dict[str, Any]:
    account = make_account(project)
    accounts.forget()  # kept from before it was made
    return {"token": account.hook_token}


def _download(project: Project, path: str) -> dict[str, Any]:
    key = things.things_of(project, "/exports")["export"]
    link = export_links.address(Export.objects.get(pk=key), datetime.now(UTC))
    return {"token": link.path.rpartition("/")[2]}


def _visit(project: Project, path: str) -> dict[str, Any]:
    """Of a message that was handed over, by a project of its own that tracks."""
    kind = path[1]
    if kind == "p":
        sent = engaged.handed_over(*engaged.tracking_project("push"), channel="push", recipient="token-0001")
        return {"token": sent.data[CALLBACK].rpartition("/")[2], "event": "opened"}
    if kind == "l":
        content = {"text": "https://shop.example/x"}
        sent = engaged.handed_over(*engaged.tracking_project("sms"), channel="sms", recipient=PHONE, content=content)
        (link,) = engaged.links(sent.text, "l")
        return {"code": link.removeprefix("/l/")}
    sent = engaged.handed_over(*engaged.tracking_project(), content={"html": HTML})
    link = engaged.links(sent.html + sent.headers["List-Unsubscribe"], kind)[0]
    return {"token": re.sub(r"^/./|\.gif$", "", link)}


def _page(project: Project, path: str) -> dict[str, Any]:
    return {"name": "swagger-ui.css"}


def _readiness(project: Project, path: str) -> dict[str, Any]:
    """Signs of life from all workers."""
    for name in ("tick:0", *(f"{name}:{shard}" for name, shard in loops.wanted())):
        Heartbeat.objects.update_or_create(name=name, defaults={"at": datetime.now(UTC)})
    return {}


# The first whose root the path has.
_MAKERS: tuple[tuple[str, Callable[[Project, str], dict[str, Any]]], ...] = (
    ("/api/", _social),
    ("/bat/", _bat),
    ("/json/", _pushwoosh),
    ("/hooks/", _hook),
    ("/downloads/", _download),
    ("/readyz", _readiness),
    *((f"/{kind}/", _visit) for kind in "oclup"),
    ("/v1/docs/", _page),
)
