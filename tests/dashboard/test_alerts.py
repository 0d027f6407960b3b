"""Alert rules against numbers: what each kind sees, and the life of their incidents under a controlled clock."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, connections
from django.db.models import Count
from django.test.utils import CaptureQueriesContext

from dashboard import alert_kinds, alert_preview, alerts, incidents, readings
from dashboard.alert_kinds import KINDS, breached
from dashboard.models import AlertNotification, AlertReading, AlertRule, Incident, IncidentEvent, SavedView
from providers.models import Circuit
from tests.builders import make_account, make_endpoint, make_message, make_project
from tests.dashboard.alerting import count, incident, make_channel, make_rule
from tests.tracking.lives import queue_message
from tracking import loops, metrics
from tracking.models import CheckRun, Endpoint, Heartbeat

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 4, 12, 7, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def view(query: str) -> SavedView:
    owner, _ = User.objects.get_or_create(username="ada")
    return SavedView.objects.get_or_create(owner=owner, name=query[:60], query=query)[0]


def read(rule: AlertRule) -> list[readings.Reading]:
    return readings.read(rule, datetime.now(UTC))


def value_of(rule: AlertRule) -> tuple[float | None, int | None]:
    (found,) = read(rule)
    return found.value, found.volume


# --- what each kind sees


@pytest.mark.parametrize(
    ("kind", "counted", "expected"),
    [
        ("bounce_high", {"sent": 50, "bounced": 10}, (20.0, 50)),
        ("failure_high", {"sent": 50, "failed": 5}, (10.0, 50)),
        ("delivery_low", {"sent": 100, "delivered": 45, "failed": 5, "in_flight": 50}, (90.0, 50)),
        ("slow_high", {"sent": 50, "late": 5}, (10.0, 50)),
        ("bounce_high", {}, (None, 0)),
    ],
)
def test_rates_come_from_the_window(kind, counted, expected):
    rule = make_rule(kind)
    count(**counted)
    count(timedelta(minutes=40), sent=1_000, bounced=1_000, failed=1_000, late=1_000)
    assert value_of(rule) == expected


def test_latency_comes_from_the_histogram():
    count(sent=20, timed=20, delivered=20, latency_40=20)
    value, volume = value_of(make_rule("latency_high"))
    assert volume == 20 and 50 < value < 70


def test_a_latency_threshold_is_in_seconds():
    """As its help says: 70 is 70 s, and 70,000 would be a day."""
    count(sent=20, timed=20, delivered=20, latency_40=20)  # about a minute
    for threshold, bad in ((50.0, True), (70.0, False), (0.06, True)):
        rule = make_rule("latency_high", threshold=threshold)
        (reading,) = read(rule)
        assert readings.too_bad(rule, reading) is bad


@pytest.mark.parametrize("kind", [kind for kind, shape in KINDS.items() if not shape.built_in])
def test_examples_say_what_is_too_bad(kind):
    """What is said beside the choice is what happens: below the threshold, or from it on."""
    shape, said = KINDS[kind], alert_kinds.example(kind)
    worse, better = (0.99, 1.01) if shape.low else (1.01, 0.99)
    for factor, bad in ((worse, True), (better, False), (1, not shape.low)):
        seen = shape.example * factor
        assert breached(kind, value=seen, threshold=shape.example, volume=100, minimum=10) is bad
    assert ("below" in said) is shape.low
    assert said.startswith(f"threshold {shape.example:g}: too bad ")


def test_the_minimum_volume_counts_what_its_help_says():
    project = make_project()
    make_account(project)
    make_message(project)
    (age,), (number,) = read(make_rule("backlog_age")), read(make_rule("backlog_count"))
    assert (age.volume, number.volume) == (1, None)


def test_a_view_narrows_to_its_dimensions():
    project, account = make_project(), make_account()
    count(project_id=project.pk, account_id=account.pk, sent=10, bounced=5, bounced_hard=4)
    count(sent=90)
    count(kind="category", label="news", account_id=None, sent=10, bounced=1)
    assert value_of(make_rule(view=view(f"project={project.pk}"))) == (50.0, 10)
    assert value_of(make_rule(view=view(f"account={account.pk}"))) == (50.0, 10)
    assert value_of(make_rule(view=view(f"bounce=hard&project={project.pk}"))) == (40.0, 10)
    assert value_of(make_rule(view=view("category=news"))) == (10.0, 10)
    assert value_of(make_rule()) == (5.0, 100)


@pytest.mark.parametrize(
    ("kind", "query", "why"),
    [
        ("bounce_high", "status=failed", "more than metrics are kept by"),
        ("bounce_high", "time=24h", "has a period"),
        ("bounce_high", "project=999999", "not valid any more"),
        ("delivery_low", "bounce=hard", "goes with"),
        ("silent", "category=news", "cannot be asked for"),
        ("backlog_count", "template=t", "cannot be asked for"),
    ],
)
def test_a_rule_that_cannot_be_evaluated_says_why_and_holds_up_no_other(kind, query, why):
    bad, good = make_rule(kind, view=view(query), name="a"), make_rule(name="b")
    count(sent=50, bounced=50)
    alerts.evaluate()
    bad.refresh_from_db()
    assert why in bad.fault and bad.checked_at
    assert incident(good) and not Incident.objects.filter(rule=bad).exists()


def test_an_error_in_one_rule_holds_up_no_other(monkeypatch):
    bad, good = make_rule("slow_high", name="a"), make_rule(name="b")
    count(sent=50, bounced=50)
    read = readings.read

    def broken(rule: AlertRule, now: datetime) -> list[readings.Reading]:
        if rule == bad:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
        return read(rule, now)

    monkeypatch.setattr(readings, "read", broken)
    alerts.evaluate()
    bad.refresh_from_db()
    assert "Postroom’s own" in bad.fault and incident(good)


def test_the_backlog_is_counted_and_aged_by_scope():
    project, other = make_project(), make_project()
    account = make_account(project)
    for minutes in (1, 5):
        queue_message(project, account, due_at=datetime.now(UTC) - minutes * MINUTE)
    queue_message(other, account, due_at=datetime.now(UTC) - 9 * MINUTE)
    queue_message(project, account, due_at=datetime.now(UTC) + MINUTE)
    assert value_of(make_rule("backlog_count", minimum=0))[0] == 3
    assert value_of(make_rule("backlog_count", view=view(f"project={project.pk}")))[0] == 2
    assert value_of(make_rule("backlog_age", view=view(f"project={project.pk}")))[0] == pytest.approx(300, abs=5)
    assert value_of(make_rule("backlog_age", view=view("channel=sms")))[0] == 0


def test_a_silent_provider_is_one_that_spoke_before():
    talker, mute = make_account(code="talker"), make_account(code="mute")
    for account in (talker, mute):
        count(account_id=account.pk, attempts_started=20, attempts_accepted=20)
    count(timedelta(days=2), account_id=talker.pk, attempts_started=20, attempts_accepted=20, attempts_receipted=20)
    rule = make_rule("silent", threshold=1)
    (found,) = read(rule)
    assert (found.value, found.volume, found.subject, found.name) == (0.0, 20, str(talker.pk), "talker")
    alerts.evaluate_one(rule.pk)
    assert str(incident(rule)) == f"{rule.name}: talker"
    assert f"account={talker.pk}" in incidents.messages_query(incident(rule))


def test_what_is_unusual_for_the_hour():
    with time_machine.travel(NOW, tick=False):
        for week, sent in enumerate((100, 104, 96, 100), 1):
            count(timedelta(weeks=week, minutes=30), sent=sent)
        count(timedelta(minutes=30), sent=20)
        rule = make_rule("anomaly", metric="sent", window=60, threshold=3)
        value, volume = value_of(rule)
        assert value == pytest.approx(-16) and volume == 20  # 5 % of 100 is the usual distance
        found = metrics.anomaly(metrics.Scope(NOW - timedelta(hours=1), NOW), "sent", UTC)
        assert found == value


def test_open_circuits_are_incidents_of_their_accounts():
    account, off = make_account(code="down"), make_account(enabled=False)
    for each in (account, off):
        Circuit.objects.create(account=each, failures=5, open_until=datetime.now(UTC) + MINUTE, reason="wrong password")
    alerts.evaluate()
    (found,) = Incident.objects.filter(kind="circuit")
    assert (found.subject_name, found.last_value, found.text) == ("down", 5, "wrong password")


def test_heartbeats_are_missed_only_while_the_workers_run():
    with time_machine.travel(NOW, tick=False) as clock:
        for name, slot in [("tick", 0), *loops.wanted()]:
            Heartbeat.objects.create(name=f"{name}:{slot}", at=NOW)
        Heartbeat.objects.filter(name="dispatch:0").update(at=NOW - timedelta(hours=9))
        alerts.evaluate()
        assert not Incident.objects.exists()  # they may have been stopped until now
        clock.shift(MINUTE)
        alerts.evaluate()
        assert incident().kind == "heartbeat" and incident().text == "dispatch:0"


def test_failing_checks_are_an_incident():
    now = datetime.now(UTC)
    CheckRun.objects.create(started_at=now, finished_at=now, found=3, differences=["message x: is odd"])
    CheckRun.objects.create(started_at=now)  # still runs
    alerts.evaluate()
    assert (incident().kind, incident().last_value, incident().text) == ("invariants", 3, "message x: is odd")


def test_an_endpoint_that_was_switched_off_by_itself_is_an_incident():
    project = make_project(code="shop")
    by_hand = make_endpoint(project)
    Endpoint.objects.filter(pk=by_hand.pk).update(active=False)
    off = make_endpoint(project, "https://hooks.example.com/in?token=x")
    Endpoint.objects.filter(pk=off.pk).update(active=False, disabled_reason="gone", disabled_at=datetime.now(UTC))
    alerts.evaluate()
    found = incident()
    assert (found.kind, found.severity, found.last_value) == ("endpoint", "warning", 1)
    assert found.text == "shop: hooks.example.com (gone)"  # no more of its address: it may hold a secret


def test_built_in_rules_come_back_and_stay_on():
    alerts.evaluate()
    assert AlertRule.objects.filter(built_in=True).count() == 4
    AlertRule.objects.filter(kind="circuit").delete()
    alerts.evaluate()
    assert AlertRule.objects.filter(built_in=True).count() == 4
    with pytest.raises(IntegrityError):
        AlertRule.objects.filter(kind="circuit").update(enabled=False)


# --- the life of an incident


@pytest.fixture
def clock():
    with time_machine.travel(NOW, tick=False) as found:
        yield found


def minute(clock, bounced: int | None) -> None:
    """A minute goes by; in its window there are only the messages of this one."""
    clock.shift(timedelta(minutes=20))
    if bounced is not None:
        count(sent=100, bounced=bounced)
    alerts.evaluate()


def milestones(found: Incident) -> list[str]:
    return list(found.events.values_list("kind", flat=True))


def test_it_opens_once_is_updated_and_closes_after_quiet_time(clock):
    make_channel()
    rule = make_rule(quiet=30)
    minute(clock, 5)
    assert not Incident.objects.exists()
    minute(clock, 12)
    minute(clock, 15)
    minute(clock, 11)
    found = incident(rule)
    assert Incident.objects.count() == 1
    assert (found.last_value, found.worst_value, found.opened_at) == (11, 15, NOW + timedelta(minutes=40))
    minute(clock, 1)
    assert incident(rule).closed_at is None and incident(rule).quiet_since
    minute(clock, 13)
    assert incident(rule).quiet_since is None
    minute(clock, None)
    minute(clock, None)
    assert incident(rule).closed_at is None
    minute(clock, None)
    assert incident(rule).closed_at == datetime.now(UTC)
    assert milestones(found) == ["opened", "closed"]
    assert [each.milestone for each in AlertNotification.objects.order_by("pk")] == ["opened", "closed"]
    minute(clock, 50)
    assert Incident.objects.count() == 2
    assert list(AlertReading.objects.filter(rule_id=rule.pk).values_list("value", flat=True)) == [
        5,
        12,
        15,
        11,
        1,
        13,
        50,
    ]


def test_it_tells_when_it_is_twice_as_bad(clock):
    make_channel()
    rule = make_rule()
    for bounced in (12, 20, 24, 30, 47, 48, 12, 48):
        minute(clock, bounced)
    assert milestones(incident(rule)) == ["opened", "worsened", "worsened"]
    assert AlertNotification.objects.count() == 3


def test_a_muted_rule_tells_when_it_is_not_muted_any_more(clock):
    make_channel()
    rule = make_rule()
    incidents.mute_rule(rule.pk, minutes=60)
    minute(clock, 50)
    minute(clock, 50)
    assert incident(rule).told is None and not AlertNotification.objects.exists()
    minute(clock, 50)
    assert [each.milestone for each in AlertNotification.objects.all()] == ["opened"]
    incidents.mute(incident(rule).pk, who="ada", minutes=480)
    minute(clock, 100)
    minute(clock, None)
    minute(clock, None)
    assert incident(rule).closed_at
    assert [each.milestone for each in AlertNotification.objects.all()] == ["opened"]


def test_what_nobody_was_told_of_ends_untold(clock):
    make_channel()
    rule = make_rule()
    incidents.mute_rule(rule.pk, minutes=45)
    for bounced in (50, None, None):
        minute(clock, bounced)
    assert incident(rule).closed_at and not AlertNotification.objects.exists()


def test_it_is_acknowledged_once_with_who_and_note(clock):
    make_channel()
    rule = make_rule()
    minute(clock, 50)
    assert incidents.acknowledge(incident(rule).pk, who="ada", note="looking")
    assert not incidents.acknowledge(incident(rule).pk, who="alan")
    found = incident(rule)
    assert (found.state, found.acknowledged_by) == ("acknowledged", "ada")
    assert milestones(found) == ["opened", "acknowledged"]
    told = AlertNotification.objects.get(milestone="acknowledged")
    assert told.payload["data"]["who"] == "ada" and told.payload["data"]["text"] == "looking"
    minute(clock, None)
    minute(clock, None)
    with pytest.raises(incidents.Closed):
        incidents.acknowledge(found.pk, who="ada")
    with pytest.raises(incidents.Closed):
        incidents.mute(found.pk, who="ada", minutes=60)


@pytest.mark.parametrize("gone", [True, False])
def test_without_its_rule_it_closes(clock, gone):
    make_channel()
    rule = make_rule()
    minute(clock, 50)
    if gone:
        rule.delete()
    else:
        AlertRule.objects.filter(pk=rule.pk).update(enabled=False)
    minute(clock, 50)
    assert incident().closed_at and milestones(incident()) == ["opened", "closed"]
    assert AlertNotification.objects.filter(milestone="closed").exists()


def test_a_view_that_has_become_unusable_leaves_the_incident_as_it_is(clock):
    rule = make_rule(view=view("channel=email"))
    minute(clock, 50)
    SavedView.objects.update(query="status=failed")
    minute(clock, None)
    minute(clock, None)
    assert incident(rule).closed_at is None


def test_channels_are_chosen_by_rule_and_severity(clock):
    every, severe, off = make_channel(), make_channel(least="critical"), make_channel(enabled=False)
    chosen = make_channel()
    rule = make_rule(severity="warning")
    grave = make_rule(severity="critical")
    narrow = make_rule()
    narrow.channels.add(chosen, off)
    minute(clock, 50)
    told = {
        each: set(AlertNotification.objects.filter(incident__rule=each).values_list("channel_id", flat=True))
        for each in (rule, grave, narrow)
    }
    assert told == {rule: {every.pk, chosen.pk}, grave: {every.pk, chosen.pk, severe.pk}, narrow: {chosen.pk}}


def test_an_evaluation_within_half_a_minute_of_the_last_does_nothing(clock):
    make_rule()
    minute(clock, 50)
    before = AlertReading.objects.count()
    clock.shift(timedelta(seconds=20))
    alerts.evaluate()
    assert AlertReading.objects.count() == before
    clock.shift(timedelta(seconds=20))
    alerts.evaluate()
    assert AlertReading.objects.count() > before


def test_old_readings_are_forgotten(clock):
    make_rule()
    minute(clock, 50)
    clock.shift(timedelta(days=13))
    alerts.prune()
    assert AlertReading.objects.exists()
    clock.shift(timedelta(days=2))
    alerts.prune()
    assert not AlertReading.objects.exists()


def test_an_evaluation_asks_a_bounded_number_of_queries(clock):
    make_channel()
    make_rule()
    minute(clock, 50)
    clock.shift(MINUTE)
    with CaptureQueriesContext(connection) as before:
        alerts.evaluate()
    for number in range(200):
        count(project_id=number, sent=10, bounced=9)
    clock.shift(MINUTE)
    with CaptureQueriesContext(connection) as after:
        alerts.evaluate()
    assert len(after) <= len(before) <= 58  # five rules


@pytest.mark.django_db(transaction=True)
def test_two_evaluations_at_once_make_one_incident_and_one_notification():
    make_channel()
    rules = [make_rule() for _ in range(10)]
    count(sent=100, bounced=50)
    barrier = threading.Barrier(4)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            barrier.wait()
            alerts.evaluate()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert Incident.objects.filter(kind="bounce_high").count() == len(rules)
    assert not Incident.objects.values("rule").annotate(n=Count("pk")).filter(n__gt=1).exists()
    assert IncidentEvent.objects.filter(kind="opened").count() == len(rules)
    assert AlertNotification.objects.count() == len(rules)
    assert AlertReading.objects.filter(rule_id__in=[rule.pk for rule in rules]).count() == len(rules)


def test_the_database_takes_no_second_open_incident_of_a_rule(clock):
    rule = make_rule()
    minute(clock, 50)
    second = incident(rule)
    second.pk = None
    with pytest.raises(IntegrityError):
        second.save(force_insert=True)


# --- for the overview


def test_incidents_of_a_scope_and_a_time(clock):
    project, account = make_project(), make_account()
    everything = make_rule(severity="info")
    ours = make_rule(view=view(f"project={project.pk}"), severity="critical")
    count(project_id=project.pk, sent=0)
    clock.shift(timedelta(minutes=20))
    count(project_id=project.pk, sent=100, bounced=50)
    alerts.evaluate()
    assert [each.rule for each in incidents.open_incidents()] == [ours, everything]
    day = (NOW - timedelta(days=1), NOW)
    mine = metrics.Scope(*day, project_ids=[project.pk], account_ids=[account.pk])
    other = metrics.Scope(*day, project_ids=[project.pk + 1])
    assert len(incidents.open_incidents(mine)) == 2
    assert [each.rule for each in incidents.open_incidents(other)] == [everything]
    opened = datetime.now(UTC)
    clock.shift(timedelta(hours=1))
    AlertRule.objects.filter(pk=ours.pk).update(enabled=False)
    alerts.evaluate()
    assert len(incidents.incidents_between(opened - MINUTE, opened)) == 0
    assert len(incidents.incidents_between(opened, opened + MINUTE)) == 2
    later = incidents.incidents_between(datetime.now(UTC) + MINUTE, datetime.now(UTC) + 2 * MINUTE)
    assert [each.rule for each in later] == [everything]


# --- the preview


def test_the_preview_says_how_long_it_would_have_been_open(clock):
    for minutes in (5 * 60, 5 * 60 - 15, 2 * 60):
        count(timedelta(minutes=minutes), sent=100, bounced=30)
    count(timedelta(minutes=60), sent=100, bounced=1)
    count(timedelta(minutes=90), sent=5, bounced=5)  # too few
    found = alert_preview.preview(make_rule(quiet=0), datetime.now(UTC))
    assert (found.times, found.lasted) == (2, timedelta(minutes=45))
    assert found.worst == "100 %" and len(found.points) == 96
    assert alert_preview.preview(make_rule(quiet=60), datetime.now(UTC)).lasted > found.lasted
    assert alert_preview.preview(make_rule("backlog_count"), datetime.now(UTC)).impossible


def test_the_preview_of_a_kind_by_account_and_of_the_unusual(clock):
    talker = make_account(code="talker")
    count(timedelta(days=2), account_id=talker.pk, attempts_started=9, attempts_accepted=9, attempts_receipted=9)
    count(timedelta(hours=3), account_id=talker.pk, attempts_started=20, attempts_accepted=20)
    found = alert_preview.preview(make_rule("silent", threshold=5, quiet=0), datetime.now(UTC))
    assert (found.times, found.worst) == (1, "0 %")
    for week in range(1, 5):
        count(timedelta(weeks=week, hours=3), sent=100)
    count(timedelta(hours=3), sent=500)
    found = alert_preview.preview(make_rule("anomaly", metric="sent", threshold=3, quiet=0), datetime.now(UTC))
    assert found.times == 1
