"""Which queue rows of an account go next: one statement, whose cost does not grow with the queue. Called by dispatch.

The index is by project and priority. From each of these lanes only the first due rows are read: what is scheduled for
later, and what belongs to a paused project, is never looked at, however much of it there is.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from tracking.prepared import prepared

SPARE = 10  # rows of a lane read beyond those wanted, in place of rows that somebody else has locked

# `lane` leaps from one project and priority to the next. Rows are locked one by one in their order until there are
# enough. The array at the end tells the planner that they are few: joined, it would read the whole queue.
STATEMENT = """
WITH RECURSIVE room AS MATERIALIZED (
  SELECT least(%(limit)s, greatest(0, %(cap)s - count(*))) AS size
  FROM queue WHERE account_id = %(account)s AND lease_token IS NOT NULL
), lane AS (
  (SELECT project_id, priority FROM queue WHERE account_id = %(account)s AND lease_token IS NULL
   ORDER BY project_id, priority LIMIT 1)
  UNION ALL
  SELECT following.project_id, following.priority FROM lane CROSS JOIN LATERAL (
    SELECT project_id, priority FROM queue WHERE account_id = %(account)s AND lease_token IS NULL
    AND (project_id, priority) > (lane.project_id, lane.priority)
    ORDER BY project_id, priority LIMIT 1) following
), ready AS (
  SELECT head.message_id FROM lane CROSS JOIN LATERAL (
    SELECT due_at, message_id FROM queue WHERE account_id = %(account)s AND lease_token IS NULL
    AND project_id = lane.project_id AND priority = lane.priority AND due_at <= now()
    ORDER BY due_at, message_id LIMIT (SELECT size + %(spare)s FROM room)) head
  WHERE NOT EXISTS (SELECT 1 FROM tracking_project p WHERE p.id = lane.project_id AND p.paused)
  ORDER BY lane.priority, head.due_at, head.message_id
), due AS (
  SELECT free.message_id FROM ready CROSS JOIN LATERAL (
    SELECT message_id FROM queue WHERE message_id = ready.message_id AND lease_token IS NULL AND due_at <= now()
    FOR UPDATE SKIP LOCKED) free
  LIMIT (SELECT size FROM room)
)
UPDATE queue SET lease_token = %(token)s, lease_until = now() + %(lease)s * interval '1 s'
WHERE message_id = ANY(ARRAY(SELECT message_id FROM due)) RETURNING message_id
"""


def claim(*, account_id: int, limit: int, cap: int, token: UUID) -> list[UUID]:
    """Lease up to `limit` due rows by priority, due time and id, as far as no more than `cap` are leased then.

    Rows that somebody else has locked are passed over. The messages' ids are returned in their own order.
    """
    with prepared(), connection.cursor() as cursor:
        cursor.execute(STATEMENT, parameters(account_id=account_id, limit=limit, cap=cap, token=token))
        return sorted(key for (key,) in cursor.fetchall())


def parameters(*, account_id: int, limit: int, cap: int, token: UUID) -> dict[str, Any]:
    return {
        "account": account_id,
        "limit": limit,
        "cap": cap,
        "token": token,
        "lease": settings.LEASE_SECONDS,
        "spare": SPARE,
    }
