"""The rollups' tables: which rows cover a period, one statement that reads them, one that adds to them. Called by
metrics (reading) and by services.rollup and services.recount (writing, comparing).

Each counted minute stands in four tables, in rows of a minute, a quarter of an hour, an hour and six hours; only minute
rows are ever dropped. A reader takes each part of its period from exactly one of them, and adds the deltas that are not
folded yet: one statement sees all of them at the same moment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from django.db import connection

from tracking.counters import COUNTERS, LATENCY, SLOW_AFTER, Bucket, Counts, add, floor

KEEP_MINUTES = timedelta(hours=48)
FINE = timedelta(hours=1)  # so much of the past is always read by the minute: T is shorter


@dataclass(frozen=True, slots=True)
class Tier:
    table: str
    width: timedelta


MINUTE = Tier("metric_minute", timedelta(minutes=1))
QUARTER = Tier("metric_quarter", timedelta(minutes=15))
HOUR = Tier("metric_hour", timedelta(hours=1))
BLOCK = Tier("metric_block", timedelta(hours=6))
TIERS = (BLOCK, HOUR, QUARTER, MINUTE)


def minutes_kept(now: datetime) -> datetime:
    """From here on the minute rows are sure to be complete: an hour less than what is really kept."""
    return floor(now, HOUR.width) - KEEP_MINUTES + HOUR.width


# --- which rows cover a period


class Span(NamedTuple):
    """A period, and the step of the answer to which it belongs."""

    low: datetime
    high: datetime
    step: int = 0


def cover(spans: Iterable[Span], now: datetime) -> dict[Tier, list[Span]]:
    """Each moment of the spans in rows of one tier, as coarse as may be. A span's ends grow to whole rows."""
    found: dict[Tier, list[Span]] = {tier: [] for tier in TIERS}
    for span in spans:
        for tier, part in _split(_whole(span, now), TIERS, _fine_from(now)):
            found[tier].append(part)
    return found


def ceil(moment: datetime, width: timedelta) -> datetime:
    return floor(moment + width - timedelta.resolution, width)


def _whole(span: Span, now: datetime) -> Span:
    low, high, step = span
    return Span(floor(low, _grain(low, now)), ceil(high, _grain(high, now)), step)


def _grain(moment: datetime, now: datetime) -> timedelta:
    return MINUTE.width if moment >= minutes_kept(now) else QUARTER.width


def _fine_from(now: datetime) -> datetime:
    return floor(now - FINE, HOUR.width)


def _split(span: Span, tiers: Sequence[Tier], fine_from: datetime) -> Iterator[tuple[Tier, Span]]:
    if span.low >= span.high:
        return
    tier, *finer = tiers
    if not finer:
        yield tier, span
        return
    low, high = ceil(span.low, tier.width), floor(min(span.high, fine_from), tier.width)
    if low >= high:
        yield from _split(span, finer, fine_from)
        return
    yield tier, Span(low, high, span.step)
    yield from _split(span._replace(high=low), finer, fine_from)
    yield from _split(span._replace(low=high), finer, fine_from)


# --- read


@dataclass(slots=True)
class Sums:
    """counter → how much, and the histogram: () where it was not asked for or nothing is in it."""

    counts: dict[str, int] = field(default_factory=dict)
    latency: Sequence[int] = ()

    def add(self, counts: dict[str, int], times: int = 1) -> None:
        if not self.counts and times == 1:
            self.counts = counts.copy()
            return
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count * times

    def add_latency(self, bins: Sequence[int | None]) -> None:
        if any(bins):
            mine = self.latency or [0] * len(bins)
            self.latency = [count + (more or 0) for count, more in zip(mine, bins, strict=True)]


Found = dict[tuple[int, str], Sums]  # by step and key


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be read. `spans` follow each other in time and do not overlap. `where` and `key` are SQL over the
    columns of a row m; `key` may say {end}, the row's end."""

    spans: Sequence[Span]
    where: str
    params: Mapping[str, Any]
    key: str = "''"
    latency: bool = True


def read(question: Question, now: datetime) -> Found:
    """The sums for each step and key, in one statement. `overdue`: of `in_flight`, what was made longer ago than T."""
    statement, params = _statement(question, now)
    whole = [_whole(span, now) for span in question.spans]
    found: Found = {}
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        for step, key, sums, latency, *delta in cursor.fetchall():
            if sums is None:
                _add_delta(whole, now, key, *delta, into=found)
                continue
            into = found.setdefault((step, key), Sums())
            into.add({name: count for name, count in zip(_SUMMED, sums, strict=True) if count})
            into.add_latency(latency or ())
    return found


_PLAIN = COUNTERS[: -len(LATENCY)]
_SUMMED = (*_PLAIN, "overdue")
_PLACE = {name: place for place, name in enumerate(LATENCY)}


def _add_delta(
    whole: Sequence[Span],
    now: datetime,
    key: str,
    channel: str,
    minute: datetime,
    delta: str,
    times: int,
    *,
    into: Found,
) -> None:
    """Add deltas of a minute that are not folded yet: `times` equal ones."""
    place = bisect_right(whole, minute, key=lambda span: span.low) - 1
    if place < 0 or minute >= whole[place].high:
        return
    counts: dict[str, int] = orjson.loads(delta)
    if minute + MINUTE.width <= now - timedelta(seconds=SLOW_AFTER[channel]):
        counts["overdue"] = counts.get("in_flight", 0)
    found = into.setdefault((whole[place].step, key), Sums())
    bins = [0] * len(LATENCY)
    for name in [name for name in counts if name in _PLACE]:
        bins[_PLACE[name]] = counts.pop(name) * times
    found.add(counts, times)
    found.add_latency(bins)


def _statement(question: Question, now: datetime) -> tuple[str, dict[str, Any]]:
    params = dict(question.params)
    for channel, seconds in SLOW_AFTER.items():
        params[f"slow_{channel}"] = now - timedelta(seconds=seconds)
    slow = " ".join(f"WHEN '{channel}' THEN %(slow_{channel})s::timestamptz" for channel in SLOW_AFTER)
    sums = ", ".join(f"sum(m.{name})::bigint" for name in _PLAIN)
    latency = f"ARRAY[{', '.join(f'sum(m.{name})' for name in LATENCY)}]" if question.latency else "NULL::bigint[]"
    arms = []
    for tier, spans in cover(question.spans, now).items():
        if spans:
            end = f"m.start + interval '{tier.width.total_seconds():.0f} s'"
            overdue = f"sum(m.in_flight) FILTER (WHERE {end} <= CASE m.channel {slow} END)"
            body = (
                f"SELECT ({question.key.format(end=end)})::text AS key, ARRAY[{sums}, {overdue}], {latency},"
                f" NULL::text, NULL::timestamptz, NULL::jsonb, NULL::bigint FROM {tier.table} m"
                f" WHERE m.start >= s.low AND m.start < s.high AND {question.where} GROUP BY 1"
            )
            arms.append(_each(tier.table, spans, body, params))
    whole = [_whole(span, now) for span in question.spans]
    params |= {"delta_low": min(span.low for span in whole), "delta_high": max(span.high for span in whole)}
    key = question.key.format(end="m.minute + interval '60 s'")
    arms.append(
        f"SELECT NULL::int, ({key})::text AS key, NULL::bigint[], NULL::bigint[], m.channel, m.minute, m.counts,"
        " count(*) FROM metric_delta m WHERE m.minute >= %(delta_low)s AND m.minute < %(delta_high)s"
        f" AND {question.where} GROUP BY 2, m.channel, m.minute, m.counts"
    )
    return " UNION ALL ".join(arms), params


def _each(name: str, spans: Sequence[Span], body: str, params: dict[str, Any]) -> str:
    """The body for each span s, beside its step. A join of all rows with all spans, grouped by step, took ten times as
    long: it was sorted first."""
    lows, highs, steps = (list(each) for each in zip(*spans, strict=True))
    params |= {f"{name}_low": lows, f"{name}_high": highs, f"{name}_step": steps}
    return (
        f"SELECT s.step, sums.* FROM unnest(%({name}_low)s::timestamptz[], %({name}_high)s::timestamptz[],"
        f" %({name}_step)s::int[]) AS s (low, high, step) CROSS JOIN LATERAL ({body}) AS sums"
    )


# --- write and compare

_KEY = ("kind", "start", "project_id", "channel", "account_id", "label")
_TYPES = {
    **dict.fromkeys(("kind", "channel", "label"), "text"),
    **dict.fromkeys(("project_id", "account_id", "delivery_ms"), "bigint"),
    "start": "timestamptz",
}


def add_up(counts: Counts, tiers: Iterable[Tier], now: datetime) -> None:
    """Add to the rows of some tiers. Minutes whose rows would be dropped at once are left out of theirs."""
    for tier in tiers:
        rows = add(counts.items(), tier.width)
        if tier is MINUTE:
            oldest = floor(now, HOUR.width) - KEEP_MINUTES
            rows = {bucket: each for bucket, each in rows.items() if bucket.minute >= oldest}
        if rows:
            _upsert(tier, [_row(bucket, each) for bucket, each in sorted(rows.items(), key=_in_order)])


def _in_order(item: tuple[Bucket, Any]) -> tuple[Any, ...]:
    """Rows are locked in one order, whoever adds to them."""
    return tuple(_row(item[0], {}).values())


def _row(bucket: Bucket, counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "kind": bucket.kind,
        "start": bucket.minute,
        "project_id": bucket.project_id,
        "channel": bucket.channel,
        "account_id": bucket.account_id or 0,
        "label": bucket.label,
        **counts,
    }


def _upsert(tier: Tier, rows: Sequence[dict[str, Any]]) -> None:
    names = list({name: None for row in rows for name in row if name not in _KEY})
    columns = ", ".join((*_KEY, *names))
    record = ", ".join(f"{name} {_TYPES.get(name, 'integer')}" for name in (*_KEY, *names))
    sums = ", ".join(f"{name} = nullif(coalesce(t.{name}, 0) + coalesce(excluded.{name}, 0), 0)" for name in names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {tier.table} AS t ({columns}) SELECT {columns} FROM jsonb_to_recordset(%s::jsonb) AS r"
            f" ({record}) ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {sums}",
            [orjson.dumps(rows).decode()],
        )


def stored(tier: Tier, low: datetime, high: datetime) -> Counts:
    """What the rows of one tier say of a period, with the deltas that are not folded yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT start, project_id, channel, nullif(account_id, 0), kind, label,"
            f" jsonb_strip_nulls(to_jsonb(m) - %s::text[]) FROM {tier.table} m WHERE start >= %s AND start < %s"
            " UNION ALL SELECT minute, project_id, channel, account_id, kind, label, counts FROM metric_delta"
            " WHERE minute >= %s AND minute < %s",
            [list(_KEY), low, high, low, high],
        )
        rows = [(Bucket(*bucket), orjson.loads(counts)) for *bucket, counts in cursor.fetchall()]
    return add(rows, tier.width)
