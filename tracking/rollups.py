"""The rollups' tables: which rows cover a period, one statement that reads them, one that adds to them. Called by
metrics (reading) and by services.rollup and services.recount (writing, comparing).

Each counted minute stands in three tables, in rows of a minute, a quarter of an hour and an hour; only minute rows are
ever dropped. A reader takes each part of its period from exactly one of them, and adds the deltas that are not folded
yet: one statement sees all of them at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from django.db import connection

from tracking.counters import COUNTERS, SLOW_AFTER, Bucket, Counts, add, floor

KEEP_MINUTES = timedelta(hours=48)
FINE = timedelta(hours=1)  # so much of the past is always read by the minute: T is shorter


@dataclass(frozen=True, slots=True)
class Tier:
    table: str
    width: timedelta


MINUTE = Tier("metric_minute", timedelta(minutes=1))
QUARTER = Tier("metric_quarter", timedelta(minutes=15))
HOUR = Tier("metric_hour", timedelta(hours=1))
TIERS = (HOUR, QUARTER, MINUTE)


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
        for tier, part in _split(_whole(span, now), TIERS, floor(now - FINE, HOUR.width)):
            found[tier].append(part)
    return found


def ceil(moment: datetime, width: timedelta) -> datetime:
    return floor(moment + width - timedelta.resolution, width)


def _whole(span: Span, now: datetime) -> Span:
    low, high, step = span
    return Span(floor(low, _grain(low, now)), ceil(high, _grain(high, now)), step)


def _grain(moment: datetime, now: datetime) -> timedelta:
    return MINUTE.width if moment >= minutes_kept(now) else QUARTER.width


def _split(span: Span, tiers: Sequence[Tier], fine_from: datetime) -> Iterator[tuple[Tier, Span]]:
    if span.low >= span.high:
        return
    tier, *finer = tiers
    if not finer:
        yield tier, span
        return
    low, high = ceil(span.low, tier.width), min(floor(span.high, tier.width), fine_from)
    if low >= high:
        yield from _split(span, finer, fine_from)
        return
    yield tier, Span(low, high, span.step)
    yield from _split(span._replace(high=low), finer, fine_from)
    yield from _split(span._replace(low=high), finer, fine_from)


# --- read

Found = dict[tuple[int, str], dict[str, int]]  # (step, key) → counter → how much


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be read. `where` and `key` are SQL over the columns of a row m; `key` may say {end}, the row's end."""

    spans: Sequence[Span]
    where: str
    params: Mapping[str, Any]
    key: str = "''"
    counters: Sequence[str] = COUNTERS


def read(question: Question, now: datetime) -> Found:
    """The sums for each step and key, in one statement. `overdue`: of `in_flight`, what was made longer ago than T."""
    statement, params = _statement(question, now)
    found: Found = {}
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        for step, key, sums, channel, minute, counts, times in cursor.fetchall():
            into = found.setdefault((step, key), {})
            if sums is None:
                values = {name: count * times for name, count in orjson.loads(counts).items()}
                if minute + MINUTE.width <= now - timedelta(seconds=SLOW_AFTER[channel]):
                    values["overdue"] = values.get("in_flight", 0)
            else:
                values = dict(zip((*question.counters, "overdue"), sums, strict=True))
            for name, count in values.items():
                if count:
                    into[name] = into.get(name, 0) + count
    return found


def _statement(question: Question, now: datetime) -> tuple[str, dict[str, Any]]:
    params = dict(question.params)
    for channel, seconds in SLOW_AFTER.items():
        params[f"slow_{channel}"] = now - timedelta(seconds=seconds)
    slow = " ".join(f"WHEN '{channel}' THEN %(slow_{channel})s::timestamptz" for channel in SLOW_AFTER)
    sums = ", ".join(f"sum(m.{name})::bigint" for name in question.counters)
    arms = []
    for tier, spans in cover(question.spans, now).items():
        if spans:
            end = f"m.start + interval '{tier.width.total_seconds():.0f} s'"
            overdue = f"sum(m.in_flight) FILTER (WHERE {end} <= CASE m.channel {slow} END)"
            arms.append(
                f"SELECT s.step, ({question.key.format(end=end)})::text AS key, ARRAY[{sums}, {overdue}], NULL::text,"
                f" NULL::timestamptz, NULL::jsonb, NULL::bigint FROM {_unnest(tier.table, spans, params)}"
                f" JOIN {tier.table} m ON m.start >= s.low AND m.start < s.high WHERE {question.where} GROUP BY 1, 2"
            )
    whole = [_whole(span, now) for span in question.spans]
    end = "m.minute + interval '60 s'"
    arms.append(
        f"SELECT s.step, ({question.key.format(end=end)})::text AS key, NULL, m.channel, m.minute, m.counts, count(*)"
        f" FROM {_unnest('delta', whole, params)} JOIN metric_delta m ON m.minute >= s.low AND m.minute < s.high"
        f" WHERE {question.where} GROUP BY 1, 2, m.channel, m.minute, m.counts"
    )
    return " UNION ALL ".join(arms), params


def _unnest(name: str, spans: Sequence[Span], params: dict[str, Any]) -> str:
    lows, highs, steps = (list(each) for each in zip(*spans, strict=True))
    params |= {f"{name}_low": lows, f"{name}_high": highs, f"{name}_step": steps}
    return (
        f"unnest(%({name}_low)s::timestamptz[], %({name}_high)s::timestamptz[], %({name}_step)s::int[])"
        " AS s (low, high, step)"
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
