"""Things of a project that the parts of an address below /v1 may name, for tests that go through all addresses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.builders import (
    make_channel,
    make_channel_message,
    make_device,
    make_endpoint,
    make_message,
    sender_of,
)
from tests.tracking.lives import fail
from tracking import ids
from tracking.models import ConsentState, Delivery, Project
from tracking.selection import Filters
from tracking.services import consents, devices, erase, export_work, exports, submit
from tracking.statuses import Status

ITEM = {"channel": "email", "recipient": "bob@example.org", "content": {"text": "Hello"}}
FILE = {"filename": "a.txt", "content_type": "text/plain", "content": "aGFsbG8="}
CONSENT = {"channel": "email", "recipient": "bob@example.org", "purpose": "newsletter"}


def things_of(project: Project, path: str) -> dict[str, Any]:
    """Made anew by each call: the names in the path, and their values. The project needs accounts of all channels."""
    return next((make(project, path) for part, make in _MAKERS if part in path), {})


def _channel(project: Project, path: str) -> dict[str, Any]:
    channel = make_channel(project, users=["ada", "ben"])
    message = make_channel_message(channel, user="ben")
    return {"channel": channel.key, "user": "ada", "notification": message.pk, "kind": "read"}


def _notification(project: Project, path: str) -> dict[str, Any]:
    if path.endswith("/retry"):
        failed = make_message(project)
        fail(failed)
        return {"notification": failed}
    leg = {"channel": "sms", "recipient": "+4915112345678", "content": {"text": "Hello"}}
    return {"notification": make_message(project, fallback=[leg], attachments=[FILE], retry={"max_attempts": 2})}


def _webhook(project: Project, path: str) -> dict[str, Any]:
    endpoint = make_endpoint(project)
    told = Delivery.objects.create(
        id=ids.new(),
        endpoint=endpoint,
        event="notification.sent",
        payload={"status": "sent"},
        state="failed",
        attempts=1,
        next_try_at=datetime.now(UTC),
    )
    return {"webhook": endpoint.pk, "delivery": told.pk}


def _batch(project: Project, path: str) -> dict[str, Any]:
    return {"batch": submit.submit_batch(sender_of(project), {"notifications": [ITEM]})["batch_id"]}


def _export(project: Project, path: str) -> dict[str, Any]:
    wanted = exports.request(project=project, filters=Filters(status=[Status.FAILED]), by="test")
    export_work.work(seconds=60)
    return {"export": wanted.pk}


def _erasure(project: Project, path: str) -> dict[str, Any]:
    started = erase.start(project=project, channel="email", recipient="eve@example.org", by="test")
    erase.work(started.pk, seconds=60)
    return {"erasure": started.pk}


def _device(project: Project, path: str) -> dict[str, Any]:
    device = make_device(project)
    devices.invalidate(device, detail="of a test")
    return {"device": device.pk}


def _consent(project: Project, path: str) -> dict[str, Any]:
    asked = consents.Asked(**CONSENT)
    consents.put(project_id=project.pk, wanted=[(asked, ConsentState.GRANTED)], by=consents.By("api"))
    return dict(CONSENT)


# The first whose part stands in the path.
_MAKERS: tuple[tuple[str, Callable[[Project, str], dict[str, Any]]], ...] = (
    ("/channels", _channel),
    ("/chat-users", _channel),
    ("/receipts", _channel),
    ("/notifications", _notification),
    ("/webhooks", _webhook),
    ("/batches", _batch),
    ("/exports", _export),
    ("/erasures", _erasure),
    ("/devices", _device),
    ("/consents", _consent),
)
