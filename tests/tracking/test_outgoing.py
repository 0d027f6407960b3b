"""Which rows a change brings: one for each milestone newly reached, for each endpoint that wants it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.base import BounceClass, FailureClass
from tests.builders import make_account, make_endpoint, make_message, make_project
from tests.tracking.lives import queue_message
from tracking import accounts, subscribers
from tracking.models import Attempt, Delivery, EventType, Message, QueueRow
from tracking.services import act, endpoints, outgoing, suppress
from tracking.services.record import Record, Source, refold
from tracking.statuses import Decision, Fact, FactKind

pytestmark = pytest.mark.django_db
RECEIPT = Source("provider")


@pytest.fixture
def project():
    found = make_project()
    make_account(found)
    return found


def tell(key, *facts: Fact, start: bool = False) -> None:
    """One batch of facts about the last attempt."""
    with transaction.atomic():
        work = Record([key])
        row = work.messages[key]
        if start:
            QueueRow.objects.filter(pk=key).delete()
            work.start_attempt(row, account_id=row.account_id, idempotency_key="k")
        for fact in facts:
            attempt = row.tries[-1]
            work.add_fact(row, attempt, fact, key=f"{attempt.number}:{fact.kind}:{fact.at}", source=RECEIPT)
        work.save()


def fact(kind: FactKind, **kw) -> Fact:
    return Fact(kind, datetime.now(UTC), **kw)


def told(key=None) -> list[str]:
    rows = Delivery.objects.order_by("pk")
    return [row.event for row in (rows.filter(message_id=key) if key else rows)]


def test_one_batch_publishes_three(project):
    make_endpoint(project)
    key = make_message(project, external_id="order-7")
    assert told() == []
    tell(key, fact(FactKind.ACCEPTED), fact(FactKind.DELIVERED), fact(FactKind.READ), start=True)
    rows = list(Delivery.objects.order_by("pk"))
    assert [row.event for row in rows] == ["notification.sent", "notification.delivered", "notification.read"]
    assert [row.payload["status"] for row in rows] == ["sent", "delivered", "read"]
    message = Message.objects.get()
    for row, at in zip(rows, (message.sent_at, message.delivered_at, message.read_at), strict=True):
        assert row.payload["id"] == str(row.pk)
        assert row.payload["type"] == row.event
        assert row.payload["notification_id"] == str(key)
        assert datetime.fromisoformat(row.payload["timestamp"]) == at
        assert row.payload["data"]["external_id"] == "order-7"
        assert row.payload["data"]["status"] == "read"
        assert row.payload["data"]["tracking"]["provider"]
        assert "ada@example.org" not in str(row.payload)


def test_a_new_message_that_ends_at_once(project):
    """What submit writes: the row comes in the same statement as its message."""
    make_endpoint(project)
    suppress.add([suppress.Entry(project.pk, "email", "ada@example.org", "manual")])
    key = make_message(project, external_id="x-1")
    assert told(key) == ["notification.failed"]
    assert Delivery.objects.get().payload["data"] | {"tracking": 0} == {
        **{"id": str(key), "status": "failed", "reason": "suppressed", "channel": "email"},
        **{"external_id": "x-1", "batch_id": None, "tracking": 0},
    }


def test_what_happens_beside_the_status_is_told_once(project):
    make_endpoint(project)
    key = make_message(project)
    tell(key, fact(FactKind.OPENED, machine=True), start=True)
    assert told(key) == ["notification.sent"]
    tell(key, fact(FactKind.CLICKED), fact(FactKind.OPENED), fact(FactKind.COMPLAINED), fact(FactKind.UNSUBSCRIBED))
    tell(key, fact(FactKind.CLICKED), fact(FactKind.OPENED), fact(FactKind.COMPLAINED))
    assert Counter(told(key)) == Counter(
        f"notification.{each}"
        for each in ("sent", "delivered", "read", "opened", "clicked", "complained", "unsubscribed")
    )


def test_cancelled_and_unknown(project):
    make_endpoint(project)
    one, other = make_message(project), make_message(project)
    act.cancel(one, source=Source("api"))
    tell(other, fact(FactKind.OUTCOME_UNKNOWN), start=True)
    assert told(one) == ["notification.cancelled"]
    assert told(other) == ["notification.unknown"]


def test_only_who_wants_it_is_told(project):
    picky = make_endpoint(project, events=["notification.bounced"])
    off = make_endpoint(project)
    endpoints.deactivate(off.pk)
    make_endpoint(make_project())
    subscribers.forget()
    key = make_message(project)
    tell(key, fact(FactKind.ACCEPTED), start=True)
    assert told() == []
    tell(key, fact(FactKind.BOUNCED, bounce=BounceClass.HARD))
    assert [row.endpoint_id for row in Delivery.objects.all()] == [picky.pk]


def test_without_endpoints_it_costs_nothing(project):
    """No statement more, and none that is longer."""

    def statements() -> list[str]:
        key = make_message(project)
        with CaptureQueriesContext(connection) as queries:
            tell(key, fact(FactKind.ACCEPTED), start=True)
        return [query["sql"] for query in queries]

    statements()  # the book of subscribers is read
    plain = statements()
    assert not any("webhook" in sql for sql in plain)
    make_endpoint(project)
    key = make_message(project)
    subscribers.of(project.pk)
    accounts.by_id(project.accounts.get().pk)
    with CaptureQueriesContext(connection) as queries:
        tell(key, fact(FactKind.ACCEPTED), start=True)
    assert len(queries) == len(plain)
    assert sum("INSERT INTO webhook_delivery" in query["sql"] for query in queries) == 1


def test_a_change_that_is_taken_back_tells_nobody(project):
    make_endpoint(project)
    key = make_message(project)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tell(key, fact(FactKind.ACCEPTED), start=True)
        _ = 1 / 0
    assert told() == []


def test_announcements(project):
    endpoint = make_endpoint(project, events=["export.complete"])
    now = datetime.now(UTC)
    (key,) = outgoing.announce(project_id=project.pk, event=EventType.EXPORT_COMPLETE, data={"export_id": 7}, now=now)
    row = Delivery.objects.get()
    assert (row.pk, row.endpoint_id, row.message_id) == (key, endpoint.pk, None)
    assert row.payload["data"] == {"export_id": 7} and row.payload["type"] == "export.complete"


# --- what is published is what was reached

KINDS = [kind for kind in FactKind if kind is not FactKind.OTHER]
steps = st.lists(
    st.tuples(st.lists(st.tuples(st.sampled_from(KINDS), st.booleans()), min_size=1, max_size=4), st.booleans()),
    min_size=1,
    max_size=5,
)
_ENDED = ("failed", "bounced", "cancelled", "unknown")
_TIMES = {"sent": "sent_at", "delivered": "delivered_at", "read": "read_at"}
_BESIDE = ("opened_at", "clicked_at", "unsubscribed_at", "complained_at")


def face(key) -> dict[str, bool]:
    """What the tables show of a message: milestone → reached."""
    message = Message.objects.get(pk=key)
    found = {name: getattr(message, column) is not None for name, column in _TIMES.items()}
    found |= {name: message.status == name for name in _ENDED}
    for column in _BESIDE:
        there = Attempt.objects.filter(message_id=key, **{f"{column}__isnull": False}).exists()
        found[column.removesuffix("_at")] = there
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_the_milestones_published_are_those_reached(project, story):
    with transaction.atomic():
        make_endpoint(project)
        key = queue_message(project, project.accounts.get())
        QueueRow.objects.filter(pk=key).delete()
        expected: Counter[str] = Counter()
        before = face(key)
        moment = datetime.now(UTC)
        for number, (kinds, again) in enumerate(story):
            work = Record([key])
            row = work.messages[key]
            if again or not row.tries:
                if row.tries:
                    work.decide(row, Decision.OPERATOR_RETRY, source=RECEIPT)
                work.start_attempt(row, account_id=row.account_id, idempotency_key="")
            for place, (kind, machine) in enumerate(kinds):
                moment += timedelta(seconds=1)
                hard = {"bounce": BounceClass.HARD} if kind is FactKind.BOUNCED else {}
                failed = {"failure": FailureClass.PERMANENT} if kind is FactKind.FAILED else {}
                told_now = Fact(kind, moment, machine=machine, **hard, **failed)
                work.add_fact(row, row.tries[-1], told_now, key=f"{number}.{place}", source=RECEIPT)
            work.save()
            after = face(key)
            expected.update(name for name in after if after[name] and not before[name])
            before = after
        assert Counter(event.removeprefix("notification.") for event in told(key)) == expected
        refold([key])
        assert sum(expected.values()) == len(told(key))  # the same facts once more tell nothing
        transaction.set_rollback(True)
    subscribers.forget()
