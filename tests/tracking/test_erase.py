"""Erasing a recipient: nothing is left that names them, and no number changes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from dashboard.models import SavedView
from providers.email import mime
from providers.models import ProviderAccount
from tests.builders import make_account, make_endpoint, make_key, make_message, make_project, sender_of
from tests.tracking.aged import make_old, weeks_ago
from tests.tracking.lives import fail, until_waited_for
from tests.tracking.test_api_notifications import Api
from tracking import ids, metrics, redact, tasks
from tracking.models import (
    Content,
    Delivery,
    DeliveryAttempt,
    Erasure,
    Event,
    Export,
    Inbound,
    Message,
    Project,
    QueueRow,
    Suppression,
    Unmatched,
)
from tracking.selection import Filters
from tracking.services import (
    act,
    check,
    dispatch,
    erase,
    erase_beside,
    erase_messages,
    export_files,
    export_work,
    exports,
    rollup,
    submit,
    suppress,
)
from tracking.services.idempotency import Key
from tracking.tracker import DeliveryTracker

pytestmark = pytest.mark.django_db
ADA, BADA = "ada@example.org", "bada@example.org"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, settings: Any) -> Path:
    settings.EXPORT_DIR = tmp_path / "exports"
    return tmp_path


@pytest.fixture
def project() -> Project:
    return make_project()


@pytest.fixture
def account(project: Project) -> ProviderAccount:
    return make_account(project)


def erased(project: Project, recipient: str = ADA, channel: str = "email") -> Erasure:
    found = erase.start(project=project, channel=channel, recipient=recipient, by="test")
    while not erase.work(found.pk, seconds=20):
        pass
    found.refresh_from_db()
    return found


def request_of(account: ProviderAccount, body: bytes, **kw: Any) -> Inbound:
    values = {"method": "POST", "url": "/hooks/x", "headers": {}, "body": body, "state": "done", "receipts": 2, **kw}
    return Inbound.objects.create(id=ids.new(), account=account, **values)


def whole_database() -> str:
    """Every text and every byte that is stored, as one text."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT string_agg(t::text, chr(10)) FROM "{table}" t')
            found.append(cursor.fetchone()[0] or "")
        cursor.execute("SELECT string_agg(encode(body, 'escape'), chr(10)) FROM inbound")
        found.append(cursor.fetchone()[0] or "")
    return "\n".join(found).lower()


def furnish(project: Project, account: ProviderAccount) -> None:
    """The recipient in every place where there may be one."""
    words = f"550 5.1.1 <{ADA}>: no such user"
    key = make_message(project, recipient="Ada@example.org", external_id=f"for-{ADA}", metadata={"to": ADA})
    fail(key, text=words)
    make_message(project, recipient=BADA, cc=[ADA, "eve@example.org"], content={"text": f"cc to {ADA}"})
    make_endpoint(project)
    told = Delivery.objects.create(
        endpoint=make_endpoint(project),
        message_id=key,
        event="x",
        payload={"data": {"external_id": f"for-{ADA}"}},
        next_try_at=datetime.now(UTC),
    )
    DeliveryAttempt.objects.create(delivery=told, at=datetime.now(UTC), milliseconds=1, answer=f"thanks, {ADA}")
    single = request_of(account, b"YWRhQGV4YW1wbGUub3Jn", receipts=1)  # spelt in a way that nobody looks for
    Event.objects.filter(message_id=key, source="dispatch").update(inbound_id=single.pk, detail={"recipient": ADA})
    both = {"items": [{"to": ADA.upper()}, {"to": BADA}, {"quoted": "ada%40example.org"}], "text": f"a\n{ADA}"}
    request_of(account, json.dumps(both).encode(), url=f"/hooks/x?to=ada%40example.org&other={BADA}")
    stray = {"account": account, "inbound_id": ids.new(), "item": 0, "why": "x", "received_at": datetime.now(UTC)}
    Unmatched.objects.create(**stray, receipt={"recipient": ADA, "text": words})
    document = {"channel": "email", "recipient": BADA, "content": {"text": "x"}}
    idempotent = Key.of(project.pk, f"welcome-{ADA}", method="POST", path="/", document=document)
    submit.submit(sender_of(project), document, key=idempotent)
    suppress.add([suppress.Entry(project.pk, "email", ADA, "hard_bounce", note=f"{ADA} asked for it")])
    view = SavedView(owner=User.objects.create(username="ops"), name="mine", query="q=to%3Aada%40example.org")
    view.save()


@pytest.mark.django_db(transaction=True)
def test_nothing_is_left_of_them_and_everything_of_others(project: Project, account: ProviderAccount) -> None:
    furnish(project, account)
    assert ADA in whole_database().replace(BADA, "")
    rollup.fold_all()
    before = metrics.totals(metrics.Scope(datetime.now(UTC) - timedelta(days=1), datetime.now(UTC)))
    found = erased(project, "ADA@EXAMPLE.ORG")
    assert (found.state, found.sealed) == ("done", "")
    left = whole_database()
    for spelling in (ADA, "ada%40example.org", "ywrhqgv4yw1wbguub3jn"):
        assert spelling not in left.replace(BADA, "").replace("bada%40example.org", ""), spelling
    assert left.count(BADA) > 3 and "eve@example.org" in left
    assert {name for name, count in found.counts.items() if count} == {
        *("message", "content", "attempt", "event", "inbound", "unmatched", "webhook_delivery", "webhook_attempt"),
        *("idempotency_key", "suppression", "dashboard_savedview", "auditlog_logentry"),
    }
    rollup.fold_all()
    assert [str(each) for each in check.differences()] == []
    after = metrics.totals(metrics.Scope(datetime.now(UTC) - timedelta(days=1), datetime.now(UTC)))
    assert after == before
    assert suppress.suppressed(project.pk, [("email", "ada@EXAMPLE.org")])
    assert str(Suppression.objects.get()) == "(erased)"
    assert erased(project).counts.get("message") is None  # again: there is nobody


def test_what_is_erased_is_said_and_cannot_be_sent_again(project: Project, account: ProviderAccount) -> None:
    key = make_message(project, recipient=ADA)
    fail(key)
    erased(project)
    message = Message.objects.get(pk=key)
    assert (message.recipient, message.status) == ("(erased)", "failed")
    with pytest.raises(act.Refused, match="purged"):
        act.retry(key, source=act.Source("admin"))
    with pytest.raises(act.Refused, match="erased"):
        act.suppress_recipient(key, source=act.Source("admin"))
    assert Event.objects.get(message_id=key, dedupe_key__startswith="note:erased").text == "the recipient was erased"


def test_what_waits_is_cancelled_and_what_is_being_sent_is_waited_for(
    project: Project, account: ProviderAccount
) -> None:
    waits, busy = make_message(project, recipient=ADA), make_message(project, recipient=ADA)
    QueueRow.objects.filter(pk=busy).update(lease_token=ids.new(), lease_until=datetime.now(UTC) + timedelta(minutes=1))
    Message.objects.filter(pk=busy).update(status="processing")
    found = erased(project)
    assert found.state == "running" and Message.objects.get(pk=waits).status == "cancelled"
    assert not QueueRow.objects.filter(pk=waits).exists() and Message.objects.get(pk=busy).recipient == ADA
    Erasure.objects.update(worked_at=datetime.now(UTC) - timedelta(hours=1))
    assert erase.abandoned() == [found.pk]
    Message.objects.filter(pk=busy).update(status="pending")
    fail(busy)
    tasks.erase(found.pk)
    found.refresh_from_db()
    assert found.state == "done" and not Message.objects.filter(recipient=ADA).exists()
    assert found.counts["message"] == 2


@pytest.mark.django_db(transaction=True)
def test_what_waits_for_others_can_still_be_sent(project: Project, account: ProviderAccount) -> None:
    named = {"reply_to": f"Ada <{ADA}>", "cc": [ADA, "bob@example.org"], "content": {"text": f"write to {ADA}"}}
    make_message(project, recipient="eve@example.org", **named)
    erased(project)
    (handover,) = dispatch.start(account.pk, 1)
    message = mime.build(handover.outbound, sender="shop@example.org", message_id="<1@example.org>")
    assert "Reply-To" not in message and message["Cc"] == "bob@example.org" and ADA not in message.as_string()


def test_what_others_send_is_not_waited_for(project: Project, account: ProviderAccount) -> None:
    tracker = DeliveryTracker(project, "email")
    for status in ("QUEUED", "SENDING"):
        tracker.track_message(status, ADA, initial_status=status)
    assert erased(project).state == "done"
    assert set(Message.objects.values_list("recipient", "status")) == {
        ("(erased)", "pending"),
        ("(erased)", "processing"),
    }
    assert tracker.update_status("SENDING", "SENT")


def test_old_weeks_and_many_steps(project: Project, account: ProviderAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erase_messages, "LOOKED_THROUGH", 3)
    monkeypatch.setattr(erase_beside, "LOOKED_THROUGH", 2)
    for week in (0, 1, 2, 5):
        for _ in range(2):
            make_old(project, account, weeks_ago(week), recipient="aDa@example.org")
            make_old(project, account, weeks_ago(week), recipient=BADA, text=f"about {ADA} and {BADA}")
    for _ in range(5):
        request_of(account, ADA.encode())
    found = erase.start(project=project, channel="email", recipient=ADA, by="test")
    slices = 0
    while not erase.work(found.pk, seconds=0.0001):  # killed after each step, as it were
        found.refresh_from_db()
        slices += 1
        assert 0 <= erase.percent(found) < 100
    assert slices > 6
    found.refresh_from_db()
    assert (found.counts["message"], found.counts["inbound"]) == (8, 5)
    assert set(Message.objects.values_list("recipient", flat=True)) == {"(erased)", BADA}
    assert set(Event.objects.exclude(text="").exclude(kind="other").values_list("text", flat=True)) == {
        f"about (erased) and {BADA}"
    }


def test_only_in_their_own_project(project: Project, account: ProviderAccount) -> None:
    other = make_project()
    make_account(other)
    key = make_message(other, recipient=ADA)
    mine = make_message(project, recipient=ADA)
    erased(project)
    assert Message.objects.get(pk=key).recipient == ADA and Content.objects.filter(pk=key).exists()
    assert Message.objects.get(pk=mine).recipient == "(erased)"


def test_phone_numbers_in_every_format(project: Project) -> None:
    project.default_region = "DE"
    project.save()
    account = make_account(project, channel="sms")
    key = make_message(project, channel="sms", recipient="0151 23456789")
    assert Message.objects.get(pk=key).recipient == "+4915123456789"
    request = request_of(account, b"to=%2B4915123456789&from=4915123456789&other=49151234567890")
    erased(project, "(0151) 234-567 89", "sms")
    request.refresh_from_db()
    assert bytes(request.body) == b"to=(erased)&from=(erased)&other=49151234567890"
    assert Message.objects.get(pk=key).recipient == "(erased)"


@pytest.mark.parametrize("format", ["csv", "jsonl"])
@pytest.mark.parametrize("gzipped", [False, True])
def test_files_of_exports(
    project: Project, account: ProviderAccount, tmp_path: Path, format: Any, gzipped: bool
) -> None:
    make_message(project, recipient=ADA, external_id="=1,2")
    make_message(project, recipient=BADA, external_id='a "quoted", one')
    common: dict[str, Any] = {"project": project, "by": "test", "format": format, "gzip": gzipped}
    usual = exports.request(filters=Filters(recipient=ADA), **common)
    kept = exports.request(filters=Filters(), directory=tmp_path / "archive", expires=False, **common)
    assert export_work.work(seconds=20)
    unfinished = exports.request(filters=Filters(), **common)
    usual.refresh_from_db()
    assert export_files.path_of(usual).exists()
    found = erased(project)
    assert (found.counts["export"], found.counts["archived_line"]) == (2, 1)
    assert not export_files.path_of(usual).exists() and Export.objects.get(pk=unfinished.pk).state == "failed"
    usual.refresh_from_db()
    assert ADA not in json.dumps(usual.filters)
    kept.refresh_from_db()
    raw = export_files.path_of(kept).read_bytes()
    assert len(raw) == kept.bytes and kept.rows == 1
    text = (gzip.decompress(raw) if gzipped else raw).decode()
    rows = [*csv.DictReader(io.StringIO(text))] if format == "csv" else [json.loads(line) for line in text.splitlines()]
    assert [(row["recipient"], row["external_id"]) for row in rows] == [(BADA, 'a "quoted", one')]
    exports.retry(unfinished.pk)
    assert export_work.work(seconds=20)
    assert Export.objects.get(pk=unfinished.pk).rows == 2


def test_exports_that_were_asked_for_meanwhile(project: Project, account: ProviderAccount, tmp_path: Path) -> None:
    """A large project is gone through for hours, and a purge may write its archive before its messages are reached."""
    make_endpoint(project)
    make_old(project, account, weeks_ago(1), recipient=ADA)
    found = erase.start(project=project, channel="email", recipient=ADA, by="test")
    Erasure.objects.update(created_at=datetime.now(UTC) - timedelta(hours=2))
    common: dict[str, Any] = {"project": project, "by": "test"}
    usual = exports.request(filters=Filters(recipient=ADA), **common)
    kept = exports.request(filters=Filters(), directory=tmp_path / "archive", expires=False, **common)
    assert export_work.work(seconds=20) and ADA in export_files.path_of(kept).read_text()
    unfinished = exports.request(filters=Filters(), **common)
    tasks.erase(found.pk)
    assert ADA not in export_files.path_of(kept).read_text()
    assert not export_files.path_of(usual).exists() and Export.objects.get(pk=unfinished.pk).state == "failed"
    assert Delivery.objects.filter(event="export.complete").count() == 1 and ADA not in whole_database()


@pytest.mark.django_db(transaction=True)
def test_an_archive_that_is_completed_at_the_same_time_is_kept(
    project: Project, account: ProviderAccount, tmp_path: Path
) -> None:
    make_message(project, recipient=BADA)
    archive = exports.request(project=project, filters=Filters(), by="test", directory=tmp_path, expires=False)
    locked = threading.Event()

    def write() -> None:
        try:
            with transaction.atomic():
                export = Export.objects.select_for_update(of=("self",)).select_related("project").get()
                locked.set()
                until_waited_for()
                while not export.finished:
                    export_work._step(export)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        written = thread.submit(write)
        assert locked.wait(20)
        erased(project)
        written.result()
    archive.refresh_from_db()
    assert (archive.state, archive.rows) == ("completed", 1)
    assert BADA in export_files.path_of(archive).read_text()


# --- over the API, and by the command


def test_over_the_api(project: Project, account: ProviderAccount) -> None:
    api = Api(make_key(project, ["manage"]))
    make_message(project, recipient=ADA)
    answer = api.post("erasures", {"channel": "email", "recipient": "Ada@EXAMPLE.org"})
    assert answer.status_code == 202, answer.content
    shape = answer.json()
    assert (shape["status"], shape["finished_at"], shape["progress"]["percent"]) == ("running", None, 0)
    assert ADA not in answer.content.decode().lower()
    tasks.erase(shape["id"])
    shape = api.get(f"erasures/{shape['id']}").json()
    assert (shape["status"], shape["progress"]) == ("done", {"step": None, "percent": 100})
    assert shape["erased"]["message"] == 1 and shape["requested_by"].startswith("key ")
    assert shape["recipient_hash"] == suppress.address_hash("email", ADA).hex()
    other = Api(make_key(make_project()))
    for path in (f"erasures/{shape['id']}", "erasures/999999999", "erasures/x", "erasures/" + "9" * 30):
        assert other.get(path).status_code == 404
    sending = Api(make_key(project, ["send", "read"]))
    assert sending.post("erasures", {"channel": "email", "recipient": ADA}).status_code == 403


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({}, "/channel"),
        ({"channel": "email"}, "/recipient"),
        ({"channel": "fax", "recipient": ADA}, "/channel"),
        ({"channel": "email", "recipient": "nobody"}, "/recipient"),
        ({"channel": "sms", "recipient": "12"}, "/recipient"),
        ({"channel": "email", "recipient": "a\0@example.org"}, "/recipient"),
        ({"channel": "email", "recipient": "x" * 501}, "/recipient"),
        ({"channel": "email", "recipient": ADA, "more": 1}, "/more"),
        ([], ""),
    ],
)
def test_bad_input_names_its_field_and_stores_nothing(project: Project, document: Any, pointer: str) -> None:
    answer = Api(make_key(project)).post("erasures", document)
    assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == pointer
    assert not Erasure.objects.exists()


def test_the_command_reads_the_recipient_from_its_input(
    project: Project, account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_message(project, recipient=ADA)
    out = StringIO()
    monkeypatch.setattr("sys.stdin", StringIO(f"{ADA}\n"))
    call_command("erase", project.code, "email", stdout=out)
    assert json.loads(out.getvalue())["erased"]["message"] == 1
    monkeypatch.setattr("sys.stdin", StringIO("nobody\n"))
    with pytest.raises(CommandError, match="not an e-mail address"):
        call_command("erase", project.code, "email")
    with pytest.raises(CommandError, match="no such project"):
        call_command("erase", "nowhere", "email")


# --- spellings


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (f"<{ADA}>", "<(erased)>"),
        (f"mailto:{ADA.title()}, and more", "mailto:(erased), and more"),
        (f"{ADA}.", "(erased)."),
        (f"b{ADA} {ADA}.uk {ADA}x x-{ADA}", f"b{ADA} {ADA}.uk {ADA}x x-{ADA}"),
        ("a=%3Cada%40example.org%3E", "a=%3C(erased)%3E"),
        (r"\u003cada@example.org\u003e\nada@example.org", r"\u003c(erased)\u003e\n(erased)"),
        ("", ""),
    ],
)
def test_spellings(text: str, after: str) -> None:
    needle = redact.Needle("email", ADA)
    assert needle.text(text) == after and needle.raw(text.encode()) == after.encode()


@pytest.mark.parametrize("user", ["status", 'null,"type":'])
def test_what_endpoints_were_told_stays_json_with_our_names(project: Project, user: str) -> None:
    """A chat user may be called like a field of ours, or like a piece of JSON."""
    make_account(project, code="chat", channel="chat")
    key = make_message(project, channel="chat", recipient=user, external_id=f"to-{user}")
    fields = {"message_id": key, "event": "notification.sent", "next_try_at": datetime.now(UTC)}
    payload = {"type": "notification.sent", "status": "sent", "data": {"reason": None, "external_id": f"to-{user}"}}
    told = Delivery.objects.create(endpoint=make_endpoint(project), payload=payload, **fields)
    assert erased(project, user, "chat").state == "done"
    told.refresh_from_db()
    assert told.payload == {**payload, "data": {"reason": None, "external_id": f"to-{redact.ERASED}"}}


@pytest.mark.parametrize(
    ("channel", "address", "stored"),
    [
        ("email", '"ada"@example.org', r'{"to": "\"ada\"@example.org"}'),
        ("email", "ada+x@example.org", "?to=ada%2Bx@example.org"),
        ("email", ADA, "?next=https%3A%2F%2Fx.example%2F%3Fto%3Dada%2540example.org"),
        ("email", ADA, "?next=x%253Dada%2540example.org"),
        ("push", "https://push.example/a/b", r"https:\/\/push.example\/a\/b"),
        ("chat", "😀 Ada", r"by \ud83d\ude00 ada"),
        ("chat", "😀😀😀😀😀", "by 😀😀😀😀😀"),
    ],
)
def test_spellings_of_what_is_escaped(channel: str, address: str, stored: str) -> None:
    needle = redact.Needle(channel, address)
    after = needle.text(stored)
    assert "(erased)" in after and "ada" not in after.lower() and "push" not in after and "😀" not in after
    assert needle.raw(stored.encode()) == after.encode()
    for text in ("Well, hello! - What?", "write to @example.org"):
        assert needle.text(text) == text


def test_an_address_with_quotes_is_found_in_what_is_stored_as_json(project: Project, account: ProviderAccount) -> None:
    address = '"ada"@example.org'
    key = make_message(project, recipient=BADA, content={"text": f"for {address}"}, cc=[address])
    erased(project, address)
    body = Content.objects.get(pk=key).body
    assert (body["text"], body["cc"]) == ("for (erased)", [])


def test_short_addresses_are_only_found_whole() -> None:
    needle = redact.Needle("chat", "7")
    assert needle.json({"to": "7", "text": "7 of 17", "7": [7]}) == {
        "to": "(erased)",
        "text": "7 of 17",
        "(erased)": [7],
    }
    assert needle.like == [] and needle.raw(b"7") == b"7"


def test_letters_of_every_script(project: Project, account: ProviderAccount) -> None:
    address = "Jürgen@example.org"
    request = request_of(account, json.dumps({"to": address}).encode())
    plain = request_of(account, f"to {address}".encode())
    make_message(project, recipient=address)
    assert erased(project, "jürgen@example.org").counts["message"] == 1
    request.refresh_from_db()
    plain.refresh_from_db()
    assert b"(erased)" in bytes(request.body) and bytes(plain.body) == b"to (erased)"
