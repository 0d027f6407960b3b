"""The formulas: every metric that is shown, from counters, and its definition in words. Pure; called by `metrics`.

Each property of `Figures` is one metric of DEFINITIONS. A zero denominator gives None, which is shown as a dash.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import accumulate
from operator import add
from typing import Any, NamedTuple

from providers.base import FailureClass
from tracking.counters import BOUNCES, EDGES, FAILURES


class Definition(NamedTuple):
    """What a metric means: shown as a tooltip and in docs/metrics.md."""

    name: str
    formula: str
    unit: str  # "%": the value is a share between 0 and 1


# Failures of the provider or of our way to it; the others are the recipient's or the message's.
PROVIDER_FAULTS = (FailureClass.TEMPORARY, FailureClass.RATE_LIMIT, FailureClass.TIMEOUT)


@dataclass(frozen=True, slots=True)
class Figures:
    """Counters of some cohort of messages and of the attempts started in the same time, and what follows from them."""

    # messages, by the time at which they were made
    created: int = 0
    sent: int = 0
    delivered: int = 0
    failed: int = 0
    bounced: int = 0
    unknown: int = 0
    in_flight: int = 0
    processing: int = 0  # of those in flight: being handed over
    waiting_again: int = 0  # of those in flight: a retry waits
    pending: int = 0
    cancelled: int = 0
    suppressed: int = 0
    expired: int = 0
    rejected: int = 0
    read: int = 0
    opened: int = 0
    machine_opened: int = 0
    clicked: int = 0
    complained: int = 0
    unsubscribed: int = 0
    timed: int = 0
    late: int = 0
    overdue: int = 0  # in flight for longer than T: the only one that changes as time goes by
    delivery_ms: int = 0
    failed_by: Mapping[str, int] = field(default_factory=dict)  # reason → messages, without zeros
    bounced_by: Mapping[str, int] = field(default_factory=dict)  # bounce class → messages
    # attempts, by the time at which they started
    attempts_started: int = 0
    attempts_accepted: int = 0
    attempts_receipted: int = 0
    attempts_delivered: int = 0
    attempts_failed: int = 0
    attempts_bounced: int = 0
    attempts_unknown: int = 0
    attempts_failed_by: Mapping[str, int] = field(default_factory=dict)
    attempts_bounced_by: Mapping[str, int] = field(default_factory=dict)
    latency: tuple[int, ...] = ()  # messages in each bin of counters.EDGES; () where it was not read

    @property
    def finalised(self) -> int:
        return self.delivered + self.failed + self.bounced

    @property
    def delivery_rate(self) -> float | None:
        return _share(self.delivered, self.sent)

    @property
    def delivery_rate_finalised(self) -> float | None:
        return _share(self.delivered, self.finalised)

    @property
    def bounce_rate(self) -> float | None:
        return _share(self.bounced, self.sent)

    @property
    def failure_rate(self) -> float | None:
        return _share(self.failed, self.sent)

    def bounce_rate_of(self, bounce: str) -> float | None:
        return _share(self.bounced_by.get(bounce, 0), self.sent)

    def failure_rate_of(self, reason: str) -> float | None:
        return _share(self.failed_by.get(reason, 0), self.sent)

    @property
    def read_rate(self) -> float | None:
        return _share(self.read, self.delivered)

    @property
    def click_rate(self) -> float | None:
        return _share(self.clicked, self.delivered)

    @property
    def complaint_rate(self) -> float | None:
        return _share(self.complained, self.delivered)

    @property
    def unsubscribe_rate(self) -> float | None:
        return _share(self.unsubscribed, self.delivered)

    @property
    def machine_open_rate(self) -> float | None:
        return _share(self.machine_opened, self.sent)

    @property
    def delivery_mean(self) -> float | None:
        mean = _share(self.delivery_ms, self.timed)
        return None if mean is None else mean / 1000

    @property
    def delivery_p50(self) -> float | None:
        return self.percentile(0.50)

    @property
    def delivery_p95(self) -> float | None:
        return self.percentile(0.95)

    @property
    def delivery_p99(self) -> float | None:
        return self.percentile(0.99)

    @property
    def slow_ratio(self) -> float | None:
        return _share(self.late + self.overdue, self.sent)

    @property
    def attempt_success(self) -> float | None:
        return _share(self.attempts_accepted, self.attempts_started)

    @property
    def receipt_coverage(self) -> float | None:
        return _share(self.attempts_receipted, self.attempts_accepted)

    @property
    def health(self) -> float | None:
        faults = sum(self.attempts_failed_by.get(each, 0) for each in PROVIDER_FAULTS) + self.attempts_unknown
        lost = _share(faults, self.attempts_started)
        return None if lost is None else 1 - lost

    def percentile(self, share: float) -> float | None:
        """Seconds: the geometric middle of the bin that holds the value of that rank."""
        total = sum(self.latency)
        if not total:
            return None
        rank = max(1, math.ceil(total * share))
        place = bisect_left(list(accumulate(self.latency)), rank)
        low, high = EDGES[max(0, place - 1)], EDGES[min(place, len(EDGES) - 1)]
        return float((low * high) ** 0.5)

    def value(self, metric: str) -> float | None:
        """A metric or counter by its key, as alert rules and columns name it. Raises KeyError where there is none."""
        name, _, of = metric.partition(":")
        if of and name in _RATE_OF and of in _RATE_OF[name][1]:
            return _share(getattr(self, _RATE_OF[name][0]).get(of, 0), self.sent)
        if of or name not in DEFINITIONS:
            raise KeyError(metric)
        value: float | None = getattr(self, name)
        return value

    @classmethod
    def of(cls, counts: Mapping[str, int], latency: Sequence[int] = ()) -> Figures:
        """From counter → how much, and the histogram."""
        values: dict[str, Any] = {}
        for name, count in counts.items():
            if count:
                group, place = _PLACES[name]
                if group:
                    values.setdefault(group, {})[place] = count
                else:
                    values[place] = count
        return cls(**values, latency=tuple(latency))


def together(parts: Iterable[Figures]) -> Figures:
    """The figures of several cohorts as those of one."""
    sums: dict[str, Any] = {}
    for part in parts:
        for each in fields(part):
            value = getattr(part, each.name)
            if value:
                sums[each.name] = _added(sums[each.name], value) if each.name in sums else value
    return Figures(**sums)


def _added(one: Any, other: Any) -> Any:
    if isinstance(one, tuple):
        return tuple(map(add, one, other))
    return dict(Counter(one) + Counter(other)) if isinstance(one, Mapping) else one + other


_RATE_OF = {"failure_rate": ("failed_by", FAILURES), "bounce_rate": ("bounced_by", BOUNCES)}
_GROUPS = {"failed": FAILURES, "bounced": BOUNCES, "attempts_failed": FAILURES, "attempts_bounced": BOUNCES}
# counter → the field that holds its group, if it is of one, and its name there
_PLACES = {f"{group}_{each}": (f"{group}_by", each) for group, names in _GROUPS.items() for each in names} | {
    name: ("", name) for name, kind in Figures.__annotations__.items() if kind == "int"
}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


DEFINITIONS: dict[str, Definition] = {
    "created": Definition("Messages", "messages handed in, whatever became of them", "messages"),
    "sent": Definition(
        "Sent",
        "messages handed to a provider at least once = delivered + failed + bounced + in flight + unknown",
        "messages",
    ),
    "delivered": Definition("Delivered", "sent messages that are delivered or read", "messages"),
    "failed": Definition("Failed", "sent messages that failed, or were cancelled while a retry waited", "messages"),
    "bounced": Definition("Bounced", "sent messages that bounced", "messages"),
    "unknown": Definition("Unknown", "sent messages of which nobody knows what became of them", "messages"),
    "in_flight": Definition("In flight", "sent messages that have not ended, or wait for a retry", "messages"),
    "pending": Definition("Waiting", "messages that wait for their first hand-over", "messages"),
    "cancelled": Definition("Cancelled", "messages cancelled before any hand-over", "messages"),
    "suppressed": Definition("Suppressed", "messages not sent because of the suppression list", "messages"),
    "expired": Definition("Expired", "messages whose time was over before any hand-over", "messages"),
    "rejected": Definition("Rejected", "messages that ended before any hand-over for another reason", "messages"),
    "delivery_rate": Definition("Delivery rate", "delivered / sent", "%"),
    "delivery_rate_finalised": Definition(
        "Delivery rate of finalised", "delivered / (delivered + failed + bounced)", "%"
    ),
    "bounce_rate": Definition("Bounce rate", "bounced / sent; of a class: bounced with that class / sent", "%"),
    "failure_rate": Definition("Failure rate", "failed / sent; of a reason: failed for that reason / sent", "%"),
    "read_rate": Definition(
        "Read rate", "messages opened, clicked or read by a person / delivered; machine opens do not count", "%"
    ),
    "click_rate": Definition("Click rate", "messages clicked by a person / delivered", "%"),
    "complaint_rate": Definition("Complaint rate", "messages with a complaint / delivered", "%"),
    "unsubscribe_rate": Definition("Unsubscribe rate", "messages that led to an unsubscription / delivered", "%"),
    "machine_open_rate": Definition(
        "Machine opens", "messages opened by a prefetcher, privacy proxy or scanner / sent", "%"
    ),
    "delivery_mean": Definition("Mean delivery time", "sum of (delivered_at − sent_at) / messages that have both", "s"),
    "delivery_p50": Definition(
        "Median delivery time", "half of the delivered messages took at most this long; to 9.4 %", "s"
    ),
    "delivery_p95": Definition(
        "p95 delivery time", "95 % of the delivered messages took at most this long; to 9.4 %", "s"
    ),
    "delivery_p99": Definition(
        "p99 delivery time", "99 % of the delivered messages took at most this long; to 9.4 %", "s"
    ),
    "slow_ratio": Definition(
        "Slow ratio",
        "(delivered after more than T + in flight and made longer ago than T) / sent; T: e-mail 5 min, others 1 min",
        "%",
    ),
    "attempts_started": Definition("Attempts", "hand-overs to a provider that were started", "attempts"),
    "attempt_success": Definition("Attempt success", "attempts that the provider took / attempts started", "%"),
    "receipt_coverage": Definition(
        "Receipt coverage",
        "attempts with a receipt that says more than accepted or deferred / attempts that the provider took",
        "%",
    ),
    "health": Definition(
        "Account health",
        "1 − (attempts failed as temporary_failure, rate_limit or timeout + attempts with unknown outcome)"
        " / attempts started; the faults of recipients and of messages do not count",
        "%",
    ),
    "anomaly": Definition(
        "Anomaly",
        "(value − median of the same hours of the last four weeks) / the farthest of these four from their median, or"
        " 5 % of the median where that is more; at least two of the weeks must have a value",
        "×",
    ),
}
