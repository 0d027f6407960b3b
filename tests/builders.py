"""Plain functions that make what a test needs, with everything optional."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from providers.models import ProviderAccount
from tracking import rollups, subscribers
from tracking.counters import Bucket
from tracking.models import ChannelMessage, ChatChannel, Device, Endpoint, Grant, Project, PushwooshSettings
from tracking.services import channel_posts, channels, endpoints, keys, members, submit
from tracking.services.record import Source

_number = itertools.count(1)


def make_project(**kw: Any) -> Project:
    return Project.objects.create(**{"code": f"project-{next(_number)}", **kw})


def make_account(
    project: Project | None = None, *, credentials: dict[str, Any] | None = None, **kw: Any
) -> ProviderAccount:
    """A sandbox account that takes everything and reports nothing, granted to the project where one is given."""
    defaults = {"code": f"account-{next(_number)}", "kind": "sandbox", "channel": "email"}
    account = ProviderAccount(**{**defaults, "settings": {"profile": "instant"}, **kw})
    account.credentials = credentials if credentials is not None else {"hook_secret": "test-hook-secret"}
    account.save()
    if project is not None:
        Grant.objects.create(project=project, account=account)
    return account


def make_key(project: Project, scopes: Iterable[str] | None = None, name: str = "test") -> str:
    """An API key as its owner sees it."""
    return keys.create(project=project, name=name, scopes=scopes)


def sender_of(project: Project) -> submit.Sender:
    return submit.Sender(project.pk, project.default_region, Source("api", detail={"key": "test"}))


def make_message(project: Project, **kw: Any) -> UUID:
    """A message handed in as the API does it; the project needs an account for its channel."""
    document = {"channel": "email", "recipient": "ada@example.org", "content": {"text": "Hello"}, **kw}
    key: UUID = submit.submit(sender_of(project), document)["id"]
    return key


def make_endpoint(project: Project, url: str = "https://hooks.example.com/in", **kw: Any) -> Endpoint:
    """A webhook endpoint that wants everything. Its secret is `a-secret-of-the-tests` unless another is given."""
    document = {"url": url, "events": [*endpoints.event_types()], "secret": "a-secret-of-the-tests", **kw}
    endpoint, _ = endpoints.create(project_id=project.pk, document=document)
    subscribers.forget()  # a test's transaction may never commit
    return endpoint


def make_counts(project: Project, at: datetime, counts: dict[str, int], **kw: Any) -> None:
    """Numbers of a minute in the rollups, as if messages had been counted; `kw`: channel, account_id, kind, label."""
    bucket = Bucket(at, project.pk, kw.pop("channel", "email"), kw.pop("account_id", None), **kw)
    rollups.add_up({bucket: counts}, rollups.TIERS, datetime.now(UTC))


def make_device(project: Project, **kw: Any) -> Device:
    """Registered just now, and valid unless something else is said."""
    number, now = next(_number), datetime.now(UTC)
    defaults = {"platform": "android", "token": f"token-{number:08}", "registered_at": now}
    if not kw.get("valid", True):
        defaults["invalid_at"] = now
    return Device.objects.create(project=project, **{**defaults, **kw})


def open_to_pushwoosh(project: Project, application: str = "C90C0-0E786", **kw: Any) -> PushwooshSettings:
    """Clients of Pushwoosh may use the project under this application code."""
    return PushwooshSettings.objects.create(project=project, enabled=True, application=application, **kw)


def make_channel(project: Project, *, key: str = "", users: Sequence[str] = (), **kw: Any) -> ChatChannel:
    """A chat channel, with these users as members."""
    document = {"id": key or f"channel-{next(_number)}", **kw}
    channel = channels.create(project_id=project.pk, document=document)
    if users:
        members.add(channel, {"members": [{"user_id": user} for user in users]})
    return channel


def make_channel_message(channel: ChatChannel, *, user: str | None = None, text: str = "Hello") -> ChannelMessage:
    """A message to the channel, from one of its members or from the application itself."""
    document = {"content": {"text": text}, **({"user_id": user} if user else {})}
    return channel_posts.post(sender_of(channel.project), channel, document)[1]
