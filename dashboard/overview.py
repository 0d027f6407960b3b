"""What the overview shows, read from rollups and from small tables: every query is bounded, and costs the same with ten
messages and with ten million. Called by overview_page.

Each part is read only where the user may see what it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.postgres.aggregates import BoolOr
from django.core.cache import cache
from django.db import connection
from django.db.models import Q
from django.urls import reverse

from dashboard import (
    diagnosis,
    first_steps,
    incidents,
    lanes,
    overview_charts,
    overview_details,
    overview_tables,
    overview_tiles,
)
from dashboard.charts import Figure, Mark
from dashboard.diagnosis import Finding
from dashboard.first_steps import Progress, Step
from dashboard.lanes import Lane
from dashboard.models import Incident
from dashboard.overview_charts import Chart
from dashboard.overview_details import Group, Tracked
from dashboard.overview_form import Asked
from dashboard.overview_tables import Bouncer, Provider, Reason
from dashboard.overview_tiles import Receipts, Tile
from tracking import ids, metrics
from tracking.figures import Figures
from tracking.metrics import Key, Matured, Scope, Series
from tracking.models import EngagementSettings, Heartbeat, Inbound, Project, Switch, Unmatched

BOUND = lanes.BOUND
SEARCHED = 10_000  # newest messages among which those who bounce again and again are sought
BOUNCERS = 8
LATE = timedelta(seconds=150)  # for a sign of life; the tick gives one each minute
A_WHILE = 60  # seconds for which is kept what hardly changes from one refresh to the next
HEAT_OVER = timedelta(days=7)  # a shorter period has not every weekday
HEAT_AT_MOST = timedelta(days=90)  # in hours, of which a series has a bounded number
Kept = TypeVar("Kept")

_BOUNCERS = """
SELECT recipient, count(*), max(id::text)::uuid FROM (
    SELECT id, recipient, status, account_id, channel FROM message
    WHERE id >= %(low)s AND id < %(high)s AND (%(project)s::bigint IS NULL OR project_id = %(project)s)
    ORDER BY id DESC LIMIT %(searched)s) m
WHERE status = 'bounced' AND (%(account)s::bigint IS NULL OR account_id = %(account)s)
    AND (%(channel)s::text IS NULL OR channel = %(channel)s)
GROUP BY recipient HAVING count(*) > 1 ORDER BY 2 DESC, 3 DESC LIMIT %(most)s
"""


@dataclass(slots=True)
class Overview:
    asked: Asked
    bound: int = BOUND
    steps: list[Step] = field(default_factory=list)
    sample: Progress | None = None
    switch: Switch | None = None
    silent: bool = False  # no worker gives a sign of life
    silent_since: datetime | None = None
    paused: list[Project] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    findings: list[tuple[Finding, str]] = field(default_factory=list)  # with the list to look at
    enough: bool = False  # there are messages at all
    judged: bool = False  # as many were sent as diagnosis needs
    charts: list[Chart] = field(default_factory=list)
    details: list[Group] = field(default_factory=list)
    providers: list[Provider] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    bouncers: list[Bouncer] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, Figure]:
        return {chart.key: chart.figure for chart in self.charts if not chart.empty}

    @property
    def well(self) -> bool:
        """As much was sent as says something, nothing is wrong, and nothing is held back either."""
        return self.judged and not self._held

    @property
    def too_few(self) -> bool:
        """Nothing is known to be wrong, and nothing is said by so few."""
        return self.enough and not self.judged and not self._held

    @property
    def _held(self) -> bool:
        shut = any(lane.enabled and lane.open_until for lane in self.lanes)
        bad = any(tile.bad for tile in self.tiles)  # open incidents, an old backlog, receipts that nobody reads
        return bool(self.findings or self.silent or self.switch or shut or bad)

    @property
    def nothing(self) -> bool:
        return not (self.tiles or self.steps or self.lanes)


@dataclass(frozen=True, slots=True)
class Read:
    """What the rollups say."""

    accounts: dict[Key, Figures]
    totals: Matured
    before: Figures
    series: dict[Key, Series]
    heat: Series


def read(user: AbstractBaseUser | AnonymousUser, asked: Asked) -> Overview:
    found = Overview(asked)
    may: Callable[[str], bool] = getattr(user, "has_perm", lambda name: False)
    if may("tracking.view_switch"):
        found.switch = Switch.objects.filter(sending_paused=True).first()
    if may("tracking.view_project"):
        found.paused = list(Project.objects.filter(paused=True)[:10])
    if may("providers.view_provideraccount"):
        found.silent_since = Heartbeat.objects.order_by("-at").values_list("at", flat=True).first()
        found.silent = found.silent_since is None or asked.now - found.silent_since > LATE
        found.lanes = [lane for lane in lanes.read(asked.now) if _is_asked(lane, asked)]
    if may("dashboard.view_incident"):
        found.incidents = incidents.incidents_between(asked.scope.since, asked.scope.until, asked.scope)
    if may("tracking.view_message"):
        _read_figures(found, _receipts() if may("tracking.view_inbound") else None)
        if not found.enough and may("tracking.view_project"):
            found.steps = first_steps.steps()
    return found


def _is_asked(lane: Lane, asked: Asked) -> bool:
    channel, account = asked.filters.get("channel"), asked.filters.get("account")
    return channel in (None, lane.channel) and account in (None, str(lane.id))


def _read_figures(found: Overview, receipts: Receipts | None) -> None:
    asked = found.asked
    read = _read(asked)
    total = read.totals.to_date
    running = [each for each in found.incidents if each.closed_at is None]
    found.tiles = overview_tiles.tiles(asked, read.totals, read.before, found.lanes, receipts, running)
    found.findings = _findings(asked, total, read.accounts)
    found.enough, found.judged = total.created > 0, total.sent >= diagnosis.ENOUGH
    found.charts = overview_charts.charts_of(
        asked, read.series, read.accounts, read.heat, marks(found.incidents, asked)
    )
    asks = overview_details.unreported(total, read.before)
    tracked = _kept("tracked", asked, lambda: _tracked(asked)) if asks else Tracked()
    found.details = overview_details.groups(asked, total, read.before, tracked)
    found.providers = overview_tables.providers(asked, read.accounts, read.series, found.lanes)
    found.reasons = overview_tables.reasons(asked, read.accounts)
    found.bouncers = _kept("bouncers", asked, lambda: _bouncers(asked)) if found.enough else []


def marks(found: Sequence[Incident], asked: Asked) -> list[Mark]:
    """Incidents as they are drawn on the charts."""
    return [
        Mark(max(each.opened_at, asked.scope.since), min(each.closed_at or asked.now, asked.scope.until), each.name)
        for each in found
    ]


def _read(asked: Asked) -> Read:
    maturities = _kept_for("maturity", "", metrics.maturity)
    accounts = metrics.by(asked.scope, "account")
    return Read(
        accounts=accounts,
        totals=metrics.totals_matured(asked.scope, maturities),
        before=metrics.totals(asked.scope.before()),
        series=metrics.series_by(asked.scope, "account", asked.step, asked.zone),
        # that there is nothing is not kept: it ends when the first message comes
        heat=_kept("heat", asked, lambda: metrics.series(_week(asked.scope), "hour", asked.zone)) if accounts else [],
    )


def _week(scope: Scope) -> Scope:
    """The end of the period: of a week at least, of 90 days at most."""
    length = min(max(scope.until - scope.since, HEAT_OVER), HEAT_AT_MOST)
    return replace(scope, since=scope.until - length)


def _findings(asked: Asked, total: Figures, accounts: dict[Key, Figures]) -> list[tuple[Finding, str]]:
    """Who is to blame is only asked where there is trouble."""
    found = diagnosis.troubles(total)
    if not found:
        return []
    others = _kept("dimensions", asked, lambda: _dimensions(asked.scope))
    codes = asked.codes
    dimensions: dict[str, diagnosis.Named] = {
        "provider": {codes["account"].get(_number(key), "none"): each for key, each in accounts.items()},
        "project": {codes["project"].get(_number(key), "?"): each for key, each in others["project"].items()},
        **{name: {str(key): each for key, each in others[name].items()} for name in ("channel", "category")},
    }
    return [(diagnosis.finding(trouble, total, dimensions), asked.messages(status=trouble.status)) for trouble in found]


def _number(key: Key) -> int:
    return key if isinstance(key, int) else 0


def _dimensions(scope: Scope) -> dict[str, dict[Key, Figures]]:
    found = {"project": metrics.by(scope, "project"), "channel": metrics.by(scope, "channel")}
    categories = {} if scope.account_ids else metrics.by(scope, "category")  # those are not kept by account
    return {**found, "category": categories}


def _tracked(asked: Asked) -> Tracked:
    """What the projects that are shown have turned on."""
    settings = EngagementSettings.objects.all()
    if project := asked.filters.get("project"):
        settings = settings.filter(pk=int(project))
    on = settings.aggregate(
        opens=BoolOr(Q(opens=True) | Q(push_callbacks=True)),
        clicks=BoolOr(Q(clicks=True) | Q(short_links=True)),
        unsubscribe=BoolOr("unsubscribe"),
    )
    return Tracked(**{name: bool(value) for name, value in on.items()})


def _receipts() -> Receipts:
    oldest = Inbound.objects.filter(state="new").order_by("pk").values_list("pk", flat=True).first()
    unmatched = Unmatched.objects.filter(next_try_at__isnull=False)[: BOUND + 1].count()
    errors = Inbound.objects.order_by().filter(state="error")[: BOUND + 1].count()
    return Receipts(ids.time_of(oldest) if oldest else None, unmatched, errors)


def _bouncers(asked: Asked) -> list[Bouncer]:
    scope, filters = asked.scope, asked.filters
    params: dict[str, Any] = {
        "low": ids.floor(scope.since),
        "high": ids.floor(scope.until + timedelta(seconds=1)),
        **{name: filters.get(name) for name in ("project", "account", "channel")},
        "searched": SEARCHED,
        "most": BOUNCERS,
    }
    with connection.cursor() as cursor:
        cursor.execute(_BOUNCERS, params)
        rows = cursor.fetchall()
    page = reverse("admin:tracking_message_changelist")
    return [Bouncer.of(recipient, count, ids.time_of(last), page) for recipient, count, last in rows]


# --- what is kept for a while in this process


def _kept(what: str, asked: Asked, read: Callable[[], Kept]) -> Kept:
    period = asked.period if asked.period != "custom" else f"{asked.scope.since:%s}-{asked.scope.until:%s}"
    return _kept_for(what, f"{period}:{asked.zone.key}:{sorted(asked.filters.items())}", read)


def _kept_for(what: str, which: str, read: Callable[[], Kept]) -> Kept:
    key = f"overview:{what}:{which}".replace(" ", "")
    kept: Kept | None = cache.get(key)
    if kept is None:
        kept = read()
        cache.set(key, kept, A_WHILE)
    return kept
