"""The tables of the overview: providers side by side, top reasons, recipients that bounce again and again. Pure; called
by overview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django.urls import reverse

from dashboard import charts, words
from dashboard.lanes import Lane
from dashboard.overview_charts import delivery_rates, ranked, swatch, together
from dashboard.overview_form import Asked
from dashboard.swatches import Swatch
from tracking.figures import Figures
from tracking.metrics import Key, Series

REASONS = 8


@dataclass(frozen=True, slots=True)
class Provider:
    """One row of the comparison."""

    code: str
    url: str
    messages_url: str
    figures: Figures
    spark: Sequence[str]  # points of polylines: its delivery rate over the period
    lane: Lane | None
    swatch: Swatch


@dataclass(frozen=True, slots=True)
class Reason:
    text: str
    sign: str
    tone: str
    provider: str
    count: int
    share: float  # of all that failed or bounced
    url: str


@dataclass(frozen=True, slots=True)
class Bouncer:
    recipient: str
    count: int
    last: datetime
    url: str

    @classmethod
    def of(cls, recipient: str, count: int, last: datetime, page: str) -> Bouncer:
        search = recipient if '"' in recipient else f'to:"{recipient}"'
        return cls(recipient, count, last, f"{page}?{urlencode({'q': search, 'status': 'bounced'})}")


def providers(
    asked: Asked, accounts: Mapping[Key, Figures], series: Mapping[Key, Series], lanes: Sequence[Lane]
) -> list[Provider]:
    by_id = {lane.id: lane for lane in lanes}
    found = []
    for key, code, place in ranked(asked, {**accounts, **dict.fromkeys(by_id)}):
        rows = [figures for _, figures in series.get(key, [])]
        found.append(
            Provider(
                code,
                reverse("admin:providers_provideraccount_page", args=[key]),
                asked.messages(account=str(key)),
                accounts.get(key, Figures()),
                charts.sparkline(delivery_rates(rows, together(len(rows)))),
                by_id.get(key) if isinstance(key, int) else None,
                swatch(place),
            )
        )
    return found


def reasons(asked: Asked, accounts: Mapping[Key, Figures]) -> list[Reason]:
    """The most frequent reasons by provider."""
    everything = sum(each.failed + each.bounced for each in accounts.values())
    found = []
    for key, code, _ in ranked(asked, accounts):
        kinds = (("failed", "✕", accounts[key].failed_by), ("bounced", "↩", accounts[key].bounced_by))
        for status, sign, counts in kinds:
            for name, count in counts.items():
                url = asked.messages(status=status, reason=name, account=str(key))
                found.append(Reason(words.spaced(name), sign, status, code, count, count / everything, url))
    return sorted(found, key=lambda each: -each.count)[:REASONS]
