"""GET /downloads/exports/<token>: the file of an export, for whoever has its signed address. Needs no key.

An address that was never ours, and one whose file is gone, are answered 404; one whose time is over, 410.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from tracking.services import export_links, exports

TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl", "gz": "application/gzip"}
_NEVER_KEPT = {"Cache-Control": "private, no-store", "Referrer-Policy": "no-referrer"}


@csrf_exempt  # a POST hears that it is no method here, and not of forms
@require_safe
def export(request: HttpRequest, token: str) -> HttpResponseBase:
    try:
        key = export_links.opened(token, datetime.now(UTC))
    except export_links.Over:
        return _said(410, "The time of this address is over: ask for a new one.")
    except export_links.Forged:
        return _said(404, "There is nothing at this address.")
    found = exports.opened(key, count=request.method == "GET")
    if found is None:
        return _said(404, "The file of this export is not kept any more.")
    name, file = found
    kind = TYPES[name.rpartition(".")[2]]
    return FileResponse(file, as_attachment=True, filename=name, content_type=kind, headers=_NEVER_KEPT)


def _said(status: int, text: str) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8", headers=_NEVER_KEPT)
