"""Receipts whose attempt is not known (yet): kept, and tried again for as long as its hand-over may still be recorded.
Called by receive, the receive loop and the console."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from providers.base import (
    BounceClass,
    FailureClass,
    Receipt,
    ReceiptKind,
)
from providers.text import clean, told
from tracking.away import AWAY
from tracking.models import Unmatched
from tracking.services import receipts

log = logging.getLogger(__name__)

WAITS = (1, 10, 60, 600, 3600)  # seconds between two tries; the last one repeats


def keep(items: Sequence[receipts.Item]) -> None:
    now = datetime.now(UTC)
    Unmatched.objects.bulk_create(
        [
            Unmatched(
                account_id=item.account_id,
                inbound_id=item.request_id,
                item=item.number,
                receipt=_dump(item.receipt),
                why=item.why,
                received_at=item.received_at,
                next_try_at=now + timedelta(seconds=WAITS[0]),
            )
            for item in items
        ],
        ignore_conflicts=True,  # a replay finds them waiting already
    )


def retry(limit: int = 500) -> int:
    """Try again those that are due; how many found their attempt."""
    now = datetime.now(UTC)
    with transaction.atomic():
        due = Unmatched.objects.filter(next_try_at__lte=now).order_by("next_try_at")
        waiting = list(due.select_for_update(skip_locked=True)[:limit])
        return _retry(waiting, now) if waiting else 0


def _retry(waiting: Sequence[Unmatched], now: datetime) -> int:
    """As _bisect: one that cannot be applied holds up no other."""
    try:
        with transaction.atomic():
            return _match_again(waiting, now)
    except AWAY:
        raise
    except Exception as error:
        log.exception("%d unmatched receipts could not be applied", len(waiting))
        if len(waiting) == 1:
            why = clean(f"it cannot be applied: {told(error)}", 200)
            Unmatched.objects.filter(pk=waiting[0].pk).update(why=why, next_try_at=None)
            return 0
        middle = len(waiting) // 2
        return _retry(waiting[:middle], now) + _retry(waiting[middle:], now)


def _match_again(waiting: Sequence[Unmatched], now: datetime) -> int:
    items = [receipts.Item(w.inbound_id, w.item, w.account_id, w.received_at, _load(w.receipt)) for w in waiting]
    receipts.apply(items)
    matched = [w.pk for w, item in zip(waiting, items, strict=True) if not item.why]
    Unmatched.objects.filter(pk__in=matched).delete()
    left = [(w, item) for w, item in zip(waiting, items, strict=True) if item.why]
    for entry, item in left:
        entry.why, entry.tries = item.why, entry.tries + 1
        entry.next_try_at = _next_try(entry, now)
    Unmatched.objects.bulk_update([entry for entry, _ in left], ["why", "tries", "next_try_at"])
    return len(matched)


def _next_try(entry: Unmatched, now: datetime) -> datetime | None:
    """None: past the horizon, the receipt stays on record and is not tried again."""
    at = now + timedelta(seconds=WAITS[min(entry.tries, len(WAITS) - 1)])
    return at if at < entry.received_at + timedelta(hours=settings.UNMATCHED_HORIZON_HOURS) else None


def try_now(pks: Sequence[int]) -> int:
    """An operator's wish: those entries are due at once. How many there were."""
    return Unmatched.objects.filter(pk__in=pks).update(next_try_at=datetime.now(UTC))


def _dump(receipt: Receipt) -> dict[str, Any]:
    stored: dict[str, Any] = {}
    for name in Receipt.__dataclass_fields__:
        value = getattr(receipt, name)
        stored[name] = _text_only(value)
    return stored


def _text_only(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return clean(value, 2000)
    if isinstance(value, bool | None):
        return value
    return {str(k): receipts.small(v) for k, v in dict(value).items()}


def _load(stored: dict[str, Any]) -> Receipt:
    at, failure, bounce = stored["occurred_at"], stored["failure"], stored["bounce"]
    return Receipt(
        **{
            **stored,
            "kind": ReceiptKind(stored["kind"]),
            "occurred_at": datetime.fromisoformat(at) if at else None,
            "failure": FailureClass(failure) if failure else None,
            "bounce": BounceClass(bounce) if bounce else None,
        }
    )
