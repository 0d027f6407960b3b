"""Erasure, what a project knows of people beside messages: devices, consents, suppressions, users of its chat channels.
Called by erase, inside its transaction.

The rows that are found by an index are found by it; the others are looked through in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from providers.models import CHANNELS
from tracking.models import ChatChannel, ChatMember, ChatUser, Consent, ConsentChange, Device, Membership, Suppression
from tracking.redact import ERASED, Needle
from tracking.services.erase_target import FIRST, Done, Target, rows
from tracking.services.suppress import address_hash

LOOKED_THROUGH = 5_000  # rows of one step


Change = Callable[[Needle, int], dict[str, int]]  # of the row with this number; table → rows


def _page(target: Target, place: UUID | None, table: str, names: tuple[str, ...], change: Change) -> Done:
    """The next rows of the project: those that name the recipient in one of the columns are changed."""
    low = (place or FIRST).int  # a place is a UUID; here it holds a row's number
    query = f"SELECT id FROM {table} WHERE project_id = %s AND id > %s ORDER BY id OFFSET %s LIMIT 1"
    edge = rows(query, [target.project_id, low, LOOKED_THROUGH])
    high = edge[0][0] if edge else None
    named = " OR ".join(f"lower({name}::text) = ANY(%s) OR lower({name}::text) LIKE ANY(%s)" for name in names)
    spellings = [target.needle.folded, target.needle.like] * len(names)
    query = f"SELECT id FROM {table} WHERE project_id = %s AND id > %s AND id <= %s AND ({named}) ORDER BY id"
    done = Done(None if high is None else UUID(int=high))
    for (pk,) in rows(query, [target.project_id, low, high or 2**63 - 1, *spellings]):
        for name, count in change(target.needle, pk).items():
            done.counts[name] = done.counts.get(name, 0) + count
    return done


# --- devices


def devices(target: Target, place: UUID | None) -> Done:
    return _page(target, place, "tracking_device", ("token", "hwid", "user_id", "tags", "detail"), _device)


def _device(needle: Needle, pk: int) -> dict[str, int]:
    """One with their token goes. Of one that is theirs by its user or its own id, the token alone says nothing."""
    device = Device.objects.get(pk=pk)
    if needle.is_it(device.token):
        return {"device": device.delete()[0]}
    before = (device.hwid, device.user_id, device.tags, device.detail)
    for name in ("hwid", "user_id"):
        if needle.inside(getattr(device, name)) != getattr(device, name):
            setattr(device, name, "")
    device.tags, device.detail = needle.json(device.tags), needle.text(device.detail)[:300]
    if before == (device.hwid, device.user_id, device.tags, device.detail):
        return {}
    device.save(update_fields=["hwid", "user_id", "tags", "detail"])
    return {"device": 1}


# --- what they said, and what is said of them


def _hashes(needle: Needle) -> list[bytes]:
    return [address_hash(channel, address) for channel, _ in CHANNELS for address in needle.folded]


def consents(target: Target, place: UUID | None) -> Done:
    """The entries stay, as keyed hashes: what they did not allow is not done, though nobody can read who they are."""
    found = Consent.objects.filter(project_id=target.project_id, address_hash__in=_hashes(target.needle))
    theirs = ConsentChange.objects.filter(consent__in=found).exclude(note="").update(note="") if place is None else 0
    blanked = found.exclude(address="").update(address="") if place is None else 0
    done = _page(target, place, _NOTES, ("note",), _consent_change)
    done.counts["consent"] = blanked
    done.counts["consent_change"] = done.counts.get("consent_change", 0) + theirs
    return done


# of others' consents: operators' words may name them
_NOTES = (
    "(SELECT c.id, t.project_id, c.note FROM tracking_consent_change c JOIN tracking_consent t ON t.id = c.consent_id"
    " WHERE c.note <> '') AS noted"
)


def _consent_change(needle: Needle, pk: int) -> dict[str, int]:
    change = ConsentChange.objects.get(pk=pk)
    note = needle.text(change.note)[:300]
    return {"consent_change": ConsentChange.objects.filter(pk=pk).exclude(note=note).update(note=note)}


def suppressions(target: Target, place: UUID | None) -> Done:
    """As consents: nothing is sent to them. Notes of other entries may name them."""
    found = Suppression.objects.filter(project_id=target.project_id, address_hash__in=_hashes(target.needle))
    blanked = found.exclude(address="", note="").update(address="", note="") if place is None else 0
    done = _page(target, place, "tracking_suppression", ("note",), _suppression)
    done.counts["suppression"] = done.counts.get("suppression", 0) + blanked
    return done


def _suppression(needle: Needle, pk: int) -> dict[str, int]:
    entry = Suppression.objects.get(pk=pk)
    note = needle.text(entry.note)[:300]
    return {"suppression": Suppression.objects.filter(pk=pk).exclude(note=note).update(note=note)}


# --- chat


def chat_users(target: Target, place: UUID | None) -> Done:
    return _page(target, place, "chat_user", ("user_id", "display_name"), _chat_user)


def _chat_user(needle: Needle, pk: int) -> dict[str, int]:
    """Their markers stay, for the counts of the messages that they read; they are in no channel any more."""
    user = ChatUser.objects.get(pk=pk)
    if needle.text(user.user_id) == user.user_id:
        name = needle.text(user.display_name)[:200]
        return {"chat_user": ChatUser.objects.filter(pk=pk).exclude(display_name=name).update(display_name=name)}
    nobody = {"user_id": f"{ERASED} {pk}", "display_name": "", "sessions_since": datetime.now(UTC)}
    members = ChatMember.objects.filter(user_id=pk).update(membership=Membership.DELETED, reading_since=None)
    return {"chat_user": ChatUser.objects.filter(pk=pk).update(**nobody), "chat_member": members}


def chat_channels(target: Target, place: UUID | None) -> Done:
    return _page(target, place, "chat_channel", ("key", "name"), _chat_channel)


def _chat_channel(needle: Needle, pk: int) -> dict[str, int]:
    """A key that was made of their id, as a conversation's may be, gets the row's number: no two may be the same."""
    channel = ChatChannel.objects.get(pk=pk)
    key, name = needle.inside(channel.key), needle.text(channel.name)[:200]
    if key != channel.key:
        key = f"{key[:80]}-{pk}"
    changed = ChatChannel.objects.filter(pk=pk).exclude(key=key, name=name)
    return {"chat_channel": changed.update(key=key, name=name)}
