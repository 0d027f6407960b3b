"""The SQL under the services: locked reads and batch writes of messages, attempts, events and queue rows.

`columns` says what there is, `reading` and `writing` serve `services.record`, `queueing` the queue,
`outgoing` the webhooks, `streaming` the streams, `legs` the fallback. Rows travel to
PostgreSQL as one JSON document a statement (json_to_recordset): one round trip for any number of rows. Every statement
also says the ids' range, which prunes the partitions.
"""

from tracking.store.columns import FACT_TIMES
from tracking.store.legs import LegKey, due_legs, legs, legs_of, overdue_legs, taken_legs
from tracking.store.outgoing import deliveries, delivery_attempts, finished_deliveries
from tracking.store.queueing import add_to_queue, dropped, moved, queue_row, queued, released, take_from_queue
from tracking.store.reading import EventKey, Locked, history_of, known_events, lock_messages, read_messages, read_page
from tracking.store.streaming import stream_events
from tracking.store.tracking import tracked
from tracking.store.writing import (
    Condition,
    Unwritten,
    Write,
    attempts,
    changed_attempts,
    changed_messages,
    contents,
    deltas,
    events,
    inserted,
    messages,
    write,
)

__all__ = [
    "FACT_TIMES",
    "Condition",
    "EventKey",
    "LegKey",
    "Locked",
    "Unwritten",
    "Write",
    "add_to_queue",
    "attempts",
    "changed_attempts",
    "changed_messages",
    "contents",
    "deliveries",
    "delivery_attempts",
    "deltas",
    "dropped",
    "due_legs",
    "events",
    "finished_deliveries",
    "history_of",
    "inserted",
    "known_events",
    "legs",
    "legs_of",
    "lock_messages",
    "messages",
    "moved",
    "overdue_legs",
    "queue_row",
    "queued",
    "read_messages",
    "read_page",
    "released",
    "stream_events",
    "take_from_queue",
    "taken_legs",
    "tracked",
    "write",
]
