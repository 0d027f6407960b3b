"""The native API, version 1: notifications and batches. docs/api.md describes it for its callers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from tracking import retention, schema
from tracking.api import json, problems
from tracking.api.authentication import Caller
from tracking.api.describe import Operation
from tracking.api.v1 import shapes
from tracking.models import Scope
from tracking.services import act, bulk_status, listing, lookup, submit
from tracking.services.idempotency import Key

_MESSAGE = {"channel": "email", "recipient": "ada@example.org", "subject": "Order 7", "content": {"text": "Thank you."}}
_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")


class View(APIView):
    """A resource of version 1."""

    scopes: ClassVar[dict[str, Scope]] = {}
    describes: ClassVar[dict[str, Operation]] = {}
    content_negotiation_class = json.OneFormat
    http_method_names = ["get", "post", "head"]

    def check_permissions(self, request: Request) -> None:
        """What is refused for lack of a scope counts too."""
        super().check_throttles(request)
        super().check_permissions(request)

    def check_throttles(self, request: Request) -> None:
        """Done before the permissions."""

    @staticmethod
    def caller(request: Request) -> Caller:
        assert isinstance(request.auth, Caller)  # HasScope lets nobody else through
        return request.auth

    @staticmethod
    def query(request: Request) -> dict[str, str]:
        """The parameters of the address. Raises BadQuery."""
        if errors := schema.repeated(request.query_params.lists()):
            raise schema.BadQuery(errors)
        found: dict[str, str] = request.query_params.dict()
        return found

    @classmethod
    def key(cls, request: Request, document: Any) -> Key | None:
        """The Idempotency-Key, if there is one."""
        value = request.META.get("HTTP_IDEMPOTENCY_KEY")
        if value is None:
            return None
        if not _KEY.match(value):
            raise problems.Problem(400, "malformed", "An Idempotency-Key has 1 to 255 visible ASCII characters.")
        project = cls.caller(request).project_id
        return Key.of(project, value, method=request.method or "", path=request.path, document=document)


class Notifications(View):
    scopes = {"GET": Scope.READ, "POST": Scope.SEND}
    describes = {
        "GET": Operation("List messages, newest first", shapes.MessagePage, query=shapes.MessageQuery),
        "POST": Operation(
            "Hand a message in", shapes.MessageTaken, 202, body=schema.Notification, example=_MESSAGE, repeatable=True
        ),
    }

    def get(self, request: Request) -> HttpResponse:
        return json.answer(listing.page(self.caller(request).project_id, request.query_params))

    def post(self, request: Request) -> HttpResponse:
        document = json.document(request)
        key = self.key(request, document)
        return json.answer(submit.submit(self.caller(request).sender, document, key=key), 202)


class NotificationBatch(View):
    """Each item has an answer of its own; a wrong one stops none of the others."""

    scopes = {"POST": Scope.SEND}
    describes = {
        "POST": Operation(
            "Hand many messages in",
            shapes.BatchTaken,
            202,
            body=shapes.MessageBatch,
            example={"notifications": [_MESSAGE]},
            repeatable=True,
        )
    }

    def post(self, request: Request) -> HttpResponse:
        document = json.document(request)
        key = self.key(request, document)
        return json.answer(submit.submit_batch(self.caller(request).sender, document, key=key), 202)


class BulkStatus(View):
    """Each id is looked for as ours, then as an external_id, then as a provider's; answers are in the same order."""

    scopes = {"POST": Scope.READ}
    describes = {
        "POST": Operation(
            "Look many messages up",
            shapes.BulkStatuses,
            body=schema.BulkStatus,
            example={"notification_ids": ["notif_1", "notif_2", "notif_3"]},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        caller = self.caller(request)
        asked = bulk_status.asked(json.document(request))
        return json.answer({"statuses": bulk_status.statuses(caller.project_id, asked, since=caller.project_since)})


@contextmanager
def telling_purged(caller: Caller, key: UUID, told: Exception) -> Iterator[None]:
    """Raises `told` instead of Missing where an id may have been the project's once."""
    try:
        yield
    except act.Missing:
        if retention.was_purged(caller.project_id, key, caller.project_since):
            raise told from None
        raise


class _OfOne(View):
    """About one message. An id that may have been the project's once is told from one that never was."""

    @staticmethod
    def found(caller: Caller, key: UUID, shape: Any) -> HttpResponse:
        if shape is None and retention.was_purged(caller.project_id, key, caller.project_since):
            raise problems.purged()
        return _or_404(shape)


class Notification(_OfOne):
    scopes = {"GET": Scope.READ}

    def get(self, request: Request, notification: str) -> HttpResponse:
        caller, key = self.caller(request), _id(notification)
        return self.found(caller, key, lookup.notification(caller.project_id, key))


class Events(_OfOne):
    """Attempts, events and decisions, oldest first."""

    scopes = {"GET": Scope.READ}
    describes = {"GET": Operation("A message's timeline", shapes.Timeline, errors=(410,))}

    def get(self, request: Request, notification: str) -> HttpResponse:
        caller, key = self.caller(request), _id(notification)
        events = lookup.timeline(caller.project_id, key, raw=Scope.RECEIPTS in caller.scopes)
        return self.found(caller, key, None if events is None else {"id": key, "events": events})


class Retry(_OfOne):
    """Only what failed, bounced or is unknown, with a fresh budget of attempts."""

    scopes = {"POST": Scope.SEND}
    describes = {"POST": Operation("Send a message once more", shapes.MessageStatus, 202)}

    def post(self, request: Request, notification: str) -> HttpResponse:
        caller, key = self.caller(request), _id(notification)
        with telling_purged(caller, key, act.Refused("the message was purged")):
            act.retry(key, project_id=caller.project_id, source=caller.source)
        return _or_404(lookup.status(caller.project_id, key), 202)


class Cancel(_OfOne):
    """Only what still waits to be sent."""

    scopes = {"POST": Scope.SEND}
    describes = {"POST": Operation("Take a message back", shapes.MessageStatus, 202)}

    def post(self, request: Request, notification: str) -> HttpResponse:
        caller, key = self.caller(request), _id(notification)
        with telling_purged(caller, key, act.Refused("the message was purged")):
            act.cancel(key, project_id=caller.project_id, source=caller.source)
        return _or_404(lookup.status(caller.project_id, key), 202)


class Batch(View):
    scopes = {"GET": Scope.READ}
    describes = {"GET": Operation("Count a batch's messages", shapes.BatchCounts)}

    def get(self, request: Request, batch: str) -> HttpResponse:
        if not re.fullmatch(r"[0-9]{1,18}", batch):
            raise act.Missing
        return _or_404(lookup.batch(self.caller(request).project_id, int(batch)))


class Nowhere(View):
    """Every other address below /v1: nothing is there for anybody, and a key's requests count."""

    schema = None  # it is not described
    permission_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise act.Missing


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise act.Missing from None


def _or_404(found: Any, status: int = 200) -> HttpResponse:
    return problems.not_found() if found is None else json.answer(found, status)
