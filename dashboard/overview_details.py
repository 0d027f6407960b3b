"""The figures behind the tiles: what recipients did, how long it took, what became of all messages. Pure; called by
overview.

Every metric that has no tile stands here with its definition, its count and its change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dashboard.overview_form import Asked
from dashboard.overview_tiles import Change, change, lasting, percent
from tracking.figures import DEFINITIONS, Definition, Figures

FINE = 0.0005  # a change of an engagement rate that is called none: a complaint in a thousand is many
OFF = "not tracked: {} is off"  # in all projects that are shown


@dataclass(frozen=True, slots=True)
class Tracked:
    """What projects have turned on."""

    opens: bool = False
    clicks: bool = False
    unsubscribe: bool = False


@dataclass(frozen=True, slots=True)
class Detail:
    """One row. `why`: for what reason there is no figure; `leads`: where its list differs from what is counted."""

    key: str
    definition: Definition
    figure: str
    count: str = ""
    change: Change | None = None
    url: str = ""
    why: str = ""
    leads: str = "Show the messages"


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    hint: str
    columns: tuple[str, str]  # of the count and of the figure
    rows: Sequence[Detail]


def groups(asked: Asked, total: Figures, before: Figures, tracked: Tracked) -> list[Group]:
    return [
        Group("Engagement", "what recipients did", ("Messages", "Rate"), _engagement(asked, total, before, tracked)),
        Group("Times and attempts", "", ("Counted", "Value"), _times(asked, total, before)),
        Group("What became of them", "of all messages", ("Messages", "Share"), _outcomes(asked, total, before)),
    ]


# --- what recipients did


@dataclass(frozen=True, slots=True)
class _Rate:
    counter: str
    whole: str
    good: int  # 1 where more is better
    switch: str = ""  # what must be on to be told of it; "": providers tell of it unasked
    named: str = ""


_RATES = {
    "read_rate": _Rate("read", "delivered", 1, "opens", "open tracking"),
    "machine_open_rate": _Rate("machine_opened", "sent", 0, "opens", "open tracking"),
    "click_rate": _Rate("clicked", "delivered", 1, "clicks", "click tracking"),
    "unsubscribe_rate": _Rate("unsubscribed", "delivered", -1, "unsubscribe", "one-click unsubscribe"),
    "complaint_rate": _Rate("complained", "delivered", -1),
}


def unreported(total: Figures, before: Figures) -> bool:
    """Whether somebody must know what is tracked: where all was reported, all is."""
    return any(rate.switch and not _reported(rate, total, before) for rate in _RATES.values())


def _reported(rate: _Rate, total: Figures, before: Figures) -> bool:
    return bool(getattr(total, rate.counter) or getattr(before, rate.counter))


def _engagement(asked: Asked, total: Figures, before: Figures, tracked: Tracked) -> list[Detail]:
    found = []
    for key, rate in _RATES.items():
        definition, count = DEFINITIONS[key], getattr(total, rate.counter)
        if rate.switch and not getattr(tracked, rate.switch) and not _reported(rate, total, before):
            found.append(Detail(key, definition, "–", why=OFF.format(rate.named)))
            continue
        compared = change(total, before, partial(Figures.value, metric=key), good=rate.good, small=FINE)
        url = asked.messages(status="read") if key == "read_rate" else ""
        why = "" if getattr(total, rate.whole) else f"nothing was {rate.whole}"
        found.append(Detail(key, definition, percent(total.value(key)), f"{count:,}", compared, url, why))
    return found


# --- how long it took, and how often it was tried


_DELIVERY_TIMES = ("delivery_mean", "delivery_p50", "delivery_p95", "delivery_p99")


def _times(asked: Asked, total: Figures, before: Figures) -> list[Detail]:
    return [
        *(_time(asked, key, total, before) for key in _DELIVERY_TIMES),
        Detail(
            "attempts_started",
            DEFINITIONS["attempts_started"],
            "",
            f"{total.attempts_started:,}",
            change(total, before, lambda each: float(each.attempts_started), good=0, share=False),
        ),
        _share("attempt_success", total, before, total.attempts_accepted, "nothing was tried"),
        _share("receipt_coverage", total, before, total.attempts_receipted, "no provider took any"),
        _share("health", total, before, None, "nothing was tried"),
    ]


def _time(asked: Asked, key: str, total: Figures, before: Figures) -> Detail:
    value: Callable[[Figures], float | None] = partial(Figures.value, metric=key)
    compared = change(total, before, value, good=-1, share=False)
    link = asked.messages(status="delivered,read")
    why = "" if total.timed else "nothing was delivered"
    return Detail(key, DEFINITIONS[key], lasting(value(total)).strip(), f"{total.timed:,}", compared, link, why)


def _share(key: str, total: Figures, before: Figures, count: int | None, nothing: str) -> Detail:
    value = total.value(key)
    compared = change(total, before, partial(Figures.value, metric=key), good=1)
    counted = "" if count is None else f"{count:,}"
    return Detail(key, DEFINITIONS[key], percent(value), counted, compared, why=nothing if value is None else "")


# --- what became of them

# counter → (what the message list is asked for, where that differs)
_OUTCOMES: dict[str, tuple[dict[str, str], str]] = {
    "sent": ({}, ""),
    "delivered": ({"status": "delivered,read"}, ""),
    "bounced": ({"status": "bounced"}, ""),
    "failed": ({"status": "failed"}, "the list also has those that were never sent"),
    "unknown": ({"status": "unknown"}, ""),
    "in_flight": ({"status": "processing,sent"}, "those that wait for a retry are in the list of the waiting"),
    "pending": ({"status": "pending"}, "the list also has those that wait for a retry"),
    "cancelled": ({"status": "cancelled"}, "the list also has those that had been tried"),
    "suppressed": ({"status": "failed", "reason": "suppressed"}, ""),
    "expired": ({"status": "failed", "reason": "expired"}, "the list also has those that had been tried"),
    "rejected": ({"status": "failed", "reason": "rejected"}, ""),
}


def _outcomes(asked: Asked, total: Figures, before: Figures) -> list[Detail]:
    found = []
    for key, (query, differs) in _OUTCOMES.items():
        count: int = getattr(total, key)
        compared = change(total, before, partial(_counted, key=key), good=0, share=False) if count else None
        url = asked.messages(**query) if query and count else ""
        share = percent(count / total.created if total.created else None)
        leads = f"Show the messages; {differs}" if differs else "Show the messages"
        found.append(Detail(key, DEFINITIONS[key], share, f"{count:,}", compared, url, leads=leads))
    return [*found, _share("delivery_rate_finalised", total, before, total.finalised, "none has ended")]


def _counted(figures: Figures, key: str) -> float:
    return float(getattr(figures, key))
