"""The floors that are SQL: tables as narrow as the task allows, statements written by hand for nothing but it.

They follow the prototypes that the design was settled with: weekly partitions by a UUIDv7, batches, deduplication by
INSERT … ON CONFLICT, a queue apart from status. They know no folds, no metrics, no retries: what a floor leaves out is
what Postroom's own figure pays for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg

from tracking import ids

_TABLES = """
CREATE SCHEMA floor;
CREATE TABLE floor.bare (id bigserial PRIMARY KEY, body bytea NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE floor.message (id uuid PRIMARY KEY, status smallint NOT NULL, sent_at timestamptz,
  delivered_at timestamptz) PARTITION BY RANGE (id);
CREATE TABLE floor.attempt (message_id uuid NOT NULL, number smallint NOT NULL, account_id int, started_at timestamptz,
  reference text, PRIMARY KEY (message_id, number)) PARTITION BY RANGE (message_id);
CREATE TABLE floor.event (id uuid, message_id uuid NOT NULL, kind text, dedupe_key text NOT NULL,
  occurred_at timestamptz, PRIMARY KEY (message_id, dedupe_key)) PARTITION BY RANGE (message_id);
CREATE TABLE floor.queue (message_id uuid PRIMARY KEY, number smallint NOT NULL, account_id int NOT NULL,
  priority smallint NOT NULL, due_at timestamptz NOT NULL, lease_token uuid, lease_until timestamptz);
CREATE INDEX ON floor.queue (account_id, priority, due_at, message_id) WHERE lease_token IS NULL;
CREATE INDEX ON floor.queue (lease_until) WHERE lease_token IS NOT NULL;
"""
_APPLY = """
WITH batch AS (SELECT * FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS t (id, dedupe_key, occurred_at)),
     fresh AS (INSERT INTO floor.event (id, message_id, dedupe_key, occurred_at)
               SELECT gen_random_uuid(), id, dedupe_key, occurred_at FROM batch
               ON CONFLICT DO NOTHING RETURNING message_id, occurred_at)
UPDATE floor.message m SET delivered_at = LEAST(m.delivered_at, fresh.occurred_at) FROM fresh
 WHERE m.id = fresh.message_id
"""
_CLAIM = """
WITH due AS (SELECT message_id FROM floor.queue WHERE account_id = 1 AND lease_token IS NULL AND due_at <= now()
             ORDER BY priority, due_at, message_id FOR UPDATE SKIP LOCKED LIMIT %s)
UPDATE floor.queue q SET lease_token = %s, lease_until = now() + interval '90 s'
  FROM due WHERE q.message_id = due.message_id RETURNING q.message_id, q.number
"""
_HAND_OVER = """
INSERT INTO floor.attempt (message_id, number, account_id, started_at)
SELECT m, n, 1, now() FROM unnest(%s::uuid[], %s::smallint[]) AS t (m, n) ORDER BY m
"""
_FINISH = """
WITH r AS (SELECT * FROM unnest(%s::uuid[], %s::smallint[], %s::text[]) AS t (id, n, reference)),
     locked AS (SELECT m.id FROM floor.message m JOIN r USING (id) ORDER BY m.id FOR UPDATE),
     a AS (UPDATE floor.attempt a SET reference = r.reference FROM r WHERE a.message_id = r.id AND a.number = r.n),
     e AS (INSERT INTO floor.event (id, message_id, kind, occurred_at, dedupe_key)
           SELECT gen_random_uuid(), id, 'accepted', now(), 'accepted:' || n FROM r ON CONFLICT DO NOTHING),
     m AS (UPDATE floor.message m SET sent_at = LEAST(m.sent_at, now()) FROM locked WHERE m.id = locked.id)
DELETE FROM floor.queue q USING r WHERE q.message_id = r.id AND q.lease_token = %s
"""


def create(conn: psycopg.Connection, weeks: Sequence[datetime]) -> None:
    conn.execute(_TABLES)
    for monday in weeks:
        low, high = ids.floor(monday), ids.floor(monday + timedelta(weeks=1))
        for table in ("message", "attempt", "event"):
            conn.execute(
                f"CREATE TABLE floor.{table}_{monday:%Y%m%d} PARTITION OF floor.{table}"
                f" FOR VALUES FROM ('{low}') TO ('{high}')"
            )


def apply(conn: psycopg.Connection, keys: Sequence[UUID], batch: int = 1_000) -> None:
    """One receipt for each message, in batches."""
    now = datetime.now(UTC)
    for start in range(0, len(keys), batch):
        part = keys[start : start + batch]
        conn.execute(_APPLY, [list(part), [f"event-{key.hex}" for key in part], [now] * len(part)])


def dispatch(conn: psycopg.Connection, group: int) -> int:
    """Claim, hand over and finish all that is due, `group` at a time; how many there were."""
    done = 0
    while True:
        token = uuid4()
        rows: list[Any] = conn.execute(_CLAIM, [group, token]).fetchall()
        if not rows:
            return done
        keys, numbers = [row[0] for row in rows], [row[1] for row in rows]
        conn.execute(_HAND_OVER, [keys, numbers])
        conn.execute(_FINISH, [keys, numbers, [f"ref-{key}" for key in keys], token])
        done += len(rows)
