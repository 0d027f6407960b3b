"""A recipient in every place of the installation where there may be one, by the paths that real ones take; and a search
through everything that is stored. For the test of erasure.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.contrib.admin.models import CHANGE
from django.contrib.admin.models import LogEntry as AdminEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from dashboard.models import AlertNotification, AlertRule, BulkOperation, Incident, IncidentEvent, SavedView
from providers.base import Classification, FailureClass, ProviderError, SendResult
from providers.models import Circuit
from tests.builders import (
    make_account,
    make_channel,
    make_channel_message,
    make_device,
    make_endpoint,
    make_key,
    make_message,
    make_project,
    open_to_pushwoosh,
    sender_of,
)
from tests.tracking.engaged import BASE, links, visit
from tracking import followers, ids
from tracking.engagement import projects
from tracking.models import (
    ConsentState,
    Delivery,
    DeliveryAttempt,
    EngagementSettings,
    Inbound,
    Project,
    Remap,
    Unmatched,
)
from tracking.selection import Filters
from tracking.services import (
    consents,
    dispatch,
    erase,
    export_work,
    exports,
    members,
    outcomes,
    push_log,
    stream,
    submit,
    visits,
)
from tracking.services import suppress as suppressions
from tracking.services.consents import Asked, By
from tracking.services.handover import Outcome
from tracking.services.idempotency import Key
from tracking.tracker import DeliveryTracker, DeliveryWebhook

ADA, EVE = "ada@example.org", "eve@example.org"
HTML = f'<body><a href="https://shop.example/?who={ADA}">x</a><a href="https://shop.example/">y</a></body>'
WORDS = f"550 5.1.1 <{ADA}>: no such user"


class Furnished:
    """A project of which every table that can name somebody names Ada."""

    def __init__(self, archive: Path) -> None:
        now = datetime.now(UTC)
        self.project = make_project(paused_reason="")
        self.accounts = {name: make_account(self.project, channel=name) for name in ("email", "sms", "push", "chat")}
        every = dict.fromkeys(("opens", "clicks", "unsubscribe", "short_links", "push_callbacks"), True)
        EngagementSettings.objects.create(project=self.project, domain=BASE, **every)
        open_to_pushwoosh(self.project)
        self.endpoint = make_endpoint(self.project)
        stream.follow(self.project.pk)
        projects.forget()
        followers.forget()
        self._messages()
        self._fallback()
        self._push()
        self._chat()
        self._receipts(now)
        self._people()
        self._exports(archive)
        self._console(now)
        self._tracked()

    def _messages(self) -> None:
        content = {"html": HTML, "text": f"Dear {ADA}"}
        to_ada = {"recipient": ADA.title(), "external_id": f"for-{ADA}", "tags": [f"about-{ADA}"], "content": content}
        make_message(self.project, **to_ada, metadata={"to": ADA}, purpose="news")
        naming = {"recipient": EVE, "external_id": f"about-{ADA}", "tags": [ADA], "cc": [ADA, "bob@example.org"]}
        make_message(self.project, **naming, content=content)
        self.sms = {"channel": "sms", "recipient": "+4915123456789", "content": {"text": f"https://x.example/?w={ADA}"}}
        make_message(self.project, **self.sms)
        make_message(self.project, recipient=EVE)  # names nobody
        to_ada_and_others = self.hand_over("email")
        self.hand_over("sms")
        for mail in to_ada_and_others[:2]:
            pixel, click = links(mail.html, "o")[0], links(mail.html, "c")[0]
            assert visit(pixel).status_code == 200 and visit(click).status_code == 302
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        connection.cursor().execute("UPDATE engagement_visit SET at = %s", [long_ago])
        assert visits.drain() == 4
        for mail in to_ada_and_others[:2]:
            visit(links(mail.html, "c")[0])  # these wait to be judged
        leave = links(to_ada_and_others[0].headers["List-Unsubscribe"], "u")[0]
        assert visit(leave, "post", data={"List-Unsubscribe": "One-Click"}).status_code == 200
        make_message(self.project, recipient=EVE)
        self.hand_over("email", error=ProviderError(WORDS, classification=Classification(FailureClass.PERMANENT)))
        for told in Delivery.objects.filter(endpoint=self.endpoint):
            answer = f"thanks for {told.payload.get('data', {}).get('external_id')}, {ADA}"
            DeliveryAttempt.objects.create(delivery=told, at=datetime.now(UTC), milliseconds=1, answer=answer)

    def hand_over(self, channel: str, error: ProviderError | None = None) -> list[Any]:
        found = dispatch.start(self.accounts[channel].pk, 8)
        result = None if error else SendResult("ref", text=f"queued for {ADA}")
        outcomes.finish([Outcome(each, datetime.now(UTC), result=result, error=error) for each in found])
        return [each.outbound for each in sorted(found, key=lambda each: each.message_id)]

    def _fallback(self) -> None:
        legs = [{**self.sms, "ttl": 600}, {"channel": "email", "recipient": ADA, "content": {"text": "x"}}]
        self.with_legs = make_message(
            self.project, channel="chat", recipient="viber-17", content={"text": "secret"}, fallback=legs
        )
        self.hand_over("chat")

    def _push(self) -> None:
        make_device(self.project, token=ADA, hwid="hw-1")
        make_device(self.project, token="token-00000001", hwid=ADA, tags={"mail": ADA})
        make_device(self.project, token="token-00000002", user_id=ADA, detail=WORDS)
        notification = {"send_date": "now", "content": f"Dear {ADA}", "devices": [ADA, "token-00000001"]}
        request = {"application": "C90C0-0E786", "auth": make_key(self.project), "notifications": [notification]}
        answer = Client().post(
            "/json/1.3/createMessage", json.dumps({"request": request}), content_type="application/json"
        )
        assert answer.json()["status_code"] == 200, answer.content
        self.hand_over("push")
        push_log.ask(self.project.pk, None)
        assert not push_log.work(seconds=20)

    def _chat(self) -> None:
        channel = make_channel(self.project, key=f"dm-{ADA}", name=f"{ADA} and Eve", users=["eve"])
        members.add(channel, {"members": [{"user_id": ADA, "display_name": "Ada Lovelace"}]})
        members.add(channel, {"members": [{"user_id": "bob", "display_name": f"Bob, husband of {ADA}"}]})
        make_channel_message(channel, user=ADA, text="Hello Eve")
        make_channel_message(channel, user="eve", text=f"Hello {ADA}")
        self.channel = channel

    def _tracked(self) -> None:
        tracker = DeliveryTracker(self.project, "email")
        webhook = DeliveryWebhook("https://hook.example/tracked", events=("message.failed",))
        tracker.track_message("tracked", ADA, metadata={"to": ADA}, webhooks=[webhook])
        tracker.track_message(f"for {ADA}", EVE)
        for name in ("tracked", f"for {ADA}"):
            assert tracker.update_status(name, "SENT", provider=f"by {ADA}", metadata={"to": ADA})
            assert tracker.update_status(name, "FAILED", error={"code": "550", "message": WORDS})

    def _receipts(self, now: datetime) -> None:
        account = self.accounts["email"]
        request = {"method": "POST", "url": f"/hooks/x?to=ada%40example.org&other={EVE}", "headers": {"X-To": ADA}}
        body = json.dumps({"items": [{"to": ADA.upper()}, {"to": EVE}], "text": f"a\n{ADA}"}).encode()
        self.inbound = Inbound.objects.create(
            id=ids.new(), account=account, body=body, state="error", error=f"ValueError: {ADA}", receipts=2, **request
        )
        stray = {"account": account, "inbound_id": self.inbound.pk, "item": 0, "why": "x", "received_at": now}
        Unmatched.objects.create(**stray, receipt={"recipient": ADA, "text": WORDS})
        Circuit.objects.update_or_create(account=account, defaults={"reason": WORDS})

    def _people(self) -> None:
        pk = self.project.pk
        suppressions.add([suppressions.Entry(pk, "email", ADA, "hard_bounce", note=f"{ADA} asked for it")])
        suppressions.add([suppressions.Entry(pk, "sms", "+4915100000000", "manual", note=f"the number of {ADA}")])
        for channel in ("email", "push"):
            asked = Asked(channel, ADA, "offers")
            consents.put(project_id=pk, wanted=[(asked, ConsentState.GRANTED)], by=By("admin", note=f"{ADA} called"))
        asked = Asked("email", "bob@example.org", "offers")
        consents.put(
            project_id=pk, wanted=[(asked, ConsentState.WITHDRAWN)], by=By("admin", note=f"{ADA} called for Bob")
        )
        for name, external in ((f"welcome-{ADA}", "1"), ("plain", f"for-{ADA}")):
            document = {"channel": "email", "recipient": EVE, "external_id": external, "content": {"text": "x"}}
            key = Key.of(pk, name, method="POST", path="/", document=document)
            submit.submit(sender_of(self.project), document, key=key)
        erase.start(
            project=self.project, channel="email", recipient="bob@example.org", by="x", reason=f"as {ADA} asked"
        )
        Project.objects.filter(pk=pk).update(paused_reason=f"because of {ADA}")
        Remap.objects.create(kind="sandbox", days=1, since=datetime.now(UTC), by="ops", why=f"{ADA} complained")

    def _exports(self, archive: Path) -> None:
        common: dict[str, Any] = {"project": self.project, "by": "test", "format": "jsonl", "gzip": True}
        self.export = exports.request(filters=Filters(recipient=ADA), query=f"to={ADA}", **common)
        self.archive = exports.request(filters=Filters(), directory=archive, expires=False, **common)
        assert export_work.work(seconds=20)

    def _console(self, now: datetime) -> None:
        user = User.objects.create(username="ops", is_superuser=True)
        for name in (f"to {ADA}", f"To {ADA.title()}"):  # the same name, once it is redacted
            SavedView(owner=user, name=name, query="q=to%3Aada%40example.org").save()
        common = {"kind": "retry", "rate": 1.0, "token": ids.new(), "state": "done", "who": "ops"}
        BulkOperation.objects.create(query="recipient=ada%40example.org", reason=f"for {ADA}", fault=ADA, **common)
        rule = AlertRule.objects.create(
            name="mine", kind="bounce_high", threshold=1, window=15, minimum=1, quiet=1, fault=WORDS
        )
        said = {"text": WORDS, "query": "recipient=ada%40example.org", "threshold": 1, "window": 15, "last_value": 1}
        incident = Incident.objects.create(
            rule=rule, name="x", kind=rule.kind, severity="info", opened_at=now, last_at=now, worst_value=1, **said
        )
        event = IncidentEvent.objects.create(incident=incident, at=now, kind="note", text=f"ask {ADA}", who="ops")
        AlertNotification.objects.create(
            event=event,
            incident=incident,
            channel_name="x",
            milestone="opened",
            payload={"text": WORDS},
            error=WORDS,
            created_at=now,
        )
        AdminEntry.objects.create(user=user, action_flag=CHANGE, object_repr=f"view of {ADA}", change_message=ADA)


# --- searching


def tables() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1"
        )
        return [name for (name,) in cursor.fetchall()]


def stored(table: str) -> Iterator[str]:
    """Every row as one text, bytes too: as they are, and unpacked where they are packed."""
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT * FROM "{table}"')
        for row in cursor.fetchall():
            yield "\x1f".join(_plain(value) for value in row).lower()


def _plain(value: Any) -> str:
    if not isinstance(value, bytes | memoryview):
        return str(value)
    raw = bytes(value)
    with suppress(zlib.error):
        raw = zlib.decompress(raw)
    return raw.decode("utf-8", "replace")


def files(*directories: Path) -> Iterator[tuple[str, str]]:
    for directory in directories:
        for path in directory.rglob("*"):
            if path.is_file():
                raw = path.read_bytes()
                yield path.name, (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode().lower()


def naming(*spellings: str, within: tuple[Path, ...] = ()) -> set[str]:
    """The tables, and "files", that hold one of these."""
    found = {table for table in tables() if any(spelling in row for row in stored(table) for spelling in spellings)}
    return found | {"files" for _, text in files(*within) if any(spelling in text for spelling in spellings)}
