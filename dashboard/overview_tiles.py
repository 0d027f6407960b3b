"""The tiles of the overview: a figure, what it means, its change against the period before, where it leads. Pure;
called by overview."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

from django.urls import reverse

from dashboard import words
from dashboard.lanes import BOUND, Lane
from dashboard.models import Incident
from dashboard.overview_form import Asked
from tracking.figures import DEFINITIONS, Definition, Figures
from tracking.metrics import Matured

ENOUGH = 20  # messages in both periods: a change between fewer is chance
SMALL = 0.002  # a share's change that is called none

OWN = {
    "backlog": Definition(
        "Due now", "messages in the queue whose time has come and that nobody is sending", "messages"
    ),
    "receipts": Definition(
        "Receipts to read",
        "age of the oldest request of a provider that has not been read yet; unmatched: receipts whose message is not"
        " known, still tried",
        "s",
    ),
    "incidents": Definition("Open incidents", "alerts that have opened and not closed", ""),
}


@dataclass(frozen=True, slots=True)
class Receipts:
    oldest: datetime | None
    unmatched: int
    errors: int


@dataclass(frozen=True, slots=True)
class Change:
    """`tone`: better, worse or same."""

    text: str
    sign: str
    word: str
    tone: Literal["better", "worse", "same"]


@dataclass(frozen=True, slots=True)
class Tile:
    key: str
    definition: Definition
    figure: str
    url: str = ""
    unit: str = ""
    notes: tuple[str, ...] = ()
    change: Change | None = None
    bad: bool = False
    leads: str = "show the messages"  # what its link does


def tiles(
    asked: Asked,
    totals: Matured,
    before: Figures,
    lanes: Sequence[Lane],
    receipts: Receipts | None,
    incidents: Sequence[Incident],
) -> list[Tile]:
    found = [*_of_messages(asked, totals, before)]
    if lanes:
        found.append(_backlog(asked, lanes))
    if receipts:
        found.append(_receipts(asked, receipts))
    return [*found, _incidents(incidents)]


def _of_messages(asked: Asked, totals: Matured, before: Figures) -> list[Tile]:
    total, matured = totals.to_date, totals.matured
    rates = [(name, total.bounce_rate_of(name)) for name in total.bounced_by]
    classes = sorted(((rate, name) for name, rate in rates if rate), reverse=True)
    never = total.suppressed + total.expired + total.rejected  # they end as failed, and are no failures of delivery
    compared = partial(change, total, before)

    return [
        Tile(
            "created",
            DEFINITIONS["created"],
            short(total.created),
            asked.messages(),
            notes=(f"{total.sent:,} sent", f"{total.in_flight:,} in flight"),
            change=compared(lambda each: float(each.created), good=0, share=False),
        ),
        Tile(
            "delivery_rate",
            DEFINITIONS["delivery_rate"],
            percent(total.delivery_rate),
            asked.messages(status="delivered,read"),
            notes=("to date", f"matured {percent(matured.delivery_rate)}"),
            change=compared(lambda each: each.delivery_rate, good=1),
        ),
        Tile(
            "bounce_rate",
            DEFINITIONS["bounce_rate"],
            percent(total.bounce_rate),
            asked.messages(status="bounced"),
            notes=tuple(f"{name} {percent(rate)}" for rate, name in classes[:3]) or ("none",),
            change=compared(lambda each: each.bounce_rate, good=-1),
        ),
        Tile(
            "failure_rate",
            DEFINITIONS["failure_rate"],
            percent(total.failure_rate),
            asked.messages(status="failed"),
            notes=(f"{total.failed:,} messages", *([f"the list has {never:,} more, never sent"] if never else [])),
            change=compared(lambda each: each.failure_rate, good=-1),
        ),
        Tile(
            "delivery_p50",
            DEFINITIONS["delivery_p50"],
            *_seconds(total.delivery_p50, asked.messages(status="delivered,read")),
            notes=(f"p95 {lasting(total.delivery_p95)}", f"p99 {lasting(total.delivery_p99)}"),
            change=compared(lambda each: each.delivery_p50, good=-1, share=False),
        ),
        Tile(
            "slow_ratio",
            DEFINITIONS["slow_ratio"],
            percent(total.slow_ratio),
            asked.messages(status="processing,sent"),
            notes=(f"{total.late:,} late", f"{total.overdue:,} overdue"),
            change=compared(lambda each: each.slow_ratio, good=-1),
            leads="show those that are still on their way, overdue ones among them; late ones have arrived",
        ),
    ]


def _backlog(asked: Asked, lanes: Sequence[Lane]) -> Tile:
    due = sum(lane.due for lane in lanes)
    oldest = min((lane.oldest for lane in lanes if lane.oldest), default=None)
    waits = f"oldest {words.ago(oldest, asked.now)}" if oldest else "nothing waits"
    later = sum(lane.scheduled for lane in lanes)
    notes = (waits, f"{later:,} later")
    bad = bool(oldest and (asked.now - oldest).total_seconds() > 300)
    return Tile("backlog", OWN["backlog"], upto(due), asked.messages(status="pending"), notes=notes, bad=bad)


def _receipts(asked: Asked, receipts: Receipts) -> Tile:
    lag = (asked.now - receipts.oldest).total_seconds() if receipts.oldest else 0.0
    page = reverse("admin:tracking_inbound_changelist")
    url = f"{page}?state=error" if receipts.errors else f"{page}?state=new"
    if receipts.unmatched and not receipts.errors:
        url = f"{reverse('admin:tracking_unmatched_changelist')}?state=waiting"
    notes = (f"{upto(receipts.unmatched)} unmatched", f"{upto(receipts.errors)} unreadable")
    figure, link, unit = _seconds(max(0.0, lag), url)
    return Tile("receipts", OWN["receipts"], figure, link, unit, notes, bad=lag > 60 or receipts.errors > 0)


def _incidents(incidents: Sequence[Incident]) -> Tile:
    return Tile(
        "incidents",
        OWN["incidents"],
        str(len(incidents)),
        reverse("admin:dashboard_incident_changelist"),
        notes=tuple(each.name for each in incidents[:2]) or ("all quiet",),
        bad=bool(incidents),
    )


def change(
    total: Figures,
    before: Figures,
    of: Callable[[Figures], float | None],
    *,
    good: int,
    share: bool = True,
    small: float = SMALL,
) -> Change | None:
    """Against the period before; None where there is nothing to compare. `good`: 1 where more is better, -1 where less
    is, 0 where neither; `small`: a share's change that is called none."""
    now, then = of(total), of(before)
    if min(total.sent, before.sent) < ENOUGH or now is None or then is None or not (share or then):
        return None
    difference = now - then if share else now / then - 1
    if abs(difference) < (small if share else 0.02):
        return Change("", "=", "the same", "same")
    text = f"{abs(difference) * 100:.1f} points" if share else f"{abs(difference) * 100:.0f} %"
    sign = "▲" if difference > 0 else "▼"
    if not good:
        more, fewer = ("higher", "lower") if share else ("more", "fewer")
        return Change(text, sign, more if difference > 0 else fewer, "same")
    tone: Literal["better", "worse"] = "better" if difference * good > 0 else "worse"
    return Change(text, sign, tone, tone)


# --- how figures are written


def percent(share: float | None) -> str:
    """One decimal place; what is not all and not nothing never looks so."""
    if share is None:
        return "–"
    if 0.9995 <= share < 1:
        return "99.9 %"
    return f"{share * 100:.1f} %" if share == 0 or share >= 0.0005 else "< 0.1 %"


def short(count: int) -> str:
    if count < 100_000:
        return f"{count:,}"
    return f"{count / 1e3:,.0f} k" if count < 10_000_000 else f"{count / 1e6:,.1f} M"


def upto(count: int) -> str:
    return f"{BOUND:,}+" if count > BOUND else f"{count:,}"


def lasting(seconds: float | None) -> str:
    return " ".join(_length(seconds))


def _seconds(seconds: float | None, url: str) -> tuple[str, str, str]:
    figure, unit = _length(seconds)
    return figure, url, unit


def _length(seconds: float | None) -> tuple[str, str]:
    if seconds is None:
        return "–", ""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f}", "ms"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f}", unit
    return (f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"), "s"
