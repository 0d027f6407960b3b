"""What the answers of version 1 with numbers hold, for the OpenAPI document; made by the service `analytics`."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from pydantic import Field

from tracking.api.describe import Answer
from tracking.figures import DEFINITIONS


def _rate(metric: str, **kw: Any) -> Any:
    return Field(description=DEFINITIONS[metric].formula, **kw)


class Counted(Answer):
    """Counts of messages by the time when they were made; rates between 0 and 1, times in seconds, null where nothing
    was sent or delivered."""

    sent: Annotated[int, _rate("sent")]
    delivered: Annotated[int, _rate("delivered")]
    failed: Annotated[int, _rate("failed")]
    bounced: Annotated[int, _rate("bounced")]
    unknown: Annotated[int, _rate("unknown")]
    in_flight: Annotated[int, _rate("in_flight")]
    read: int
    created: Annotated[int, _rate("created")]
    delivery_rate: Annotated[float | None, _rate("delivery_rate", examples=[0.95])]
    bounce_rate: Annotated[float | None, _rate("bounce_rate")]
    failure_rate: Annotated[float | None, _rate("failure_rate")]
    read_rate: Annotated[float | None, _rate("read_rate")]
    avg_delivery_time: Annotated[float | None, _rate("delivery_mean", examples=[2.3])]


class MetricsEntry(Counted):
    """With `date`, or the name and value of what was grouped by."""

    date: Annotated[str, Field(description="when the step begins")] = ""
    provider: str | None = None
    channel: str = ""
    project: str = ""
    template: str = ""
    category: str = ""


class _Period(Answer):
    start_date: dt.date
    end_date: dt.date
    timezone: str


class DeliveryMetricsAnswer(_Period):
    metrics: list[MetricsEntry]
    group_by: str


class KeyFigures(Counted):
    delivery_rate_finalised: Annotated[float | None, _rate("delivery_rate_finalised")]
    delivery_time_p50: Annotated[float | None, _rate("delivery_p50")]
    delivery_time_p95: Annotated[float | None, _rate("delivery_p95")]
    delivery_time_p99: Annotated[float | None, _rate("delivery_p99")]
    slow_ratio: Annotated[float | None, _rate("slow_ratio")]


class ProviderFigures(KeyFigures):
    provider: str | None
    attempts: Annotated[int, _rate("attempts_started")]
    attempt_success: Annotated[float | None, _rate("attempt_success")]
    receipt_coverage: Annotated[float | None, _rate("receipt_coverage")]
    health: Annotated[float | None, _rate("health")]
    failures: Annotated[dict[str, int], Field(description="failed attempts by failure class")]
    bounces: Annotated[dict[str, int], Field(description="bounced attempts by bounce class")]


class ProvidersAnswer(_Period):
    providers: list[ProviderFigures]


class PerformanceAnswer(KeyFigures, _Period):
    matured: KeyFigures
    before: KeyFigures
    providers: list[ProviderFigures]
