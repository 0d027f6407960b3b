"""How each interface says no where the request did not get as far as a view of its own. Called by the middleware."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracking import problem
from tracking.api import json, problems
from tracking.smsbat_schema import CODES

Form = Callable[[int, str, str], tuple[str, dict[str, Any]]]  # (status, kind, detail) → media type and document


def _problem(status: int, kind: str, detail: str) -> tuple[str, dict[str, Any]]:
    return problems.MEDIA_TYPE, problem.document(status, kind, detail)


def _smsbat(status: int, kind: str, detail: str) -> tuple[str, dict[str, Any]]:
    return json.MEDIA_TYPE, {"error": {"code": CODES.get(status, "REFUSED"), "message": detail}}


def _pushwoosh(status: int, kind: str, detail: str) -> tuple[str, dict[str, Any]]:
    return json.MEDIA_TYPE, {"status_code": status, "status_message": detail, "response": None}


def _socialplus(status: int, kind: str, detail: str) -> tuple[str, dict[str, Any]]:
    code = 500000 if status >= 500 else 400000  # the vendor's, for what has no code of its own
    return json.MEDIA_TYPE, {"status": "error", "code": code, "message": detail}


# The first root that fits counts.
_FORMS: tuple[tuple[str, Form], ...] = (
    ("/v1", _problem),
    ("/hooks", _problem),
    ("/bat", _smsbat),
    ("/json", _pushwoosh),
    *((root, _socialplus) for root in ("/api/v1/markers", "/api/v3", "/api/v4", "/api/v5")),
    ("/api", _problem),
)


def form_of(path: str) -> Form | None:
    """None: the address is for browsers."""
    return next((form for root, form in _FORMS if path == root or path.startswith(f"{root}/")), None)
