"""What the answers of version 1 about exports hold, for the OpenAPI document. The answers themselves are made by the
services `exports` and `export_requests`, and a test holds them against these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from tracking.api.describe import Answer
from tracking.models import ExportFormat, ExportState


class ExportProgress(Answer):
    rows: int
    estimated_total: int
    percent: int


class ExportStatus(Answer):
    id: UUID
    status: ExportState
    format: ExportFormat
    gzip: bool
    columns: list[str]
    filters: Annotated[dict[str, Any], Field(description="by the names of the parameters of GET /v1/notifications")]
    progress: ExportProgress
    bytes: int
    sha256: str | None
    download_url: Annotated[str | None, Field(description="needs no key, and expires")]
    download_url_expires_at: datetime | None
    downloads: int
    error: str | None
    created_at: datetime
    finished_at: datetime | None
    expires_at: Annotated[datetime | None, Field(description="when the file is removed")]


class ExportPage(Answer):
    exports: list[ExportStatus]
    next_cursor: str | None


class ExportWebhook(Answer):
    """Which endpoint will be told; a new one with its secret, shown this once."""

    id: int
    url: str
    secret: str = ""
    signing_secret: str = ""


class ExportTaken(ExportStatus):
    webhook: ExportWebhook | None
