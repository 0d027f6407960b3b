"""What is done to one message by hand: again, through another account, as a copy, never, and only on the state seen."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from tests.builders import make_account, make_message, make_project
from tests.tracking.lives import fail, status_of
from tracking.models import Attempt, Content, Event, Message, QueueRow, Suppression
from tracking.services import act, dispatch, lookup, route
from tracking.services.record import Source, refold

pytestmark = pytest.mark.django_db
OPERATOR = Source("admin", detail={"user": "grace"})


@pytest.fixture
def project():
    found = make_project()
    make_account(found, code=f"{found.code}-first", weight=200)
    return found


def first(project):
    return project.accounts.order_by("-weight").first()


def test_retry_via_sends_through_the_other_account_with_a_fresh_budget_and_key(project):
    key = make_message(project)
    fail(key)
    other = make_account(project, weight=1)
    route.forget()
    act.retry_via(key, account_id=other.pk, source=OPERATOR)
    row, message = QueueRow.objects.get(pk=key), Message.objects.get(pk=key)
    assert (row.account_id, message.account_id, message.status) == (other.pk, other.pk, "pending")
    assert (message.budget_from, message.operator_retries) == (1, 1)
    assert Event.objects.get(message_id=key, kind="operator_retry").text == f"through {other.code}"
    QueueRow.objects.update(due_at=timezone.now() - timedelta(hours=1))  # the test is one transaction: now() stands
    (handover,) = dispatch.start(other.pk, 1)
    assert handover.account_id == other.pk
    assert Attempt.objects.get(message_id=key, number=2).idempotency_key != "k"


def test_retry_via_takes_only_enabled_accounts_of_the_channel_that_are_granted(project):
    key = make_message(project)
    fail(key)
    for account in (
        make_account(),
        make_account(project, channel="sms"),
        make_account(project, enabled=False),
    ):
        route.forget()
        with pytest.raises(act.Refused, match="granted"):
            act.retry_via(key, account_id=account.pk, source=OPERATOR)
    assert status_of(key) == "failed"
    assert not QueueRow.objects.filter(pk=key).exists()


@pytest.mark.parametrize("name", ["retry", "retry_via"])
def test_retries_refuse_what_cannot_be_sent(project, name):
    extra = {"account_id": first(project).pk} if name == "retry_via" else {}
    waiting, purged = make_message(project), make_message(project)
    fail(purged)
    Content.objects.filter(pk=purged).delete()
    for key, why in ((waiting, "pending"), (purged, "purged")):
        with pytest.raises(act.Refused, match=why):
            getattr(act, name)(key, source=OPERATOR, **extra)
    with pytest.raises(act.Missing):
        getattr(act, name)(uuid4(), source=OPERATOR, **extra)


@pytest.mark.parametrize("name", ["retry", "retry_via", "cancel"])
def test_nothing_is_done_to_a_message_that_has_changed_since_it_was_seen(project, name):
    extra = {"account_id": first(project).pk} if name == "retry_via" else {}
    key = make_message(project)
    if name != "cancel":
        fail(key)
    message = Message.objects.get(pk=key)
    seen = act.Seen(message.status, message.decisions)
    for stale in (act.Seen("bounced", seen.decisions), act.Seen(seen.status, seen.decisions - 1)):
        with pytest.raises(act.Changed, match="changed meanwhile"):
            getattr(act, name)(key, source=OPERATOR, seen=stale, **extra)
    getattr(act, name)(key, source=OPERATOR, seen=seen, **extra)
    with pytest.raises(act.Changed):
        getattr(act, name)(key, source=OPERATOR, seen=seen, **extra)


def test_send_again_makes_one_new_message_of_the_same_content_and_links_both(project):
    attachment = {"filename": "a.txt", "content_type": "text/plain", "content": "aGVsbG8="}
    key = make_message(
        project,
        subject="Hi",
        content={"text": "body", "html": "<p>body</p>", "data": {"n": 1}},
        sender="Shop <shop@example.org>",
        cc=["c@example.org"],
        headers={"X-Shop": "1"},
        attachments=[attachment],
        metadata={"order": 7},
        category="receipts",
        tags=["vip"],
        template_id="t1",
        variables={"name": "Ada"},
        external_id="order-7",
        priority=2,
        retry={"max_attempts": 2},
    )
    fail(key)
    token = str(uuid4())
    copy = act.send_again(key, source=OPERATOR, token=token)
    assert act.send_again(key, source=OPERATOR, token=token) == copy
    assert Message.objects.count() == 2
    assert Content.objects.get(pk=copy).body == Content.objects.get(pk=key).body
    one, two = Message.objects.get(pk=key), Message.objects.get(pk=copy)
    for name in ("recipient", "channel", "external_id", "category", "template_id", "tags", "priority", "retry"):
        assert getattr(one, name) == getattr(two, name), name
    assert (one.status, two.status) == ("failed", "pending")
    notes = [entry["detail"] for entry in lookup.timeline(project.pk, key) if entry.get("detail")]
    assert {"user": "grace", "sent_as": str(copy)} in notes
    assert lookup.timeline(project.pk, copy)[0]["detail"] == {"user": "grace", "copy_of": str(key)}
    assert act.send_again(key, source=OPERATOR, token=str(uuid4())) != copy


def test_a_note_survives_a_refold_and_changes_nothing(project):
    key = make_message(project)
    fail(key)
    act.send_again(key, source=OPERATOR, token="t")
    act.suppress_recipient(key, source=OPERATOR)
    before = Message.objects.filter(pk=key).values().get()
    assert refold([key]) == []
    assert Message.objects.filter(pk=key).values().get() == before


def test_send_again_refuses_what_has_no_content(project):
    purged = make_message(project)
    Content.objects.filter(pk=purged).delete()
    followed = make_message(project, provider=first(project).code, provider_message_id="x1", content={})
    for key, why in ((purged, "purged"), (followed, "elsewhere")):
        with pytest.raises(act.Refused, match=why):
            act.send_again(key, source=OPERATOR, token="t")
    with pytest.raises(act.Missing):
        act.send_again(uuid4(), source=OPERATOR, token="t")
    assert Message.objects.count() == 2


def test_send_again_to_a_suppressed_recipient_sends_nothing(project):
    key = make_message(project)
    act.suppress_recipient(key, source=OPERATOR)
    copy = act.send_again(key, source=OPERATOR, token="t")
    assert Message.objects.get(pk=copy).reason == "suppressed"


def test_suppressing_twice_is_suppressing_once(project):
    key = make_message(project)
    for _ in range(2):
        act.suppress_recipient(key, source=OPERATOR)
    entry = Suppression.objects.get()
    assert (entry.reason, entry.message_id, entry.address) == ("manual", key, "ada@example.org")
    assert entry.created_at <= timezone.now()
    assert Event.objects.filter(message_id=key, kind="other").count() == 1
