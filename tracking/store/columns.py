"""Which columns are read and written, with their types: column → PostgreSQL type. Used by the modules beside it."""

from __future__ import annotations

MESSAGE_FIXED = {"id": "uuid", "project_id": "bigint", "channel": "text", "recipient": "text"}
MESSAGE_MOVING = {
    "status": "text",
    "decision": "text",
    "account_id": "bigint",
    "reason": "text",
    "sent_at": "timestamptz",
    "delivered_at": "timestamptz",
    "read_at": "timestamptz",
    "failed_at": "timestamptz",
    "attempts": "smallint",
    "decisions": "smallint",
    "decided_after": "smallint",
    "budget_from": "smallint",
    "operator_retries": "smallint",
    "leg": "smallint",
    "reference": "text",
}
MESSAGE_READ = {
    "priority": "smallint",
    "expires_at": "timestamptz",
    "retry": "jsonb",
    "template_id": "text",
    "category": "text",
    "fallbacks": "smallint",
}
MESSAGE_EXTRA = {  # written once by submit, read by nobody here
    "batch_id": "bigint",
    "external_id": "text",
    "tags": "text[]",
    "scheduled_at": "timestamptz",
}
ATTEMPT_KEY = {"message_id": "uuid", "number": "smallint"}
ATTEMPT_FIXED = {"account_id": "bigint", "leg": "smallint", "idempotency_key": "text", "started_at": "timestamptz"}
ATTEMPT_PRICE = {"parts": "smallint", "price": "numeric", "currency": "text"}  # written once, read by nobody here
FACT_TIMES = (
    "accepted_at",
    "delivered_at",
    "opened_at",
    "clicked_at",
    "read_at",
    "machine_opened_at",
    "hard_bounced_at",
    "bounced_at",
    "failed_at",
    "unknown_at",
    "complained_at",
    "unsubscribed_at",
)
ATTEMPT_FACTS = {
    **dict.fromkeys(FACT_TIMES, "timestamptz"),
    "failure": "text",
    "bounce": "text",
    "cause_at": "timestamptz",
    "code": "text",
    "text": "text",
}
ATTEMPT_MOVING = {"finished_at": "timestamptz", "reference": "text", **ATTEMPT_FACTS}
EVENT = {
    "message_id": "uuid",
    "dedupe_key": "text",
    "kind": "text",
    "attempt": "smallint",
    "number": "smallint",
    "occurred_at": "timestamptz",
    "said_at": "timestamptz",
    "recorded_at": "timestamptz",
    "source": "text",
    "account_id": "bigint",
    "inbound_id": "uuid",
    "failure": "text",
    "bounce": "text",
    "machine": "boolean",
    "code": "text",
    "text": "text",
    "detail": "jsonb",
}
QUEUE = {
    "message_id": "uuid",
    "project_id": "bigint",
    "account_id": "bigint",
    "priority": "smallint",
    "due_at": "timestamptz",
    "expires_at": "timestamptz",
}
LEG_KEY = {"message_id": "uuid", "number": "smallint"}
LEG = {
    **LEG_KEY,
    "project_id": "bigint",
    "channel": "text",
    "recipient": "text",
    "kind": "text",
    "provider": "text",
    "ttl": "integer",
    "due_at": "timestamptz",
    "taken_at": "timestamptz",
    "parts": "smallint",
    "price": "numeric",
    "currency": "text",
}
DELTA = {
    "minute": "timestamptz",
    "project_id": "bigint",
    "channel": "text",
    "account_id": "bigint",
    "kind": "text",
    "label": "text",
    "counts": "jsonb",
}

# Columns that are never null: what stands there if a row says nothing. Everything else is null then.
MESSAGE_EMPTY = {
    **dict.fromkeys(("attempts", "decided_after", "budget_from", "operator_retries"), "0"),
    **dict.fromkeys(("leg", "priority", "fallbacks"), "0"),
    **dict.fromkeys(("reason", "reference", "external_id", "category", "template_id"), "''"),
    "tags": "'{}'::text[]",
}
ATTEMPT_EMPTY = {
    "leg": "0",
    "parts": "0",
    **dict.fromkeys(("idempotency_key", "reference", "code", "text", "currency"), "''"),
}
LEG_EMPTY = {"kind": "''", "provider": "''", "parts": "0", "price": "0", "currency": "''"}
EVENT_EMPTY = {"machine": "false", "code": "''", "text": "''"}
DELTA_EMPTY = {"kind": "''", "label": "''"}
