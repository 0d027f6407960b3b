"""Plain functions that make what a test needs, with everything optional."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from providers.models import ProviderAccount
from tracking import subscribers
from tracking.models import ChannelMessage, ChatChannel, Endpoint, Grant, Project
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
