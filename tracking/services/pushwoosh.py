"""What Pushwoosh's clients ask for, done by the services of our own. Called by the API's module of that name.

A notification becomes one message for each device. Its tracking code is the message's external id, so that it is found
in the console and by bulk-status too.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from tracking import address
from tracking.models import Device, PushwooshSettings
from tracking.pushwoosh_schema import MAX_DEVICES, PLATFORMS, CreateMessage, Pushed, RegisterDevice
from tracking.schema import FieldError, Invalid
from tracking.services import devices, submit
from tracking.services.idempotency import Key
from tracking.services.submit import Sender

NO_CODE = "CODE_NOT_AVAILABLE"  # stands for the code of a message that goes to named devices
META = "pushwoosh"  # the part of a message's metadata that is about this interface
_PATH = "/json/1.3/createMessage"
# a field of ours → the client's
_FIELDS = {"scheduled_at": "send_date", "recipient": "devices", "text": "content", "data": "data"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where one message goes. `named`: by which hwid or token its device was named."""

    token: str
    named: str
    hwid: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Targets:
    reached: Sequence[Target]
    unknown_devices: Sequence[str] = ()
    unknown_users: Sequence[str] = ()


def settings_of(project_id: int) -> PushwooshSettings | None:
    """None where the project does not take Pushwoosh's clients."""
    return PushwooshSettings.objects.filter(project_id=project_id, enabled=True).first()


def open_to_devices(application: str) -> PushwooshSettings | None:
    """The project whose devices may register with the application code alone."""
    return PushwooshSettings.objects.filter(application=application, enabled=True, open_registration=True).first()


# --- messages


def create_messages(sender: Sender, known: PushwooshSettings, request: CreateMessage, raw: Any) -> dict[str, Any]:
    """All notifications or none; `raw` is the request as it came. Raises Invalid, idempotency.Reused."""
    codes: list[str] = []
    unknown_devices: list[str] = []
    unknown_users: list[str] = []
    with transaction.atomic() if len(request.notifications) > 1 else nullcontext():
        for place, pushed in enumerate(request.notifications):
            found = _targets(known, pushed, place)
            codes += _push(sender, pushed, place, found.reached, raw["notifications"][place])
            unknown_devices += found.unknown_devices
            unknown_users += found.unknown_users
    answer: dict[str, Any] = {"Messages": [NO_CODE] * len(request.notifications), "TrackingCodes": codes}
    if unknown_devices:
        answer["UnknownDevices"] = {NO_CODE: unknown_devices}
    if unknown_users:
        answer["UnknownUsers"] = unknown_users
    return answer


def _push(sender: Sender, pushed: Pushed, place: int, targets: Sequence[Target], raw: Any) -> list[str]:
    """The tracking codes, in the order of the devices."""
    key = None
    if pushed.transactionId is not None:
        name = f"pushwoosh:{pushed.transactionId}"
        key = Key.of(sender.project_id, name, method="POST", path=_PATH, document=raw)
    answered = key.answered() if key else None
    if answered is None:
        if not targets:
            return []
        documents = [_document(pushed, target) for target in targets]
        try:
            answered = submit.submit_batch(sender, {"notifications": documents}, key=key)
        except Invalid as invalid:
            raise Invalid([_in_its_words(invalid.errors[0], place)]) from None
    return [item["external_id"] for item in answered["notifications"]]


def _in_its_words(error: FieldError, place: int) -> FieldError:
    name = error.pointer.rpartition("/")[2]
    return FieldError(f"/notifications/{place}/{_FIELDS.get(name, name)}", error.detail)


def _document(pushed: Pushed, target: Target) -> dict[str, Any]:
    due = pushed.due()
    data = pushed.data | ({"link": pushed.link} if pushed.link else {})
    return {
        "channel": "push",
        "recipient": target.token,
        "subject": pushed.title,
        "content": {"text": pushed.text_for(target.language), "data": data},
        "external_id": new_code(),
        "scheduled_at": None if due is None else due.isoformat(),
        "metadata": {META: {**pushed.extras, "target": target.named, "hwid": target.hwid}},
    }


def new_code() -> str:
    text = secrets.token_hex(10).upper()
    return f"T-{text[:4]}-{text[4:12]}-{text[12:]}"


# --- devices


def _targets(known: PushwooshSettings, pushed: Pushed, place: int) -> Targets:
    if pushed.users is not None:
        return _of_users(known.project_id, pushed.users, place)
    names = list(dict.fromkeys(pushed.devices or ()))
    registered = devices.named(known.project_id, names)
    reached, unknown = [], []
    for name in names:
        device = registered.get(name)
        if device is not None and device.valid:
            reached.append(_target(device, name))
        elif device is None and not known.registered_only and _is_token(name):
            reached.append(Target(name, name))
        else:
            unknown.append(name)
    once = {target.token: target for target in reversed(reached)}  # a hwid and its token are one device
    return Targets([target for target in reached if once[target.token] is target], unknown)


def _of_users(project_id: int, users: Sequence[str], place: int) -> Targets:
    found = devices.of_users(project_id, users, MAX_DEVICES + 1)
    if len(found) > MAX_DEVICES:
        text = f"have more than {MAX_DEVICES:,} devices together: send to fewer at once"
        raise Invalid([FieldError(f"/notifications/{place}/users", text)])
    reached = {device.user_id for device in found}
    unknown = [user for user in dict.fromkeys(users) if user not in reached]
    return Targets([_target(device, device.hwid or device.token) for device in found], unknown_users=unknown)


def _target(device: Device, named: str) -> Target:
    return Target(device.token, named, device.hwid, device.language)


def _is_token(text: str) -> bool:
    try:
        return address.normal("push", text, "") == text
    except address.Bad:
        return False


def register_device(project_id: int, request: RegisterDevice) -> None:
    """Raises Invalid."""
    document = {
        "platform": PLATFORMS.get(request.device_type, "other"),
        "token": request.push_token,
        "hwid": request.hwid,
    }
    more = {"language": request.language, "user_id": request.userId}
    devices.register(project_id=project_id, document=document | {name: text for name, text in more.items() if text})


def unregister_device(project_id: int, hwid: str) -> None:
    """A device that is not there is gone already."""
    device = Device.objects.filter(project_id=project_id, hwid=hwid, valid=True).first()
    if device is not None:
        devices.invalidate(device, reason=devices.REMOVED)
