"""Webhook endpoints: made, changed, switched, given a new secret, tested, deleted. Called by the API and the admin.

A secret is shown by the call that sets it, and never again. A change reaches every process within two seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction

from providers.vault import SealBroken
from tracking import endpoint_schema, ids, signing_out, subscribers, wake
from tracking.models import Delivery, DeliveryAttempt, DeliveryState, DisabledReason, Endpoint, EventType, Project
from tracking.models.outbound import TEST
from tracking.schema import FieldError, Invalid
from tracking.services import publish
from tracking.services.act import Missing, Refused

MAX_ENDPOINTS = 50  # of one project
TEST_TIMEOUT = 5.0  # seconds: whoever asked is waiting


def of_project(project_id: int) -> list[Endpoint]:
    return list(Endpoint.objects.filter(project_id=project_id, deleted_at=None, digest="").order_by("pk"))


def find(endpoint_id: int, *, project_id: int | None = None, lock: bool = False) -> Endpoint:
    """`project_id`: only this project's. Raises Missing."""
    found = Endpoint.objects.filter(pk=endpoint_id, deleted_at=None)
    if project_id is not None:
        found = found.filter(project_id=project_id, digest="")
    endpoint = (found.select_for_update() if lock else found).first()
    if endpoint is None:
        raise Missing
    return endpoint


@transaction.atomic
def create(*, project_id: int, document: Any) -> tuple[Endpoint, str]:
    """The endpoint and its secret. Raises Invalid, Refused."""
    wanted = endpoint_schema.new_endpoint(document, publish.policy())
    Project.objects.select_for_update().get(pk=project_id)  # the limit holds for calls at the same time too
    _room_for_one_more(project_id)
    values = wanted.model_dump(exclude={"secret", "custom_headers"})
    endpoint = Endpoint(project_id=project_id, **values)
    secret = wanted.secret or signing_out.new_secret()
    endpoint.seal(secret=secret, headers={name: text or "" for name, text in wanted.custom_headers.items()})
    endpoint.save()
    _tell_processes()
    return endpoint, secret


def check_url(url: str, pointer: str) -> None:
    """Whether it may be called, as far as can be known now. Raises Invalid."""
    endpoint_schema.check_url(url, publish.policy(), pointer)


@transaction.atomic
def for_exports(*, project_id: int, url: str) -> tuple[Endpoint, str | None]:
    """The project's endpoint of this address; a new one subscribes to nothing, and its secret comes with it. The
    address is checked already. Raises Invalid, Refused."""
    Project.objects.select_for_update().get(pk=project_id)
    of_address = Endpoint.objects.filter(project_id=project_id, url=url, deleted_at=None, digest="")
    known = of_address.order_by("-active", "pk").first()
    if known is None:
        _room_for_one_more(project_id)
        secret = signing_out.new_secret()
        endpoint = Endpoint(project_id=project_id, url=url, events=[], description="Told of exports that name it")
        endpoint.seal(secret=secret)
        endpoint.save()
        return endpoint, secret
    if not known.active:
        raise Invalid([FieldError("/webhook_url", f"is webhook {known.pk}, which is switched off: activate it first")])
    return known, None


def _room_for_one_more(project_id: int) -> None:
    if Endpoint.objects.filter(project_id=project_id, deleted_at=None, digest="").count() >= MAX_ENDPOINTS:
        raise Refused(f"a project has at most {MAX_ENDPOINTS} webhook endpoints")


def change(endpoint_id: int, *, project_id: int, document: Any) -> Endpoint:
    """Raises Missing, Invalid."""
    find(endpoint_id, project_id=project_id)
    # may ask the name server: while the row is locked, the loop cannot record what any endpoint answered
    return _change(endpoint_id, project_id, endpoint_schema.changes(document, publish.policy()))


@transaction.atomic
def _change(endpoint_id: int, project_id: int, values: dict[str, Any]) -> Endpoint:
    endpoint = find(endpoint_id, project_id=project_id, lock=True)
    for name, value in values.items():
        if name == "custom_headers":
            known = endpoint.known["headers"]
            kept = {each: known.get(each, "") if text is None else text for each, text in value.items()}
            endpoint.seal(headers=kept)
        else:
            setattr(endpoint, name, value)
    endpoint.save(update_fields=["url", "events", "description", "max_in_flight", "style", "sealed"])
    _tell_processes()
    return endpoint


@transaction.atomic
def delete(endpoint_id: int, *, project_id: int) -> None:
    """Nothing more is sent to it from now on; the prune job removes what is left. Raises Missing."""
    endpoint = find(endpoint_id, project_id=project_id, lock=True)
    endpoint.active, endpoint.deleted_at = False, datetime.now(UTC)
    endpoint.sealed = ""
    endpoint.save(update_fields=["active", "deleted_at", "sealed"])
    _tell_processes()


@transaction.atomic
def activate(endpoint_id: int, *, project_id: int | None = None) -> Endpoint:
    """What has waited for it goes out now; what was given up can be replayed. Raises Missing."""
    endpoint = find(endpoint_id, project_id=project_id, lock=True)
    endpoint.active, endpoint.disabled_reason, endpoint.disabled_at = True, "", None
    endpoint.failing_since = endpoint.hold_until = None
    endpoint.save(update_fields=["active", "disabled_reason", "disabled_at", "failing_since", "hold_until"])
    _tell_processes()
    wake.after_commit(wake.PUBLISH)
    return endpoint


@transaction.atomic
def deactivate(endpoint_id: int, *, project_id: int | None = None) -> Endpoint:
    """Nothing is sent and nothing gathered for it. What is pending waits. Raises Missing."""
    endpoint = find(endpoint_id, project_id=project_id, lock=True)
    endpoint.active, endpoint.disabled_reason, endpoint.disabled_at = False, "", None
    endpoint.save(update_fields=["active", "disabled_reason", "disabled_at"])
    _tell_processes()
    return endpoint


@transaction.atomic
def rotate(endpoint_id: int, *, project_id: int | None = None, document: Any) -> tuple[Endpoint, str]:
    """A new secret; the one before signs beside it for a while. There are never more than two: while one before still
    signs, only a change without any overlap is possible, for secrets that have leaked. As `create`. Raises Missing,
    Invalid, Refused."""
    wanted = endpoint_schema.rotation(document)
    endpoint = find(endpoint_id, project_id=project_id, lock=True)
    if (until := _both_until(endpoint)) and endpoint.known["previous"] and wanted.overlap_hours:
        raise Refused(
            f"the secret before this one signs until {until.isoformat(timespec='seconds')}: rotate again then, or with "
            "overlap_hours 0, which ends both secrets at once"
        )
    secret = wanted.secret or signing_out.new_secret()
    endpoint.seal(secret=secret, previous=endpoint.known["secret"])
    endpoint.previous_until = datetime.now(UTC) + timedelta(hours=wanted.overlap_hours)
    endpoint.save(update_fields=["sealed", "previous_until"])
    return endpoint, secret


def test(endpoint_id: int, *, project_id: int | None = None) -> dict[str, Any]:
    """Call it now, whatever its state, with an event of type webhook.test. What came of it. Raises Missing, Refused."""
    endpoint = find(endpoint_id, project_id=project_id)
    now, key = datetime.now(UTC), ids.new()
    try:
        secrets, headers = publish.valid_secrets(endpoint, now), endpoint.opened["headers"]
    except SealBroken:
        raise Refused("its secret cannot be opened any more: give it a new one") from None
    payload = {"id": str(key), "type": TEST, "timestamp": now.isoformat(), "data": {"webhook_id": endpoint.pk}}
    body = publish.body_of(payload)
    letter = publish.Letter(endpoint.pk, key, key, 1, endpoint.url, secrets, headers, body)
    outcome = publish.tell(letter, timeout=TEST_TIMEOUT)
    state = DeliveryState.DELIVERED if outcome.good else DeliveryState.FAILED
    with transaction.atomic():
        delivery = Delivery.objects.create(
            id=key, endpoint=endpoint, event=TEST, payload=payload, state=state, attempts=1, next_try_at=now
        )
        DeliveryAttempt.objects.create(
            delivery=delivery,
            at=outcome.at,
            milliseconds=outcome.milliseconds,
            status=outcome.status,
            error=outcome.error,
            answer=outcome.answer,
        )
    return {
        "delivered": outcome.good,
        "response_status": outcome.status,
        "response_time": outcome.milliseconds,
        "response_body": outcome.answer,
        "error": outcome.error or None,
        "delivery_id": key,
    }


def shape(endpoint: Endpoint) -> dict[str, Any]:
    """As the API shows it: the headers' names, never their values."""
    return {
        "id": endpoint.pk,
        "url": endpoint.url,
        "events": endpoint.events,
        "description": endpoint.description,
        "custom_headers": dict.fromkeys(endpoint.known["headers"]),
        "max_in_flight": endpoint.max_in_flight,
        "style": endpoint.style,
        "is_active": endpoint.active,
        "disabled_reason": endpoint.disabled_reason or None,
        "disabled_at": endpoint.disabled_at,
        "failing_since": endpoint.failing_since,
        "last_attempt_at": endpoint.last_attempt_at,
        "previous_secret_until": _both_until(endpoint),
        "created_at": endpoint.created_at,
    }


def _both_until(endpoint: Endpoint) -> datetime | None:
    """Until when the secret before signs too; None: it does not."""
    until = endpoint.previous_until
    return until if until and until > datetime.now(UTC) else None


def with_secret(endpoint: Endpoint, secret: str) -> dict[str, Any]:
    """The answer that shows a secret: as it was given, and as libraries of Standard Webhooks take it."""
    return {**shape(endpoint), "secret": secret, "signing_secret": signing_out.whsec_of(secret)}


def named(endpoint: Endpoint, secret: str | None) -> dict[str, Any]:
    """Which endpoint a request has led to; with its secret where that is new."""
    found: dict[str, Any] = {"id": endpoint.pk, "url": endpoint.url}
    return found if secret is None else {**found, "secret": secret, "signing_secret": signing_out.whsec_of(secret)}


def state_of(endpoint: Endpoint) -> str:
    """In a word, for people: active, failing, inactive, gone, disabled."""
    if endpoint.active:
        return "failing" if endpoint.failing_since else "active"
    words = {DisabledReason.GONE: "gone", DisabledReason.FAILING: "disabled"}
    return words.get(DisabledReason(endpoint.disabled_reason), "") if endpoint.disabled_reason else "inactive"


def event_types() -> list[str]:
    return [event.value for event in EventType]


def _tell_processes() -> None:
    """This process sees the change at once, the others within two seconds."""
    transaction.on_commit(subscribers.forget)
