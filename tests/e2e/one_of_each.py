"""One of everything that has a page of its own in the console, so that somebody can walk through all of them: by a
test, or by hand: `manage.py shell -c "from tests.e2e import one_of_each; one_of_each.show('demo')"`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from uuid import uuid4

from django.contrib.auth.models import Group, User
from django.db.models import Model

from dashboard.models import AlertChannel, AlertRule, BulkOperation, Incident, SavedView
from providers.models import ErrorMapping
from tests import builders
from tracking.models import (
    ApiKey,
    Batch,
    ChatMember,
    Consent,
    ConsentState,
    Delivery,
    Inbound,
    Login,
    Project,
    PurgeRun,
    Suppression,
    Unmatched,
)
from tracking.selection import Filters
from tracking.services import consents, devices, erase, exports, logins, markers, members, remap, suppress
from tracking.services.consents import Asked, By
from tracking.services.suppress import Entry


def show(code: str) -> None:
    """Print the addresses of the pages, relative to /admin/."""
    sys.stdout.write("\n".join(make(Project.objects.get(code=code))))


def make(project: Project) -> list[str]:
    """The addresses. Some change nothing when they are asked for twice; others are made again."""
    return [*_delivery(project), *_alerts(project), *_providers(project), *_recipients(project), *_rest(project)]


def _page(model: type[Model], key: object, name: str = "change") -> str:
    return f"{model._meta.app_label}/{model._meta.model_name}/{key}/{name}/"


def _delivery(project: Project) -> list[str]:
    for channel in ("sms", "chat"):
        builders.make_account(project, channel=channel)
    sms = {"channel": "sms", "recipient": "+491511234567", "content": {"text": "Your code is 1234"}, "ttl": 60}
    with_legs = builders.make_message(project, channel="chat", recipient="ada", fallback=[sms])
    batch = Batch.objects.create(project=project, size=1)
    operation = BulkOperation.objects.create(
        **{"kind": "retry", "query": "status=failed", "reason": "the carrier was away", "rate": 1},
        **{"token": uuid4(), "digest": "x", "who": "operator", "total": 3, "done": 1},
    )
    export = exports.request(project=project, filters=Filters(), by="operator")
    view = SavedView.objects.create(
        owner=User.objects.filter(is_staff=True).first(), name=f"Failed {uuid4().hex[:4]}", query="status=failed"
    )
    return [
        f"tracking/message/{with_legs}/change/",
        _page(Batch, batch.pk),
        _page(BulkOperation, operation.pk),
        "dashboard/bulkoperation/plan/?kind=retry&status=failed",
        "dashboard/bulkoperation/plan/?kind=retry_via&status=failed",
        _page(type(export), export.pk),
        "tracking/export/plan/?status=failed",
        _page(SavedView, view.pk),
    ]


def _alerts(project: Project) -> list[str]:
    rule = AlertRule.objects.create(name=f"Bounces {uuid4().hex[:4]}", kind="bounce_high", threshold=0.1, quiet=1440)
    now = datetime.now(UTC)
    incident = Incident.objects.create(
        **{"rule": rule, "name": rule.name, "kind": rule.kind, "severity": "warning", "threshold": 0.1, "window": 15},
        **{"opened_at": now, "last_at": now, "last_value": 0.5, "worst_value": 0.5},
    )
    channel = AlertChannel.objects.create(name=f"team {uuid4().hex[:4]}", kind="email", recipients="team@example.org")
    return [_page(AlertRule, rule.pk), _page(Incident, incident.pk), _page(AlertChannel, channel.pk)]


def _providers(project: Project) -> list[str]:
    account = project.accounts.earliest("pk")
    mapping, _ = ErrorMapping.objects.get_or_create(kind="sandbox", code="X-1")
    run = remap.start(kind="sandbox", days=1, by="operator")
    request = Inbound.objects.create(
        **{"id": builders.make_message(project, channel=account.channel), "account": account, "method": "POST"},
        **{
            "url": "/hooks/…",
            "headers": {"content-type": "application/json"},
            "body": b'{"event": "x"}',
            "state": "done",
        },
    )
    stray = Unmatched.objects.create(
        **{"account": account, "inbound_id": request.pk, "item": 0, "receipt": {}, "why": "no such message"},
        received_at=datetime.now(UTC),
    )
    return [
        f"providers/provideraccount/{account.pk}/",
        _page(type(account), account.pk),
        _page(ErrorMapping, mapping.pk),
        f"providers/errormapping/run/{run.pk}/",
        _page(Inbound, request.pk),
        _page(Unmatched, stray.pk),
    ]


def _recipients(project: Project) -> list[str]:
    suppress.add([Entry(project.pk, "email", "eve@example.org", "manual", made_by="operator", note="she asked for it")])
    for state in (ConsentState.GRANTED, ConsentState.WITHDRAWN):
        by = By("admin", who="operator", note="she called")
        consents.put(project_id=project.pk, wanted=[(Asked("email", "ada@example.org", "news"), state)], by=by)
    device = builders.make_device(project, token=f"token-{uuid4().hex}", user_id="ada")
    devices.invalidate(device, detail="a lost telephone")
    channel = builders.make_channel(project, key=f"room-{uuid4().hex[:6]}", users=[f"user-{n}" for n in range(60)])
    members.change(channel, "user-3", {"membership": "banned"})
    post = [builders.make_channel_message(channel, user="user-1") for _ in range(3)][-1]
    reader = ChatMember.objects.get(channel=channel, user__user_id="user-2")
    markers.mark(channel, {reader.pk: markers.Reach(2, 1)})
    erasure = erase.start(project=project, channel="email", recipient="mallory@example.org", by="operator")
    return [
        _page(Suppression, Suppression.objects.latest("pk").pk),
        _page(Consent, Consent.objects.latest("pk").pk),
        _page(type(device), device.pk),
        _page(type(channel), channel.pk),
        f"tracking/message/{post.pk}/change/",
        f"tracking/message/{post.pk}/receivers/",
        _page(type(erasure), erasure.pk),
    ]


def _rest(project: Project) -> list[str]:
    now = datetime.now(UTC)
    builders.make_key(project, name=f"web {uuid4().hex[:4]}")
    logins.create(project=project, username=f"shop-{uuid4().hex[:6]}")
    endpoint = builders.make_endpoint(project)
    delivery = Delivery.objects.create(endpoint=endpoint, event="notification.sent", payload={}, next_try_at=now)
    purge = PurgeRun.objects.create(started_at=now, worked_at=now, finished_at=now, by="operator")
    return [
        _page(Project, project.pk),
        _page(ApiKey, ApiKey.objects.latest("pk").pk),
        _page(Login, Login.objects.latest("pk").pk),
        _page(type(endpoint), endpoint.pk),
        _page(Delivery, delivery.pk),
        f"tracking/retention/{project.pk}/change/",
        f"tracking/retention/run/{purge.pk}/",
        _page(User, User.objects.earliest("pk").pk),
        _page(Group, Group.objects.earliest("pk").pk),
        _page(Project, project.pk, "history"),
    ]
