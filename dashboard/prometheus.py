"""GET /metrics for Prometheus. Reads PostgreSQL at each scrape, so that the figures are those of the installation and
not of one process; its cost does not grow with the messages. Needs the bearer token METRICS_TOKEN."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from dashboard import lanes, system
from dashboard.lanes import Lane
from tracking import metrics as figures

WINDOW = timedelta(hours=1)  # of the messages that are counted
OUTCOMES = (
    *("created", "sent", "delivered", "read", "failed", "bounced", "unknown", "in_flight"),
    *("pending", "cancelled", "suppressed", "expired", "rejected"),
)
Rows = Iterable[tuple[list[str], float]]


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """404 where no token is set: nobody need know that there is such a page."""
    if not settings.METRICS_TOKEN:
        raise Http404
    given = request.headers.get("Authorization", "")
    if not constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}"):
        return HttpResponse("a bearer token is needed\n", status=401, headers={"WWW-Authenticate": "Bearer"})
    registry = CollectorRegistry()
    registry.register(_Postroom())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Postroom(Collector):
    def describe(self) -> Iterable[Metric]:
        return []  # nothing is read before a scrape

    def collect(self) -> Iterable[Metric]:
        found = system.live()
        yield InfoMetricFamily("postroom", "This installation.", value={"version": settings.VERSION})
        yield from _of_accounts(found.lanes, found.now)
        yield from _of_receipts(found)
        yield from _of_workers(found)
        yield _gauge("sending_paused", "1 while all sending is paused.", [], [([], float(found.switch is not None))])
        yield _gauge("projects_paused", "How many projects are paused.", [], [([], float(len(found.paused)))])
        yield from _of_messages(found.lanes, found.now)


def _of_accounts(rows: list[Lane], now: datetime) -> Iterable[Metric]:
    states = [(lane, "due", lane.due) for lane in rows]
    states += [(lane, "scheduled", lane.scheduled) for lane in rows]
    states += [(lane, "in_flight", lane.in_flight) for lane in rows]
    yield _gauge(
        "queue_messages",
        f"Messages in the queue, counted up to {lanes.BOUND + 1} for each account and state.",
        ["account", "channel", "state"],
        [([lane.code, lane.channel, state], count) for lane, state, count in states],
    )
    yield _gauge(
        "queue_oldest_seconds",
        "For how long the oldest due message has been due.",
        ["account", "channel"],
        [([lane.code, lane.channel], _age(lane.oldest, now)) for lane in rows],
    )
    yield _gauge(
        "account_enabled",
        "1 where the account may be used.",
        ["account"],
        [([lane.code], float(lane.enabled)) for lane in rows],
    )
    yield _gauge(
        "circuit_open",
        "1 while nothing but probes is handed over.",
        ["account"],
        [([lane.code], float(lane.open_until is not None)) for lane in rows],
    )


def _age(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def _of_receipts(found: system.Live) -> Iterable[Metric]:
    waiting = [("unread", found.unread), ("unreadable", found.errors)]
    yield _gauge(
        "inbound_requests",
        f"Providers' requests that are not read, counted up to {lanes.BOUND + 1}.",
        ["state"],
        [([state], count) for state, count in waiting],
    )
    what = f"Receipts without a message that are still tried, counted up to {lanes.BOUND + 1}."
    yield _gauge("receipts_unmatched", what, [], [([], found.unmatched)])


def _of_workers(found: system.Live) -> Iterable[Metric]:
    yield _gauge(
        "heartbeat_age_seconds",
        "Since the last sign of life; -1 where there never was one.",
        ["loop"],
        [([beat.name], _age(beat.at, found.now) if beat.at else -1.0) for beat in found.beats],
    )
    ran = [row.scheduled for row in found.jobs if row.scheduled.last_run]
    yield _gauge(
        "job_age_seconds",
        "Since a scheduled job was last run.",
        ["job"],
        [([each.job.task], _age(each.last_run, found.now)) for each in ran],
    )
    yield _gauge(
        "job_failed", "1 where its last run failed.", ["job"], [([e.job.task], float(bool(e.fault))) for e in ran]
    )


def _of_messages(rows: list[Lane], now: datetime) -> Iterable[Metric]:
    """A gauge: an outcome may still change, so these are no counters that only grow."""
    found = figures.by(figures.Scope(now - WINDOW, now), "account")
    yield _gauge(
        "messages_last_hour",
        "Messages made in the last hour, by what has become of them; created is all, sent those handed over.",
        ["channel", "account", "outcome"],
        [
            ([lane.channel, lane.code, outcome], getattr(found[lane.id], outcome))
            for lane in rows
            if lane.id in found
            for outcome in OUTCOMES
        ],
    )


def _gauge(name: str, what: str, labels: list[str], rows: Rows) -> Metric:
    gauge = GaugeMetricFamily(f"postroom_{name}", what, labels=labels)
    for values, number in rows:
        gauge.add_metric(values, number)
    return gauge
