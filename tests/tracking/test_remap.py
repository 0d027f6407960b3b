"""What no adapter knows: marked, collected, read by operators' rules, now and in history. It never causes a send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from providers import mapping
from providers.base import Classification, HookRequest, ProviderError
from providers.models import ErrorMapping, ProviderAccount
from tests.builders import make_account, make_project
from tests.tracking.lives import queue_message, status_of
from tests.tracking.test_receive import post, say, sent_message
from tracking import accounts, metrics
from tracking.models import Event, Inbound, Message, QueueRow, Remap, Suppression
from tracking.services import check, dispatch, inbound, outcomes, receive, remap, rollup
from tracking.services.handover import Outcome
from tracking.statuses import FactKind

pytestmark = pytest.mark.django_db(transaction=True)
ODD = {"code": "X-1", "text": "zzz zzz"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(accounts, "KEPT", 0.0)  # there is no other process that keeps old rules


@pytest.fixture
def account() -> ProviderAccount:
    return make_account(make_project())


def told(account: ProviderAccount, *words: str, **kw: Any) -> UUID:
    """A message of which the provider said this."""
    key = sent_message(account.projects.get(), account, recipient=f"{words}@example.org".replace("'", ""))
    post(account, *(say(word, f"{key}.1", **{**ODD, **kw}) for word in words))
    receive.drain()
    return key


def rule(**kw: Any) -> ErrorMapping:
    stored = ErrorMapping.objects.create(**{"kind": "sandbox", "word": "bounced", "code": "X-1", **kw})
    accounts.forget()
    return stored


def run(days: int = 30) -> Remap:
    started = remap.start(kind="sandbox", days=days, by="ops")
    assert remap.work(started.pk, seconds=20)
    started.refresh_from_db()
    return started


def event(key: UUID) -> Event:
    return Event.objects.get(message_id=key, source="provider")


def no_differences() -> None:
    rollup.fold_all()
    assert [str(each) for each in check.differences()] == []


# --- what comes in


def test_what_no_adapter_knows_is_marked_and_collected(account):
    keys = [told(account, "bounced"), told(account, "bounced"), told(account, "held", code="")]
    known = told(account, "bounced", code="5.1.1")
    assert [event(key).detail["unmapped"] for key in keys] == [True] * 3
    assert "unmapped" not in event(known).detail
    first, second = remap.inbox()
    assert (first.kind, first.word, first.code, first.count, first.text) == ("sandbox", "bounced", "X-1", 2, "zzz zzz")
    assert first.message_id == keys[1] and first.first_at < first.last_at and not first.hand_over
    assert (second.word, second.code, second.count) == ("held", "", 1)


def test_a_rule_is_followed_at_once_and_the_table_comes_first(account):
    rule(failure="blocked", bounce="block")
    rule(word="", code="5.1.1", failure="temporary_failure", bounce="soft")
    key, known = told(account, "bounced"), told(account, "bounced", code="5.1.1")
    assert (event(key).failure, event(key).bounce) == ("blocked", "block")
    assert event(key).detail["told"] == "bounced temporary_failure undetermined"
    assert Message.objects.get(pk=key).reason == "block"
    assert event(known).bounce == "hard"
    assert remap.inbox() == []


@pytest.mark.parametrize(
    ("given", "follows"),
    [
        ({"phrase": "ZZZ  zzz"}, True),
        ({"phrase": "yyy"}, False),
        ({"code": "x-1"}, False),
        ({"code": "", "word": "bounced"}, True),
        ({"word": "soft_bounced"}, False),
        ({"kind": "http"}, False),
    ],
)
def test_a_rule_speaks_of_what_it_names(account, given, follows):
    rule(**{"failure": "blocked", "bounce": "block", **given})
    assert (event(told(account, "bounced")).failure == "blocked") is follows


def test_the_most_particular_rule_counts(account):
    rule(code="", bounce="admin")
    rule(bounce="block")
    rule(word="", phrase="zzz", bounce="hard")
    assert event(told(account, "bounced")).bounce == "hard"
    assert event(told(account, "bounced", text="")).bounce == "block"


def test_a_vendor_cannot_write_our_marks():
    gateway = make_account(make_project(), kind="http", settings={}, credentials={"secret": "QUFB" * 10})
    key = sent_message(gateway.projects.get(), gateway)
    body = b'{"events": [{"type": "delivered", "echo": "%s.1", "detail": {"unmapped": "1", "mapped": "2", "a": "b"}}]}'
    hook = HookRequest("POST", "http://x", {}, body % str(key).encode(), datetime.now(UTC))
    inbound.store(account_id=gateway.pk, hook=hook)
    receive.drain()
    assert event(key).detail == {"a": "b", "word": "delivered"}
    assert remap.inbox() == []


def handed_over(account: ProviderAccount, error: ProviderError) -> UUID:
    key = queue_message(account.projects.get(), account)
    (handover,) = dispatch.start(account.pk, 1)
    outcomes.finish([Outcome(handover, datetime.now(UTC), error=error)])
    return key


def refusal() -> ProviderError:
    return ProviderError("new refusal", classification=Classification(known=False), code="R-9")


def test_refusals_of_hand_overs_are_collected_and_mapped_too(account):
    key = handed_over(account, refusal())
    assert (status_of(key), QueueRow.objects.filter(pk=key).exists()) == ("pending", True)  # a temporary failure
    (found,) = remap.inbox()
    assert (found.word, found.code, found.hand_over) == ("", "R-9", True)
    rule(word="", code="R-9", failure="invalid_recipient", suppress=True, outcome="delivered")
    after = handed_over(account, refusal())
    assert (status_of(after), QueueRow.objects.filter(pk=after).exists()) == ("failed", False)
    assert Message.objects.get(pk=after).reason == "invalid_recipient"
    assert Suppression.objects.count() == 1


# --- history


@pytest.mark.parametrize(
    ("words", "given", "before", "after"),
    [
        (("bounced",), {"outcome": "delivered"}, "bounced", "delivered"),
        (("bounced",), {"outcome": "deferred"}, "bounced", "sent"),
        (("bounced",), {"outcome": "failed", "failure": "blocked"}, "bounced", "failed"),
        (("accepted", "held"), {"word": "held", "outcome": "bounced", "bounce": "hard"}, "sent", "bounced"),
        (("accepted", "held"), {"word": "held"}, "sent", "sent"),
        (("delivered", "bounced"), {"bounce": "hard"}, "delivered", "bounced"),
        (("bounced",), {"failure": "temporary_failure", "bounce": "soft"}, "bounced", "bounced"),
    ],
)
def test_remapping_changes_statuses_and_never_causes_a_send(account, words, given, before, after):
    key = told(account, *words)
    assert status_of(key) == before
    stored = rule(**given)
    done = run()
    assert (status_of(key), done.changed, done.state) == (after, 1, "done")
    assert done.statuses == ({f"{before} > {after}": 1} if before != after else {})
    assert not QueueRow.objects.exists()
    no_differences()
    assert run().changed == 0  # nothing is done twice

    stored.delete()
    assert run().changed == 1
    assert (status_of(key), QueueRow.objects.exists()) == (before, False)
    assert [found.count for found in remap.inbox()] == [1]
    no_differences()


def test_a_retry_that_waits_is_neither_lost_nor_doubled(account):
    key = handed_over(account, refusal())
    due = QueueRow.objects.get().due_at
    rule(word="", code="R-9", failure="permanent")
    assert run().changed == 1
    assert (status_of(key), QueueRow.objects.get().due_at) == ("pending", due)
    no_differences()


def test_a_retry_is_taken_back_where_the_message_turns_out_to_be_delivered(account):
    key = handed_over(account, refusal())
    post(account, say("held", f"{key}.1", **ODD))
    receive.drain()
    rule(word="held", outcome="delivered")
    run()
    assert (status_of(key), QueueRow.objects.exists()) == ("delivered", False)
    no_differences()


def test_a_replay_makes_no_second_event_of_a_mapped_one(account):
    key = told(account, "held")
    rule(word="held", outcome="bounced", bounce="hard")
    run()
    inbound.replay(Inbound.objects.get().pk)
    receive.drain()
    assert [each.kind for each in Event.objects.filter(message_id=key, source="provider")] == ["bounced"]
    assert run().changed == 0


def test_what_became_of_a_copy_stays_out_of_it(account):
    project = account.projects.get()
    key = sent_message(project, account, body={"text": "x", "cc": ["boss@example.org"]})
    post(account, say("bounced", f"{key}.1", recipient="boss@example.org", **ODD))
    receive.drain()
    rule(outcome="bounced", bounce="hard", suppress=True)
    run()
    assert (status_of(key), event(key).kind) == ("processing", FactKind.OTHER)
    assert not Suppression.objects.exists()


def test_bad_addresses_of_history_are_suppressed_once(account):
    key = told(account, "bounced")
    rule(bounce="hard", failure="invalid_recipient", suppress=True)
    assert run().suppressed == 1
    entry = Suppression.objects.get()
    assert (entry.message_id, entry.reason) == (key, "hard_bounce")
    entry.delete()  # an operator lifts it: the next run leaves it so
    run()
    assert not Suppression.objects.exists()


def test_the_figures_follow(account):
    told(account, "bounced")
    rule(bounce="block")
    run()
    now = datetime.now(UTC)
    figures = metrics.totals(
        metrics.Scope(now - timedelta(hours=1), now + timedelta(minutes=1), account_ids=[account.pk])
    )
    assert figures.bounced_by == {"block": 1}


# --- ahead, and in slices


def test_a_preview_says_what_a_run_will_do_and_changes_nothing(account):
    keys = [told(account, "bounced") for _ in range(3)]
    other = make_account(make_project(), kind="http", settings={}, credentials={"secret": "QUFB" * 10})
    draft = ErrorMapping(kind="sandbox", word="bounced", code="X-1", outcome="delivered")
    ahead = remap.preview(kind="sandbox", rules=[draft.rule()], days=1)
    assert (ahead.events, ahead.changed, ahead.messages, ahead.more) == (3, 3, 3, False)
    assert dict(ahead.statuses) == {("bounced", "delivered"): 3}
    assert {status_of(key) for key in keys} == {"bounced"}
    assert event(keys[0]).detail["unmapped"] is True
    assert remap.preview(kind=other.kind, rules=[draft.rule()], days=1).events == 0
    no_differences()


def test_a_preview_is_bounded(account, monkeypatch):
    monkeypatch.setattr(remap, "SLICE", 2)
    monkeypatch.setattr(remap, "PREVIEWED", 4)
    for _ in range(5):
        told(account, "bounced")
    ahead = remap.preview(kind="sandbox", rules=(), days=1)
    assert (ahead.events, ahead.changed, ahead.more) == (4, 0, True)


def test_a_run_goes_on_where_its_worker_died(account, monkeypatch):
    monkeypatch.setattr(remap, "SLICE", 2)
    keys = [told(account, "bounced") for _ in range(5)]
    rule(outcome="delivered")
    started = remap.start(kind="sandbox", days=1, by="ops")
    assert not remap.work(started.pk, seconds=0.0)
    rules = remap.rules_of("sandbox")
    from_here = Remap.objects.get(pk=started.pk)
    assert not remap._step(from_here, rules)  # one slice, then the worker dies
    assert [status_of(key) for key in keys] == ["bounced"] * 3 + ["delivered"] * 2
    assert 0 < remap.share(from_here) <= 1
    assert remap.abandoned() == []
    Remap.objects.update(worked_at=datetime.now(UTC) - timedelta(minutes=5))
    assert remap.abandoned() == [started.pk]
    assert remap.work(started.pk, seconds=20)
    started.refresh_from_db()
    assert (started.state, started.events, started.changed) == ("done", 5, 5)
    assert started.statuses == {"bounced > delivered": 5}
    assert {status_of(key) for key in keys} == {"delivered"}


def test_older_messages_than_asked_for_stay(account):
    key = told(account, "bounced")
    rule(outcome="delivered")
    started = remap.start(kind="sandbox", days=1, by="ops")
    Remap.objects.update(since=datetime.now(UTC) + timedelta(seconds=1))
    assert remap.work(started.pk, seconds=20)
    assert status_of(key) == "bounced"


def test_the_inbox_looks_at_its_own_index_only(account):
    told(account, "bounced")
    with CaptureQueriesContext(connection) as queries:
        remap.inbox()
    assert len(queries) == 1
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("EXPLAIN " + remap._INBOX, [remap.COUNTED])
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    assert "Seq Scan on event" not in plan, plan


def test_rules_are_pure_and_ordered():
    def one(number: int, **kw: str) -> mapping.Rule:
        given = {"word": "", "code": "", "phrase": "", **kw}
        return mapping.Rule(number, **given, outcome=None, meaning=Classification())

    rules = mapping.in_order([one(1, word="a"), one(2, code="c"), one(3, phrase="p"), one(4, code="c", word="a")])
    assert [each.id for each in rules] == [3, 4, 2, 1]
    assert mapping.find(rules, word="a", code="c", text="none").id == 4
    assert mapping.find(rules, word="b", code="d", text="") is None
