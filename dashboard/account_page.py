"""What the page of a provider account shows. Reads only; called by the admin.

Figures come from the rollups; receipts and failures are looked for in a bounded number of rows, and the page says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection
from django.http import HttpRequest, QueryDict

from dashboard import account_charts, words
from dashboard.charts import Mark
from dashboard.filters import codes
from dashboard.inbound_page import read_receipts
from dashboard.overview_form import SPANS, ZONE_COOKIE, ZONES, Asked, OverviewForm
from dashboard.overview_tiles import Tile, change, lasting, percent, short
from providers.base import Receipt
from providers.models import ProviderAccount
from tracking import ids, metrics
from tracking.figures import DEFINITIONS, Figures
from tracking.metrics import Scope
from tracking.models import Inbound, QueueRow

BOUND = 10_000  # queue rows counted at most
RECEIPTS = 8  # on one page
LOOKED_THROUGH = 20_000  # requests of all accounts, for one page of receipts
FAILURES = 1_000  # attempts with a failure that are looked at
READ = 64 * 1024  # bytes of a request that are read to say what it holds


# metric, how it is written, whether more of it is better (1) or less (-1), and the statuses that its list asks for
_TILES: tuple[tuple[str, Callable[[float | None], str], int, str], ...] = (
    ("health", percent, 1, ""),
    ("sent", lambda count: short(int(count or 0)), 0, ""),
    ("delivery_rate", percent, 1, "delivered,read"),
    ("bounce_rate", percent, -1, "bounced"),
    ("failure_rate", percent, -1, "failed"),
    ("delivery_p95", lasting, -1, "delivered,read"),
    ("attempt_success", percent, 1, ""),
    ("receipt_coverage", percent, 1, ""),
)


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


def asked_of(request: HttpRequest, account: ProviderAccount, period: str) -> Asked:
    """What the overview would be asked for this account alone: the charts and the links are its own."""
    _, span, step = SPANS[period]
    now, zone = datetime.now(UTC), request.COOKIES.get(ZONE_COOKIE, "")
    scope = Scope(now - span, now, account_ids=[account.pk])
    known, filters = codes(request), {"account": str(account.pk)}
    form = OverviewForm(QueryDict(), known)
    return Asked(period, scope, step, ZoneInfo(zone if zone in ZONES else "UTC"), filters, known, form, now)


def figures(account: ProviderAccount, asked: Asked, marks: Sequence[Mark]) -> dict[str, Any]:
    current, before = metrics.totals(asked.scope), metrics.totals(asked.scope.before())
    series = metrics.series(asked.scope, asked.step, asked.zone, latency=True)
    charts = account_charts.charts_of(asked, account.pk, series, marks) if current.created else []
    return {
        "asked": asked,
        "tiles": [_tile(asked, current, before, *each) for each in _TILES],
        "charts": [(chart, [(f"c-{name}", DEFINITIONS[name]) for name in names]) for chart, names in charts],
        "figures": {chart.key: chart.figure for chart, _ in charts if not chart.empty},
        "points": account_charts.points(series),
        "failed_by": sorted(current.attempts_failed_by.items(), key=lambda item: -item[1]),
        "bounced_by": sorted(current.attempts_bounced_by.items(), key=lambda item: -item[1]),
        "attempts": current.attempts_started,
    }


def _tile(
    asked: Asked,
    current: Figures,
    before: Figures,
    name: str,
    written: Callable[[float | None], str],
    good: int,
    status: str,
) -> Tile:
    definition = DEFINITIONS[name]
    never = current.suppressed + current.expired + current.rejected if name == "failure_rate" else 0
    return Tile(
        name,
        definition,
        written(current.value(name)),
        asked.messages(**({"status": status} if status else {})),
        notes=(f"the list has {never:,} more, never sent",) if never else (),
        change=change(current, before, attrgetter(name), good=good, share=definition.unit == "%"),
    )


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
