"""The register of devices: made and renewed by applications, declared invalid by providers' answers and by operators.

Called by the API, the admin and, for what a push provider says of a token, by record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from django.db import connection, transaction
from django.db.models import Q

from providers.base import Channel, FailureClass
from providers.text import clean
from tracking import device_schema
from tracking.models import Device, Suppression
from tracking.services import suppress

REMOVED = "unregistered"  # why a token is invalid: the application took the device back
MANUAL = "manual"
BAD_TOKEN = "hard_bounce"  # why suppress lists a token that its provider refuses for good
_CHANGED = ("valid", "reason", "detail", "invalid_at", "message_id")


def register(*, project_id: int, document: Any) -> tuple[Device, bool]:
    """A device, new or known by its hwid or its token, and whether it is new. Its token is valid from now on.

    Raises schema.Invalid.
    """
    given = device_schema.parse(document)
    token, hwid = given["token"], given.get("hwid", "")
    with transaction.atomic():
        _alone([(project_id, "token", token), *([(project_id, "hwid", hwid)] if hwid else [])])
        device = _known(project_id, token, hwid)
        new = device.pk is None
        for name, value in given.items():
            setattr(device, name, value)
        device.registered_at = datetime.now(UTC)
        _make_valid(device)
        device.save()
        _lift(device)
    return device, new


def _known(project_id: int, token: str, hwid: str) -> Device:
    """The device of this hwid, else of this token. A token that stood at another device has moved to this one."""
    found = Device.objects.filter(project_id=project_id)
    by_hwid = found.filter(hwid=hwid).first() if hwid else None
    by_token = found.filter(token=token).first()
    if by_hwid and by_token and by_hwid.pk != by_token.pk:
        by_token.delete()
    return by_hwid or by_token or Device(project_id=project_id)


def _alone(keys: Iterable[tuple[int, str, str]]) -> None:
    """Whoever works on the same token or hwid waits for the end of this transaction, as there may be no row to lock."""
    digests = (sha256(f"device:{project}:{kind}:{text}".encode()).digest() for project, kind, text in keys)
    numbers = sorted({int.from_bytes(digest[:8], signed=True) for digest in digests})
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(k) FROM unnest(%s::bigint[]) AS k", [numbers])


def _make_valid(device: Device) -> None:
    device.valid, device.reason, device.detail, device.invalid_at, device.message_id = True, "", "", None, None


def _lift(device: Device) -> None:
    """Nothing holds back what is sent to a token that is good again; who unsubscribed stays unsubscribed."""
    hashed = suppress.address_hash(Channel.PUSH, device.token)
    Suppression.objects.filter(project_id=device.project_id, address_hash=hashed, reason=BAD_TOKEN).delete()


# --- no longer valid


def settle(entries: Sequence[suppress.Entry]) -> list[suppress.Entry]:
    """Devices whose token a provider refused for good become invalid. The entries that remain to be suppressed: not
    those of tokens that were registered again after the attempt had begun. Part of the caller's transaction."""
    refused = sorted((entry for entry in entries if _refused(entry)), key=_begun)
    bad = {(entry.project_id, entry.address): entry for entry in refused}  # of several, the last hand-over counts
    if not bad:
        return list(entries)
    _alone((project_id, "token", token) for project_id, token in bad)
    among = Q(project_id__in={key[0] for key in bad}, token__in={key[1] for key in bad})
    renewed, turned = set(), []
    for device in Device.objects.filter(among):
        entry = bad.get((device.project_id, device.token))
        if entry is None or entry.attempt is None:
            continue
        if device.registered_at > entry.attempt.started_at:
            renewed.add((device.project_id, device.token))
        elif device.valid:
            turned.append(_turned(device, entry))
    Device.objects.bulk_update(turned, _CHANGED)
    return [entry for entry in entries if not _refused(entry) or (entry.project_id, entry.address) not in renewed]


def _refused(entry: suppress.Entry) -> bool:
    return entry.channel == Channel.PUSH and entry.reason == BAD_TOKEN and entry.attempt is not None


def _begun(entry: suppress.Entry) -> datetime:
    assert entry.attempt is not None
    return entry.attempt.started_at


def _turned(device: Device, entry: suppress.Entry) -> Device:
    assert entry.attempt is not None
    facts = entry.attempt.facts
    told = " ".join(part for part in (facts.code, facts.text) if part)
    _make_invalid(device, facts.failure or FailureClass.INVALID_RECIPIENT, told)
    device.message_id = entry.message_id
    return device


def _make_invalid(device: Device, reason: str, detail: str) -> None:
    device.valid, device.reason, device.detail = False, str(reason), clean(detail, 300)
    device.invalid_at, device.message_id = datetime.now(UTC), None


def invalidate(device: Device, *, reason: str = MANUAL, detail: str = "") -> None:
    """By hand or by the application: nothing is sent to it by the register until it is registered again."""
    _make_invalid(device, reason, detail)
    device.save(update_fields=_CHANGED)


def reactivate(device: Device) -> None:
    """By hand: its token is taken for good, until a provider refuses it again."""
    with transaction.atomic():
        _make_valid(device)
        device.save(update_fields=_CHANGED)
        _lift(device)


# --- who is meant


def named(project_id: int, identifiers: Collection[str]) -> dict[str, Device]:
    """The devices that these hwids or tokens mean, valid or not."""
    among = Q(hwid__in=identifiers) | Q(token__in=identifiers)
    found: dict[str, Device] = {}
    for device in Device.objects.filter(among, project_id=project_id).order_by("pk"):
        for name in (device.token, device.hwid):  # where both are meant, the hwid's counts
            if name in identifiers and name:
                found[name] = device
    return found


def of_users(project_id: int, users: Collection[str], limit: int) -> list[Device]:
    """The valid devices of these users, at most so many."""
    wanted = [user for user in users if user]
    return list(Device.objects.filter(project_id=project_id, user_id__in=wanted, valid=True).order_by("pk")[:limit])
