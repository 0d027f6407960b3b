"""What the page of a provider account shows. Reads only; called by the admin.

Figures come from the rollups; receipts and failures are looked for in a bounded number of rows, and the page says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from dashboard import sparkbars, words
from dashboard.inbound_page import read_receipts
from providers.base import Receipt
from providers.models import ProviderAccount
from tracking import ids, metrics
from tracking.figures import DEFINITIONS, Definition, Figures
from tracking.metrics import Scope, Step
from tracking.models import Inbound, QueueRow

BOUND = 10_000  # queue rows counted at most
RECEIPTS = 8  # on one page
LOOKED_THROUGH = 20_000  # requests of all accounts, for one page of receipts
FAILURES = 1_000  # attempts with a failure that are looked at
READ = 64 * 1024  # bytes of a request that are read to say what it holds


@dataclass(frozen=True, slots=True)
class Period:
    key: str
    title: str
    span: timedelta
    step: Step


PERIODS = {
    each.key: each
    for each in (
        Period("24h", "24 hours", timedelta(days=1), "hour"),
        Period("7d", "7 days", timedelta(days=7), "day"),
    )
}
_AS_BEFORE = "as before"  # what is shown of a change that is too small to be told
# metric, whether more of it is better (None: neither), and what it leads to
_TILES: tuple[tuple[str, bool | None, str], ...] = (
    ("health", True, ""),
    ("sent", None, ""),
    ("delivery_rate", True, "&status=delivered,read"),
    ("bounce_rate", False, "&status=bounced"),
    ("failure_rate", False, "&status=failed"),
    ("delivery_p95", False, ""),
    ("attempt_success", True, ""),
    ("receipt_coverage", True, ""),
)


@dataclass(frozen=True, slots=True)
class Tile:
    name: str
    definition: Definition
    shown: str
    change: str  # against the period before
    tone: str  # better, worse or ""
    query: str
    note: str = ""  # how its list differs


@dataclass(frozen=True, slots=True)
class Failure:
    """One reason for which attempts failed."""

    failure: str
    bounce: str
    code: str
    count: int
    text: str  # of the newest
    message_id: UUID

    @property
    def tone(self) -> str:
        return "bounced" if self.bounce else "failed"

    @property
    def words(self) -> str:
        return words.failure(self.failure) or "no class"


@dataclass(frozen=True, slots=True)
class Request:
    """One raw request, and what the adapter reads in it."""

    id: UUID
    state: str
    error: str
    says: tuple[tuple[str, int], ...]

    @property
    def received_at(self) -> datetime:
        return ids.time_of(self.id)


def figures(account: ProviderAccount, period: Period) -> dict[str, Any]:
    now = datetime.now(UTC)
    scope = Scope(now - period.span, now, account_ids=[account.pk])
    current, before = metrics.totals(scope), metrics.totals(scope.before())
    series = metrics.series(scope, period.step, UTC)
    return {
        "period": period,
        "periods": PERIODS.values(),
        "tiles": [_tile(name, good, query, current, before) for name, good, query in _TILES],
        "chart": sparkbars.chart(series),
        "tones": [(sparkbars.TONES.get(name, name), name.replace("_", " ")) for name in sparkbars.STACK],
        "series": series,
        "failed_by": sorted(current.attempts_failed_by.items(), key=lambda item: -item[1]),
        "bounced_by": sorted(current.attempts_bounced_by.items(), key=lambda item: -item[1]),
        "attempts": current.attempts_started,
    }


def _tile(name: str, good: bool | None, query: str, current: Figures, before: Figures) -> Tile:
    definition = DEFINITIONS[name]
    value, was = current.value(name), before.value(name)
    change = _change(value, was, definition.unit)
    tone = ""
    if good is not None and value is not None and was is not None and change != _AS_BEFORE:
        tone = "better" if (value > was) is good else "worse"
    never = current.suppressed + current.expired + current.rejected if name == "failure_rate" else 0
    note = f"the list has {never:,} more, never sent" if never else ""
    return Tile(name, definition, shown(value, definition.unit), change, tone, query, note)


def shown(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "%":
        return f"{value * 100:.1f} %"
    if unit == "s":
        return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"
    return f"{value:,.0f}"


def _change(value: float | None, was: float | None, unit: str) -> str:
    if value is None:
        return "nothing to count"
    if was is None:
        return "nothing to compare with"
    if unit == "%":
        points = (value - was) * 100
        return f"{points:+.1f} points" if abs(points) >= 0.05 else _AS_BEFORE
    if not was:
        return "none before"
    share = (value - was) / was * 100
    return f"{share:+.0f} %" if abs(share) >= 0.5 else _AS_BEFORE


def in_flight(account: ProviderAccount) -> tuple[int, int]:
    """Hand-overs under way, and messages that wait for the account. Counted up to BOUND."""
    rows = QueueRow.objects.filter(account_id=account.pk).order_by()
    going = rows.filter(lease_token__isnull=False)[: BOUND + 1].count()
    return going, rows.filter(lease_token__isnull=True)[: BOUND + 1].count()


# --- what is loaded when it is looked for


_FAILURES = """
SELECT failure, bounce, code, count(*), (array_agg(text ORDER BY message_id DESC))[1], max(message_id::text)::uuid
  FROM (SELECT message_id, coalesce(failure, '') AS failure, coalesce(bounce, '') AS bounce, code, text FROM attempt
         WHERE account_id = %s AND cause_at IS NOT NULL ORDER BY message_id DESC LIMIT %s) newest
 GROUP BY 1, 2, 3 ORDER BY 4 DESC, 6 DESC LIMIT 40
"""


def failures(account: ProviderAccount) -> list[Failure]:
    """By class and the vendor's code, of the newest FAILURES attempts that have one."""
    with connection.cursor() as cursor:
        cursor.execute(_FAILURES, [account.pk, FAILURES])
        return [
            Failure(failure, bounce, code, count, text, key)
            for failure, bounce, code, count, text, key in cursor.fetchall()
        ]


def receipts(account: ProviderAccount, before: UUID | None) -> dict[str, Any]:
    """One page of the account's raw requests, newest first. No index leads from an account to them: a page looks
    through a bounded number of all accounts' requests, and says where it ended."""
    rows = Inbound.objects.order_by("-pk")
    rows = rows if before is None else rows.filter(pk__lt=before)
    edge = rows.values_list("pk", flat=True)[LOOKED_THROUGH : LOOKED_THROUGH + 1].first()
    mine = rows.filter(account_id=account.pk)
    mine = mine if edge is None else mine.filter(pk__gte=edge)
    found = list(mine[: RECEIPTS + 1])
    page, more = found[:RECEIPTS], len(found) > RECEIPTS
    return {
        "requests": [Request(row.pk, row.state, row.error, _says(row)) for row in page],
        "older": page[-1].pk if more else edge,
        "looked_to": None if more or edge is None else ids.time_of(edge),
        "first_page": before is None,
    }


def _says(row: Inbound) -> tuple[tuple[str, int], ...]:
    body = bytes(row.body)
    found: Sequence[Receipt] = read_receipts(row, body)[0] if len(body) <= READ else ()
    counts: Mapping[str, int] = Counter(_in_words(receipt) for receipt in found)
    return tuple(sorted(counts.items(), key=lambda item: -item[1])[:6])


def _in_words(receipt: Receipt) -> str:
    return " ".join(filter(None, (receipt.kind.value, receipt.code, "" if receipt.known else "(not known)")))
