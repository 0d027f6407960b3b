"""What an alert rule can watch, in one table; when a value is too bad, and how it is written. Pure; used by all
that has to do with alerts.

Values and thresholds stand in the unit that is shown: a share of 0.05 is 5 (%).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    unit: str
    what: str  # said beside the choice
    metric: str = ""  # of metrics.DEFINITIONS; "": not from the metrics
    volume: str = "sent"  # what the minimum volume counts
    low: bool = False  # too bad below the threshold, and not from it on
    statuses: str = ""  # of the messages that an incident leads to
    windowed: bool = True
    built_in: bool = False
    accounts: bool = False  # one incident for each account
    example: float = 1  # a threshold, to show its unit by


KINDS: dict[str, Kind] = {
    "delivery_low": Kind(
        "Delivery rate low",
        "%",
        "delivered / (delivered + failed + bounced) of the messages made in the window; those in flight do not count",
        "delivery_rate_finalised",
        "finalised",
        low=True,
        statuses="bounced,failed",
        example=95,
    ),
    "bounce_high": Kind("Bounce rate high", "%", "bounced / sent", "bounce_rate", statuses="bounced", example=5),
    "failure_high": Kind("Failure rate high", "%", "failed / sent", "failure_rate", statuses="failed", example=2.5),
    "latency_high": Kind(
        "Delivery time high",
        "s",
        "p95: 95 % of the delivered messages took at most this many seconds",
        "delivery_p95",
        "timed",
        example=30,
    ),
    "slow_high": Kind(
        "Slow ratio high",
        "%",
        "sent messages that took, or have been on their way for, longer than 5 min (e-mail) or 1 min (others) / sent",
        "slow_ratio",
        example=10,
    ),
    "backlog_count": Kind(
        "Backlog: messages due",
        "messages",
        "messages that could go now, counted up to 50,000 for each account",
        statuses="pending",
        windowed=False,
        example=1_000,
    ),
    "backlog_age": Kind(
        "Backlog: oldest message due",
        "s",
        "for how many seconds the oldest of those that could go now has waited",
        statuses="pending",
        windowed=False,
        example=300,
    ),
    "silent": Kind(
        "Provider silent",
        "%",
        "attempts with a receipt / attempts that the account took, for each account with receipts in the last 7 days",
        "receipt_coverage",
        "attempts_accepted",
        low=True,
        statuses="sent",
        accounts=True,
        example=50,
    ),
    "anomaly": Kind(
        "Unusual for the hour",
        "×",
        "how far a metric is from the same hours of the last four weeks, in times its usual distance, up or down",
        "anomaly",
        example=3,
    ),
    "circuit": Kind(
        "Circuit open or account at fault",
        "failures",
        "failures in a row of an account that nothing is handed over to",
        statuses="pending",
        windowed=False,
        built_in=True,
        accounts=True,
    ),
    "heartbeat": Kind("Heartbeat missing", "loops", "loops without a sign of life", windowed=False, built_in=True),
    "invariants": Kind(
        "Invariant check failing",
        "differences",
        "what the last recount found to differ; it runs every night, and on demand",
        windowed=False,
        built_in=True,
    ),
    "endpoint": Kind(
        "Webhook endpoint switched off by itself",
        "endpoints",
        "endpoints that answered 410, or failed for days, in the last week, and were not switched on again",
        windowed=False,
        built_in=True,
    ),
}
CHOICES = [(key, kind.name) for key, kind in KINDS.items()]
# What may be watched for what is unusual.
ANOMALIES = (
    "created",
    "sent",
    "delivery_rate",
    "bounce_rate",
    "failure_rate",
    "delivery_p95",
    "slow_ratio",
    "complaint_rate",
    "attempt_success",
)
WINDOWS = {5: "5 min", 15: "15 min", 30: "30 min", 60: "1 h", 180: "3 h", 360: "6 h", 1440: "24 h"}
SEVERITIES = ("info", "warning", "critical")
WORSE = 2.0  # times as bad as it was when somebody was last told


def breached(kind: str, *, value: float | None, threshold: float, volume: int | None, minimum: int) -> bool:
    """Nothing is said about too few messages."""
    if value is None or (volume is not None and volume < minimum):
        return False
    return value < threshold if KINDS[kind].low else abs(value) >= threshold


def badness(kind: str, value: float) -> float:
    """Grows as it gets worse; of a rate that should be high it is what lacks to 100 %."""
    return 100 - value if KINDS[kind].low else abs(value)


def shown(kind: str, value: float | None) -> str:
    """A value with its unit: 12.3 %, 4 min 10 s, 1,204 messages."""
    if value is None:
        return "–"
    unit = KINDS[kind].unit
    if unit == "s":
        return lasting(value)
    if unit == "×":
        return f"{value:+.1f} ×"
    if unit == "%":
        return f"{value:.3g} %" if value < 99 else f"{value:.2f}".rstrip("0").rstrip(".") + " %"
    return f"{value:,.0f} {unit if value != 1 else unit.removesuffix('s')}"


def limit(kind: str, threshold: float) -> str:
    """From where on it is too bad: below 95 %, from 30 s, ± 3.0 ×."""
    value = shown(kind, threshold).removeprefix("+")
    if kind == "anomaly":
        return f"± {value}"
    return f"below {value}" if KINDS[kind].low else f"from {value}"


def example(kind: str) -> str:
    """What a threshold of it means."""
    threshold = KINDS[kind].example
    return f"threshold {threshold:g}: too bad {limit(kind, threshold)}"


def lasting(seconds: float) -> str:
    """4 min 10 s, 1 h 46 min."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"
