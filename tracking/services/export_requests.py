"""Exports as applications ask for them: the request checked, the webhook that it names found or made. Called by the
API.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from providers.models import ProviderAccount
from tracking import cursors, export_schema, schema
from tracking.export_schema import NewExport
from tracking.models import Project
from tracking.paging import KeyPageQuery
from tracking.schema import FieldError, Invalid
from tracking.services import endpoints, exports


def create(*, project_id: int, document: Any, by: str, may_manage: bool) -> dict[str, Any]:
    """The new export, as the API shows it. Where `webhook_url` makes a new webhook, its secret is shown beside, once.
    `may_manage`: the caller may make webhooks. Raises Invalid, Refused, NotAllowed."""
    wanted = export_schema.new_export(document)
    filters = wanted.selected(datetime.now(UTC), account_id=_account(wanted, project_id))
    if wanted.webhook_url is not None:
        if not may_manage:
            raise NotAllowed
        endpoints.check_url(wanted.webhook_url, "/webhook_url")  # may ask the name server: not in the transaction
    with transaction.atomic():
        project = Project.objects.get(pk=project_id)
        endpoint, secret = None, None
        if wanted.webhook_url is not None:
            endpoint, secret = endpoints.for_exports(project_id=project_id, url=wanted.webhook_url)
        export = exports.request(
            project=project,
            filters=filters,
            by=by,
            format=wanted.format,
            columns=wanted.columns,
            gzip=wanted.gzip,
            endpoint=endpoint,
        )
    webhook = endpoints.named(endpoint, secret) if endpoint else None
    return {**exports.shape(export), "webhook": webhook}


class NotAllowed(Exception):
    """The caller may not make webhooks."""


def _account(wanted: NewExport, project_id: int) -> int | None:
    """Only of accounts that the project may use: it learns of no other's."""
    code = wanted.filters.provider
    if code is None:
        return None
    known = ProviderAccount.objects.filter(code=code, projects=project_id).values_list("pk", flat=True).first()
    if known is None:
        raise Invalid([FieldError("/filters/provider", "is not an account that this project may use")])
    return known


def page(project_id: int, query: Mapping[str, str]) -> dict[str, Any]:
    """Newest first. Raises BadQuery."""
    asked = schema.query(KeyPageQuery, query)
    found = exports.of_project(project_id, limit=asked.limit + 1, before=asked.cursor)
    more = cursors.of_key(found[asked.limit - 1].pk) if len(found) > asked.limit else None
    return {"exports": [exports.shape(each) for each in found[: asked.limit]], "next_cursor": more}
