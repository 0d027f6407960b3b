"""Folding, reading and rebuilding the metrics, against a naive count in Python and against live traffic."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.base import BounceClass, FailureClass
from providers.models import ProviderAccount
from tests.builders import make_account, make_project
from tracking import counters, ids, metrics, rollups
from tracking.figures import DEFINITIONS, Figures
from tracking.metrics import Scope
from tracking.models import Message, MetricDelta, MetricHour, MetricMinute, MetricQuarter, Project
from tracking.rows import MessageRow
from tracking.services import check, rollup
from tracking.services.record import DISPATCH, Record, Source
from tracking.statuses import Decision, Fact, FactKind, Status

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
RECENT = Scope(NOW - DAY, NOW + DAY)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


@pytest.fixture
def project() -> Project:
    return make_project()


@pytest.fixture
def account(project: Project) -> ProviderAccount:
    return make_account(project)


def key_of(moment: datetime) -> UUID:
    return UUID(int=ids.floor(moment).int | (uuid4().int & ((1 << 62) - 1)))


def live(
    project: Project,
    account: ProviderAccount,
    *told: tuple[FactKind, float],
    made: datetime = NOW,
    category: str = "",
    classes: dict[str, Any] | None = None,
    machine: bool = False,
) -> UUID:
    """A message made at a time, handed over at once, of which (kind, seconds afterwards) became known."""
    row = MessageRow(
        id=key_of(made),
        project_id=project.pk,
        account_id=account.pk,
        channel=account.channel,
        recipient="ada@example.com",
        status=Status.PENDING,
        decision=Decision.QUEUE,
        category=category,
        extra={"external_id": "", "tags": []},
    )
    with transaction.atomic():
        work = Record([], now=made)
        work.add_message(row, source=Source("api"))
        attempt = work.start_attempt(row, account_id=account.pk, idempotency_key="key")
        attempt.finished_at = made
        work.save()
    for kind, seconds in told:
        learn(row.id, Fact(kind, made + timedelta(seconds=seconds), **(classes or {}), machine=machine))
    return row.id


def learn(message_id: UUID, fact: Fact) -> None:
    with transaction.atomic():
        work = Record([message_id], now=max(fact.at, NOW))
        row = work.messages[message_id]
        work.add_fact(row, row.tries[0], fact, key=f"{fact.kind} {fact.at}", source=DISPATCH)
        work.save()


def agrees() -> bool:
    return [line for line in map(str, check.differences(50)) if line.startswith("metric_")] == []


# --- what is counted


facts = st.lists(st.tuples(st.sampled_from(FactKind), st.integers(0, 4000), st.booleans()), min_size=0, max_size=4)
lives = st.lists(st.tuples(st.integers(0, 3 * 24 * 60), facts), min_size=1, max_size=6)


@given(lives=lives, folds=st.integers(0, 2))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_lives_are_counted_as_naively(
    project: Project, account: ProviderAccount, lives: list[Any], folds: int
) -> None:
    for model in (Message, MetricDelta, MetricMinute, MetricQuarter, MetricHour):
        model.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE metric_block, metric_delta, attempt, event")
    start = NOW - 3 * DAY
    naive = []
    for minutes, told in lives:
        made = start + timedelta(minutes=minutes)
        message_id = live(project, account, made=made)
        for kind, seconds, machine in told:
            learn(message_id, Fact(kind, made + timedelta(seconds=seconds), machine=machine))
        for _ in range(folds):
            rollup.fold(limit=2)
        naive.append(Message.objects.get(pk=message_id))
    figures = metrics.totals(Scope(start, NOW + DAY))
    count = lambda *statuses: sum(message.status in statuses for message in naive)  # noqa: E731
    assert figures.created == figures.sent == figures.attempts_started == len(naive)
    assert figures.delivered == count("delivered", "read") and figures.read == count("read")
    assert (figures.failed, figures.bounced, figures.in_flight) == (
        count("failed"),
        count("bounced"),
        count("pending", "processing", "sent"),
    )
    took = [message.delivered_at - message.sent_at for message in naive if message.delivered_at]
    assert figures.timed == len(took) == sum(figures.latency)
    assert figures.delivery_ms == sum(each // timedelta(milliseconds=1) for each in took)
    assert figures.late == sum(each >= timedelta(minutes=5) for each in took)
    assert sum(f.created for _, f in metrics.series(Scope(start, NOW + DAY), "hour", UTC)) == len(naive)
    assert agrees()
    rollup.fold_all()
    assert metrics.totals(Scope(start, NOW + DAY)) == figures
    assert agrees()


def test_each_kind_of_fact_has_its_counter(project: Project, account: ProviderAccount) -> None:
    old = NOW - timedelta(hours=3)
    live(project, account, (FactKind.ACCEPTED, 0), (FactKind.DELIVERED, 10), (FactKind.OPENED, 20), made=old)
    live(project, account, (FactKind.ACCEPTED, 0), (FactKind.CLICKED, 400), made=old)
    live(project, account, (FactKind.ACCEPTED, 0), (FactKind.OPENED, 3), made=old, machine=True)
    live(project, account, (FactKind.ACCEPTED, 0), (FactKind.COMPLAINED, 3), (FactKind.UNSUBSCRIBED, 4), made=old)
    live(project, account, (FactKind.BOUNCED, 3), made=old, classes={"bounce": BounceClass.SOFT})
    live(project, account, (FactKind.FAILED, 1), made=old, classes={"failure": FailureClass.TIMEOUT})
    live(project, account, made=datetime.now(UTC))  # not late, however long the tests before took
    figures = metrics.totals(RECENT)
    assert (figures.sent, figures.delivered, figures.read, figures.opened, figures.clicked) == (7, 2, 2, 1, 1)
    assert (figures.machine_opened, figures.complained, figures.unsubscribed) == (1, 1, 1)
    assert (figures.bounced_by, figures.failed_by) == ({"soft": 1}, {"timeout": 1})
    assert (figures.late, figures.overdue, figures.in_flight) == (1, 2, 3)
    assert figures.slow_ratio == 3 / 7
    assert (figures.attempts_started, figures.attempts_accepted, figures.attempts_receipted) == (7, 5, 5)
    assert figures.attempts_failed_by == {"timeout": 1} and figures.health == pytest.approx(6 / 7)
    assert figures.value("bounce_rate:soft") == 1 / 7
    with pytest.raises(KeyError):
        figures.value("bounce_rate:nothing")


def test_a_category_is_counted_apart(project: Project, account: ProviderAccount) -> None:
    live(project, account, (FactKind.DELIVERED, 1), category="receipts")
    live(project, account, category="news")
    assert metrics.totals(RECENT).created == 2
    found = metrics.by(RECENT, "category")
    assert {name: figures.delivered for name, figures in found.items()} == {"receipts": 1, "news": 0}
    only = Scope(RECENT.since, RECENT.until, category="news")
    assert metrics.totals(only).created == 1
    with pytest.raises(ValueError, match="cannot be combined"):
        metrics.by(only, "account")


# --- folding


def test_every_moment_is_counted_once_wherever_it_stands(project: Project, account: ProviderAccount) -> None:
    for minutes in (0, 3, 59, 200, 47 * 60, 50 * 60, 24 * 60 * 9):
        live(project, account, made=NOW - timedelta(minutes=minutes))
    whole = Scope(NOW - 20 * DAY, NOW + DAY)
    for _ in range(3):
        assert metrics.totals(whole).created == 7
        assert sum(figures.created for _, figures in metrics.series(whole, "day", ZoneInfo("Asia/Kolkata"))) == 7
        assert sum(figures.created for _, figures in metrics.series(whole, "month", UTC)) == 7
        rollup.fold(limit=3)
    assert MetricDelta.objects.count() == 0
    live(project, account, made=NOW - timedelta(days=9))  # a late one
    rollup.fold_all()
    rollup.drop_minutes()
    assert metrics.totals(whole).created == 8
    assert not MetricMinute.objects.filter(start__lt=NOW - timedelta(hours=49)).exists()


def in_threads(*works: Callable[[], None]) -> None:
    failed: list[Exception] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []


def test_several_folders_lose_and_double_nothing(project: Project, account: ProviderAccount) -> None:
    def write() -> None:
        for number in range(25):
            live(project, account, (FactKind.DELIVERED, number))

    def fold() -> None:
        for _ in range(60):
            rollup.fold(limit=3)

    seen: list[int] = []

    def read() -> None:
        for _ in range(20):
            seen.append(metrics.totals(RECENT).created)

    in_threads(write, write, fold, fold, read)
    assert seen == sorted(seen)  # never less than before: nothing is between two chairs
    assert metrics.totals(RECENT).delivered == 50 and agrees()
    rollup.fold_all()
    assert metrics.totals(RECENT).delivered == 50 and agrees()


# --- rebuilding and sealing


def test_rebuilding_beside_intake_and_folding(project: Project, account: ProviderAccount) -> None:
    for _ in range(20):
        live(project, account, (FactKind.DELIVERED, 5))
    rollup.fold_all()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE metric_minute SET delivered = 99; DELETE FROM metric_quarter")
        cursor.execute("UPDATE metric_hour SET sent = NULL, bounced = 3; DELETE FROM metric_block")
    done = threading.Event()

    def write() -> None:
        for number in range(30):
            live(project, account, (FactKind.DELIVERED, number))
        done.set()

    def fold() -> None:
        while not done.is_set():
            rollup.fold(limit=5)

    def rebuild() -> None:
        while not done.is_set():
            list(rollup.rebuild(NOW - timedelta(hours=1), NOW + timedelta(hours=1)))

    in_threads(write, fold, rebuild, rebuild)
    list(rollup.rebuild(NOW - timedelta(hours=1), NOW + timedelta(hours=1)))
    assert agrees() and metrics.totals(RECENT).delivered == 50
    rollup.fold_all()
    assert agrees() and metrics.totals(RECENT).delivered == 50


def test_sealed_hours_stay_and_later_attempts_of_theirs_are_known(project: Project, account: ProviderAccount) -> None:
    old = rollups.floor(NOW, rollups.HOUR.width) - timedelta(hours=5)
    gone = live(project, account, (FactKind.FAILED, 1), made=old, classes={"failure": FailureClass.TEMPORARY})
    with transaction.atomic():
        work = Record([gone])
        work.start_attempt(work.messages[gone], account_id=account.pk, idempotency_key="again")
        work.save()
    rollup.fold_all()
    before = metrics.totals(RECENT)
    rollup.seal(old, old + timedelta(hours=1))
    assert agrees()  # sealed, not purged yet
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE message, attempt, event")
    assert agrees()
    list(rollup.rebuild(NOW - DAY, NOW + timedelta(hours=2)))
    assert metrics.totals(RECENT) == before and before.attempts_started == 2
    with pytest.raises(ValueError, match="whole hours"):
        rollup.seal(old, old + timedelta(minutes=5))


def test_the_command_says_what_is_wrong_with_its_arguments(project: Project, account: ProviderAccount) -> None:
    for arguments in (["--since", "yesterday"], ["--since", "2026-03-02", "--until", "2026-03-01"], []):
        with pytest.raises(CommandError, match="--since"):
            call_command("rebuild_metrics", *arguments)
    live(project, account)
    MetricDelta.objects.all().delete()
    call_command("rebuild_metrics", "--since", (NOW - timedelta(hours=1)).isoformat())
    assert metrics.totals(RECENT).created == 1


# --- formulas


def test_the_example_of_the_design() -> None:
    figures = Figures.of({"sent": 1000, "delivered": 950, "failed": 30, "bounced": 20, "bounced_hard": 15})
    assert (figures.delivery_rate, figures.bounce_rate, figures.failure_rate) == (0.95, 0.02, 0.03)
    assert (figures.bounce_rate_of("hard"), figures.bounce_rate_of("soft")) == (0.015, 0.0)


def test_where_nothing_is_nothing_is_said() -> None:
    figures = metrics.totals(RECENT)
    rates = [name for name, definition in DEFINITIONS.items() if definition.unit in ("%", "s")]
    assert len(rates) > 10 and {figures.value(name) for name in rates} == {None}
    assert metrics.anomaly(Scope(NOW - DAY, NOW), "delivery_rate", UTC) is None


@given(st.lists(st.integers(50, 7 * 24 * 3600 * 1000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_percentiles_are_as_exact_as_published(milliseconds: list[int], share: float) -> None:
    bins = [0] * len(counters.LATENCY)
    for each in milliseconds:
        bins[counters.latency_bin(each)] += 1
    rank = max(1, -int(-len(milliseconds) * share // 1))
    exact = sorted(milliseconds)[rank - 1] / 1000
    said = Figures(latency=tuple(bins)).percentile(share)
    assert said is not None and abs(said - exact) / exact <= counters.LATENCY_ERROR + 0.011  # edges are whole ms
    assert counters.LATENCY_ERROR < 0.1


def test_matured_leaves_out_what_may_still_arrive(project: Project, account: ProviderAccount) -> None:
    live(project, account, (FactKind.ACCEPTED, 0), (FactKind.DELIVERED, 600), made=NOW - timedelta(hours=2))
    live(project, account, (FactKind.ACCEPTED, 0), made=datetime.now(UTC) - timedelta(minutes=3))
    assert 540 < metrics.maturity()[account.pk].total_seconds() < 660
    both = metrics.totals_matured(RECENT)
    assert (both.to_date.sent, both.matured.sent) == (2, 1)
    assert (both.to_date.delivery_rate, both.matured.delivery_rate) == (0.5, 1.0)


def test_an_anomaly_stands_out_from_the_weeks_before(project: Project, account: ProviderAccount) -> None:
    hour = rollups.floor(NOW, rollups.HOUR.width) - timedelta(hours=3)
    for week in range(5):
        counts = {"created": 4, "sent": 4, "delivered" if week else "bounced": 4}
        bucket = counters.Bucket(hour - timedelta(weeks=week), project.pk, "email", account.pk)
        rollups.add_up({bucket: counts}, rollups.TIERS, NOW)
    scope = Scope(hour, hour + timedelta(hours=1))
    assert metrics.anomaly(scope, "delivery_rate", UTC) == -20  # 100 % lower, where 5 % would be nothing unusual
    assert metrics.anomaly(scope, "created", UTC) == 0


# --- steps and costs


@pytest.mark.parametrize("fold", [False, True])
def test_each_answer_is_one_statement(project: Project, account: ProviderAccount, fold: bool) -> None:
    live(project, account, (FactKind.DELIVERED, 5))
    if fold:
        rollup.fold_all()
    answers: list[tuple[int, Callable[[], object]]] = [
        (1, lambda: metrics.totals(RECENT)),
        (1, lambda: metrics.by(RECENT, "account")),
        (1, lambda: metrics.series(RECENT, "15min", UTC)),
        (1, lambda: metrics.series_by(RECENT, "project", "hour", UTC, latency=True)),
        (1, lambda: metrics.anomaly(RECENT, "sent", UTC)),
        (2, lambda: metrics.totals_matured(RECENT)),
    ]
    for budget, answer in answers:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            answer()
        assert len(queries) == budget


def test_the_columns_are_the_counters() -> None:
    with connection.cursor() as cursor:
        for tier in rollups.TIERS:
            columns = {column.name for column in connection.introspection.get_table_description(cursor, tier.table)}
            assert columns == {*counters.COUNTERS, *rollups._KEY}


def test_every_definition_is_in_the_document() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert {key: (name, formula, unit) for key, name, formula, unit in rows} == {
        key: tuple(definition) for key, definition in DEFINITIONS.items()
    }
