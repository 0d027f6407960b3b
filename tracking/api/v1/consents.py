"""The native API, version 1: what recipients allow, by purpose. docs/engagement.md describes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from django.http import HttpResponse
from rest_framework.request import Request

from tracking import consent_schema
from tracking.api import json
from tracking.api.authentication import Caller
from tracking.api.describe import Operation
from tracking.api.v1 import consent_shapes as shapes
from tracking.api.v1.views import View
from tracking.consent_schema import Consent, OneConsent
from tracking.models import ConsentState, Scope
from tracking.schema import BadQuery, Invalid
from tracking.services import act, consents
from tracking.services.consents import Asked, By

Named = TypeVar("Named")


_CONSENT = {"channel": "email", "recipient": "ada@example.org", "purpose": "newsletter", "state": "withdrawn"}


class Consents(View):
    scopes = {"GET": Scope.READ, "PUT": Scope.MANAGE, "DELETE": Scope.MANAGE}
    describes = {
        "GET": Operation(
            "The consents of one recipient, or of the project, newest first",
            shapes.ConsentPage,
            query=consent_schema.ConsentQuery,
        ),
        "PUT": Operation("Set one consent", shapes.KnownConsent, body=consent_schema.Consent, example=_CONSENT),
        "DELETE": Operation(
            "Forget one consent; its history stays", None, 204, query=consent_schema.OneConsent, errors=(404,)
        ),
    }
    http_method_names = ["get", "put", "delete", "head"]

    def get(self, request: Request) -> HttpResponse:
        caller = self.caller(request)
        asked = _read(consent_schema.query, request, caller)
        if asked.channel is not None and asked.recipient is not None:
            found, following = (
                consents.of_recipient(
                    project_id=caller.project_id,
                    channel=asked.channel,
                    recipient=asked.recipient,
                    purpose=asked.purpose,
                ),
                0,
            )
        else:
            found, following = consents.page(
                project_id=caller.project_id,
                purpose=asked.purpose,
                before=int(asked.cursor) if asked.cursor else None,
                limit=asked.limit,
            )
        return json.answer({"consents": found, "next_cursor": str(following) if following else None})

    def put(self, request: Request) -> HttpResponse:
        caller = self.caller(request)
        wanted = consent_schema.consent(json.document(request), caller.default_region)
        (stands,) = _put(caller, [wanted])
        return json.answer(stands)

    def delete(self, request: Request) -> HttpResponse:
        caller = self.caller(request)
        wanted = _read(consent_schema.one, request, caller)
        if not consents.remove(project_id=caller.project_id, asked=_asked(wanted), by=_by(caller)):
            raise act.Missing
        return HttpResponse(status=204)


class ConsentBatch(View):
    """All of them are taken, or none."""

    scopes = {"PUT": Scope.MANAGE}
    describes = {
        "PUT": Operation(
            "Set up to 1,000 consents",
            shapes.ConsentsPut,
            body=consent_schema.ConsentBatch,
            example={"consents": [_CONSENT]},
        )
    }
    http_method_names = ["put"]

    def put(self, request: Request) -> HttpResponse:
        caller = self.caller(request)
        wanted = consent_schema.batch(json.document(request), caller.default_region)
        return json.answer({"consents": _put(caller, wanted)})


def _read(read: Callable[[Mapping[str, str], str], Named], request: Request, caller: Caller) -> Named:
    """The parameters of an address. Raises BadQuery."""
    try:
        return read(View.query(request), caller.default_region)
    except Invalid as invalid:
        raise BadQuery({error.pointer[1:]: error.detail for error in invalid.errors}) from None


def _put(caller: Caller, wanted: list[Consent]) -> list[dict[str, object]]:
    states = [(_asked(each), ConsentState(each.state)) for each in wanted]
    return consents.put(project_id=caller.project_id, wanted=states, by=_by(caller))


def _asked(named: Consent | OneConsent) -> Asked:
    return Asked(named.channel, named.recipient, named.purpose)


def _by(caller: Caller) -> By:
    return By("api", who=caller.prefix)
