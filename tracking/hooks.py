"""POST /hooks/<account token>: verify on the raw bytes, store the raw request, wake the receive loop, answer.

A 2xx means that the request is committed. Nothing is parsed here, so nothing that a provider sends can fail here.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from providers.base import HookRequest, Proof, Provider, VerificationFailed
from tracking import accounts, body, wake
from tracking.services import inbound

log = logging.getLogger(__name__)


@csrf_exempt
def receive(request: HttpRequest, token: str) -> HttpResponse:
    bound = accounts.by_token(token)
    if bound is None:
        return _answer(404, "no account has this address")
    adapter = bound.adapter
    if request.method not in adapter.hook_methods:
        return HttpResponse(status=405, headers={"Allow": ", ".join(sorted(adapter.hook_methods))})
    try:
        hook = _raw(request)
    except RequestDataTooBig:
        return _answer(413, "the body is larger than 10 MiB")
    except (UnreadablePostError, OSError):
        return _answer(400, "the body ended early")
    except body.LengthWrong:
        return _answer(400, "the Content-Length is not a number")
    proof = _verify(adapter, hook)
    if proof is None:
        return _answer(401, "the request does not prove that it comes from the provider")
    try:
        inbound.store(account_id=bound.account.pk, hook=hook, nonce=proof.nonce)
    except inbound.Replayed:
        return _answer(401, "this signature was used before, for another body")
    except (DatabaseError, InterfaceError) as error:
        log.error("a receipt of %s could not be stored: %s", bound.account.code, error)
        return HttpResponse(status=adapter.unavailable_status, headers={"Retry-After": "10"})
    wake.now(wake.RECEIVE)
    return _answer(200, "stored")


def _raw(request: HttpRequest) -> HookRequest:
    return HookRequest(
        method=request.method or "",
        url=settings.PUBLIC_URL + request.get_full_path(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body.read(request),
        received_at=datetime.now(UTC),
    )


def _verify(adapter: Provider, hook: HookRequest) -> Proof | None:
    try:
        return adapter.verify(hook)
    except VerificationFailed as failed:
        log.warning("refused a request to the hook of %s: %s", adapter.account.code, failed)
    except Exception:  # an adapter's bug must neither let a request in nor show as a 500
        log.exception("the adapter of %s could not verify a request", adapter.account.code)
    return None


def _answer(status: int, text: str) -> HttpResponse:
    return HttpResponse(text + "\n", status=status, content_type="text/plain")
