"""Problem documents (RFC 9457). Pure; used by the API for whole answers and by submit for items of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from tracking.schema import FieldError


def document(status: int, kind: str, detail: str, errors: Sequence[FieldError] = ()) -> dict[str, Any]:
    """`kind` tells problems of the same status apart: docs/api.md lists them."""
    problem: dict[str, Any] = {
        "type": f"urn:postroom:{kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        problem["errors"] = [{"pointer": pointer, "detail": text} for pointer, text in errors]
    return problem


def invalid(errors: Sequence[FieldError]) -> dict[str, Any]:
    detail = "; ".join(f"{pointer or 'the request'} {text}" for pointer, text in errors[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return document(422, "invalid", detail + more, errors)
