"""What the first page shows. Every query is bounded: it costs the same with ten messages and with ten million.

Each part is read only where the user may see what it is about.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.urls import reverse

from dashboard import lanes
from dashboard.lanes import BOUND, Lane
from providers.models import ProviderAccount
from tracking.models import ApiKey, Grant, Inbound, Message, Project, Switch, Unmatched
from tracking.statuses import Status

NEWEST = 1_000  # messages that the status bar is made of
SEARCHED = 5_000  # newest messages among which the recent failures are sought
FAILURES = 8
LATE = timedelta(seconds=150)
TROUBLE = (Status.FAILED, Status.BOUNCED, Status.UNKNOWN)


@dataclass(slots=True)
class Share:
    status: str
    count: int
    percent: float
    start: float  # where it begins in the bar, in per cent


@dataclass(slots=True)
class Beat:
    name: str
    at: datetime
    late: bool


@dataclass(slots=True)
class Step:
    """Something to do first, in an installation that is new."""

    title: str
    text: str
    url: str
    done: bool


@dataclass(slots=True)
class Overview:
    now: datetime
    bound: int = BOUND
    steps: list[Step] = field(default_factory=list)
    switch: Switch | None = None
    paused: list[Project] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    newest: int = 0
    failures: list[Message] = field(default_factory=list)
    unmatched: int | None = None
    unread: int | None = None
    errors: int | None = None

    @property
    def due(self) -> int:
        return sum(lane.due for lane in self.lanes)

    @property
    def scheduled(self) -> int:
        return sum(lane.scheduled for lane in self.lanes)

    @property
    def oldest(self) -> datetime | None:
        return min((lane.oldest for lane in self.lanes if lane.oldest), default=None)


def read(user: AbstractBaseUser | AnonymousUser) -> Overview:
    now = datetime.now(UTC)
    found = Overview(now)
    may: Any = getattr(user, "has_perm", lambda name: False)
    if may("tracking.view_switch"):
        found.switch = Switch.objects.filter(sending_paused=True).first()
    if may("tracking.view_project"):
        found.paused = list(Project.objects.filter(paused=True)[:10])
        found.steps = _steps()
    if may("providers.view_provideraccount"):
        found.lanes = lanes.read(now)
        found.beats = [Beat(beat.name, beat.at, now - beat.at > LATE) for beat in lanes.beats()]
    if may("tracking.view_message"):
        found.shares, found.newest, found.failures = _newest()
    if may("tracking.view_inbound"):
        found.unmatched = Unmatched.objects.filter(next_try_at__isnull=False)[: BOUND + 1].count()
        found.errors = Inbound.objects.order_by().filter(state="error")[: BOUND + 1].count()
        found.unread = Inbound.objects.order_by().filter(state="new")[: BOUND + 1].count()
    return found


def _newest() -> tuple[list[Share], int, list[Message]]:
    """How the newest messages stand, and which of them went wrong last. A sign of life, no metric: those are made of
    rollups."""
    newest = list(Message.objects.order_by("-pk").values_list("pk", "status")[:SEARCHED])
    counts = Counter(status for _, status in newest[:NEWEST])
    total = min(len(newest), NEWEST)
    shares = _shares([(status.value, counts[status]) for status in Status if counts[status]], total)
    keys = [pk for pk, status in newest if status in TROUBLE][:FAILURES]
    return shares, total, list(Message.objects.filter(pk__in=keys).order_by("-pk")) if keys else []


def _shares(counts: list[tuple[str, int]], total: int) -> list[Share]:
    starts = accumulate((count for _, count in counts), initial=0)
    return [
        Share(status, count, 100 * count / total, 100 * start / total)
        for (status, count), start in zip(counts, starts, strict=False)
    ]


def _steps() -> list[Step]:
    """What is to be done first; nothing once a message has come in."""
    if Message.objects.order_by().exists():
        return []
    return [
        Step(
            "Add a provider account",
            "It says how messages leave: an SMTP server, a vendor’s API, or the sandbox, which sends nothing.",
            reverse("admin:providers_provideraccount_add"),
            ProviderAccount.objects.exists(),
        ),
        Step(
            "Add a project and grant it the account",
            "A project is one application that sends.",
            reverse("admin:tracking_project_add"),
            Grant.objects.exists(),
        ),
        Step(
            "Make an API key",
            "The application shows it with every request.",
            reverse("admin:tracking_apikey_add"),
            ApiKey.objects.filter(revoked=False).exists(),
        ),
        Step("Send a message", "POST it to /v1/notifications: the README has a curl for it.", "", False),
    ]
