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

from tracking import retention
from tracking.api import json, problems
from tracking.api.authentication import Caller
from tracking.models import Scope
from tracking.services import act, bulk_status, listing, lookup, submit
from tracking.services.idempotency import Key

_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")


class View(APIView):
    """A resource of version 1."""

    scopes: ClassVar[dict[str, Scope]] = {}
    content_negotiation_class = json.OneFormat
    http_method_names = ["get", "post", "head"]

    @staticmethod
    def caller(request: Request) -> Caller:
        assert isinstance(request.auth, Caller)  # HasScope lets nobody else through
        return request.auth

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

    def get(self, request: Request) -> HttpResponse:
        return json.answer(listing.page(self.caller(request).project_id, request.query_params))

    def post(self, request: Request) -> HttpResponse:
        document = json.document(request)
        key = self.key(request, document)
        return json.answer(submit.submit(self.caller(request).sender, document, key=key), 202)


class NotificationBatch(View):
    scopes = {"POST": Scope.SEND}

    def post(self, request: Request) -> HttpResponse:
        document = json.document(request)
        key = self.key(request, document)
        return json.answer(submit.submit_batch(self.caller(request).sender, document, key=key), 202)


class BulkStatus(View):
    scopes = {"POST": Scope.READ}

    def post(self, request: Request) -> HttpResponse:
        caller = self.caller(request)
        asked = bulk_status.asked(json.document(request))
        return json.answer({"statuses": bulk_status.statuses(caller.project_id, asked, since=caller.project_since)})


class _OfOne(View):
    """About one message. An id that may have been the project's once is told from one that never was."""

    @staticmethod
    def found(caller: Caller, key: UUID, shape: Any) -> HttpResponse:
        if shape is None and retention.was_purged(caller.project_id, key, caller.project_since):
            raise problems.Problem(410, "purged", "This notification is older than what is kept.")
        return _or_404(shape)

    @staticmethod
    @contextmanager
    def telling_purged(caller: Caller, key: UUID) -> Iterator[None]:
        try:
            yield
        except act.Missing:
            if retention.was_purged(caller.project_id, key, caller.project_since):
                raise act.Refused("the message was purged") from None
            raise


class Notification(_OfOne):
    scopes = {"GET": Scope.READ}

    def get(self, request: Request, notification: str) -> HttpResponse:
        caller, key = self.caller(request), _id(notification)
        return self.found(caller, key, lookup.notification(caller.project_id, key))


class Events(_OfOne):
    scopes = {"GET": Scope.READ}

    def get(self, request: Request, notification: str) -> HttpResponse:
        caller, key = self.caller(request), _id(notification)
        events = lookup.timeline(caller.project_id, key, raw=Scope.RECEIPTS in caller.scopes)
        return self.found(caller, key, None if events is None else {"id": key, "events": events})


class Retry(_OfOne):
    scopes = {"POST": Scope.SEND}

    def post(self, request: Request, notification: str) -> HttpResponse:
        caller, key = self.caller(request), _id(notification)
        with self.telling_purged(caller, key):
            act.retry(key, project_id=caller.project_id, source=caller.source)
        return _or_404(lookup.status(caller.project_id, key), 202)


class Cancel(_OfOne):
    scopes = {"POST": Scope.SEND}

    def post(self, request: Request, notification: str) -> HttpResponse:
        caller, key = self.caller(request), _id(notification)
        with self.telling_purged(caller, key):
            act.cancel(key, project_id=caller.project_id, source=caller.source)
        return _or_404(lookup.status(caller.project_id, key), 202)


class Batch(View):
    scopes = {"GET": Scope.READ}

    def get(self, request: Request, batch: str) -> HttpResponse:
        if not re.fullmatch(r"[0-9]{1,18}", batch):
            raise act.Missing
        return _or_404(lookup.batch(self.caller(request).project_id, int(batch)))


class Nowhere(View):
    """Every other address below /v1."""

    http_method_names = ["get", "post", "put", "patch", "delete", "head", "options"]

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        return problems.not_found()


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise act.Missing from None


def _or_404(found: Any, status: int = 200) -> HttpResponse:
    return problems.not_found() if found is None else json.answer(found, status)
