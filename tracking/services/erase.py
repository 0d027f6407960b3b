"""Erases one recipient from a project, in place: no row goes that a metric counts. Called by the API, the console, the
command `erase` and tasks; what is done to each table stands in the modules erase_* beside this one.

The job works in slices and keeps its place, so that it goes on after a crash. When it is done, the recipient itself is
forgotten; what is left is the certificate: when, by whom, how much of each table, and the recipient's keyed hash.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from providers import vault
from tracking import address, ids, jobs
from tracking.models import Erasure, ErasureState, Project
from tracking.redact import Needle
from tracking.schema import FieldError, Invalid
from tracking.services import erase_beside, erase_messages, erase_people, erase_texts, suppress
from tracking.services.act import Missing
from tracking.services.erase_target import Done, Target

STALE = timedelta(minutes=2)  # one that was not worked at for so long has lost its worker, or waits
TASK = "tracking.tasks.erase"

# Each does a bounded piece of work from a place on, and says where to go on; None: it is through.
STEPS: list[tuple[str, Callable[[Target, UUID | None], Done]]] = [
    ("messages", erase_messages.step),
    ("raw requests", erase_beside.raw_requests),
    ("receipts without a message", erase_beside.unmatched),
    ("idempotency keys", erase_beside.idempotency_keys),
    ("suppression list", erase_people.suppressions),
    ("consents", erase_people.consents),
    ("devices", erase_people.devices),
    ("chat users", erase_people.chat_users),
    ("chat channels", erase_people.chat_channels),
    ("words of operators", erase_texts.step),
    ("exports", erase_beside.exported),  # after the messages, so that no later one holds what is erased
    ("webhooks about exports", erase_beside.announcements),
    ("webhooks of messages", erase_beside.message_webhooks),
    ("tracking logs", erase_beside.push_logs),
]


def register(name: str, step: Callable[[Target, UUID | None], Done]) -> None:
    """Another place that keeps recipients; called when an app gets ready."""
    if all(name != known for known, _ in STEPS):
        STEPS.append((name, step))


def start(*, project: Project, channel: str, recipient: str, by: str, reason: str = "") -> Erasure:
    """On record, and begun soon. Part of the caller's transaction, if there is one. Raises Invalid."""
    try:
        known = address.normal(channel, recipient, project.default_region)
    except address.Bad as bad:
        raise Invalid([FieldError("/recipient", str(bad))]) from None
    with transaction.atomic():
        erasure = Erasure.objects.create(
            project=project,
            channel=channel,
            address_hash=suppress.address_hash(channel, known),
            sealed=vault.seal({"recipient": known}),
            by=by[:150],
            reason=Needle(channel, known).text(reason)[:300],
            worked_at=datetime.now(UTC),
        )
        jobs.later(TASK, erasure.pk)
    return erasure


def find(erasure_id: int, *, project_id: int) -> Erasure:
    """Raises Missing."""
    found = Erasure.objects.filter(pk=erasure_id, project_id=project_id).first()
    if found is None:
        raise Missing
    return found


def work(erasure_id: int, *, seconds: float) -> bool:
    """Go on for so long. True where nothing is left to do by now, or another worker does it: one that waits for
    messages which are just being sent is not finished, and `abandoned` names it again."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with transaction.atomic():
            running = Erasure.objects.select_for_update(skip_locked=True, of=("self",))
            erasure = running.select_related("project").filter(pk=erasure_id, state=ErasureState.RUNNING).first()
            if erasure is None or _step(erasure):
                return True
    return False


def _step(erasure: Erasure) -> bool:
    recipient = vault.unseal(erasure.sealed)["recipient"]
    target = Target(erasure, Needle(erasure.channel, recipient), ids.floor(erasure.created_at + timedelta(minutes=1)))
    _, act = STEPS[erasure.step]
    done = act(target, erasure.place)
    erasure.counts = dict(Counter(erasure.counts) + Counter(done.counts))
    erasure.waits += done.waits
    erasure.place, erasure.worked_at = done.place, datetime.now(UTC)
    if done.place is None:
        erasure.step += 1
    ended = erasure.step >= len(STEPS)
    if ended and erasure.waits:
        erasure.step, erasure.waits = 0, 0  # once more, for those that were being sent
    elif ended:
        erasure.state, erasure.finished_at, erasure.sealed = ErasureState.DONE, erasure.worked_at, ""
    erasure.save()
    return ended


def abandoned() -> list[int]:
    stale = datetime.now(UTC) - STALE
    return list(Erasure.objects.filter(state=ErasureState.RUNNING, worked_at__lt=stale).values_list("pk", flat=True))


# --- how it is shown


def percent(erasure: Erasure) -> int:
    """100 only when it is done. The messages count as most of it."""
    if erasure.state == ErasureState.DONE:
        return 100
    if erasure.step:
        return 90 + 9 * erasure.step // len(STEPS)
    if erasure.place is None:
        return 0
    oldest = erasure.project.created_at
    whole = (erasure.created_at - oldest).total_seconds()
    done = (ids.time_of(erasure.place) - oldest).total_seconds()
    return min(89, max(0, int(90 * done / whole))) if whole > 0 else 0


def step_name(erasure: Erasure) -> str:
    return STEPS[erasure.step][0] if erasure.state == ErasureState.RUNNING and erasure.step < len(STEPS) else ""


def shape(erasure: Erasure) -> dict[str, Any]:
    """The certificate, as the API shows it."""
    return {
        "id": erasure.pk,
        "status": erasure.state,
        "channel": erasure.channel,
        "recipient_hash": bytes(erasure.address_hash).hex(),
        "requested_by": erasure.by,
        "progress": {"step": step_name(erasure) or None, "percent": percent(erasure)},
        "erased": erasure.counts,
        "created_at": erasure.created_at,
        "finished_at": erasure.finished_at,
    }
