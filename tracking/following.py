"""What a stream or a long poll may ask for. Used by the API, which sends its callers to the stream process, and by
that process. No ORM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from providers.base import Channel
from tracking import words
from tracking.schema import BadQuery
from tracking.statuses import Status

MAX_WAIT = 60  # seconds
MAX_MESSAGES = 100


def _several(value: Any) -> Any:
    """`email,sms` → both; nothing between two commas is nothing."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


Q = TypeVar("Q", bound=_Query)
_ONLY = Field(description="only these; separated by commas")


class StreamQuery(_Query):
    """`GET /v1/stream`: several values are separated by commas; what is left out wants everything."""

    channel: Annotated[frozenset[Channel], BeforeValidator(_several), _ONLY] = frozenset()
    status: Annotated[frozenset[Status], BeforeValidator(_several), _ONLY] = frozenset()
    notification_id: Annotated[frozenset[UUID], BeforeValidator(_several), Field(max_length=MAX_MESSAGES), _ONLY] = (
        frozenset()
    )
    last_event_id: int | None = Field(None, ge=0, lt=2**63, description="where to go on")


class WaitQuery(_Query):
    """`GET /v1/notifications/{id}?wait=30`. `status`: the one that the caller knows; another one is told at once."""

    wait: int = Field(0, ge=0, le=MAX_WAIT, description="seconds")
    status: Annotated[Status | None, Field(description="the one that the caller knows")] = None


def given(query: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A parameter that comes several times is as if its values were separated by commas."""
    return {name: ",".join(values) for name, values in query.items()}


def stream_query(given: Mapping[str, str]) -> StreamQuery:
    """Raises BadQuery."""
    return _checked(StreamQuery, given)


def wait_query(given: Mapping[str, str]) -> WaitQuery:
    """Raises BadQuery."""
    return _checked(WaitQuery, given)


def _checked(kind: type[Q], given: Mapping[str, str]) -> Q:
    try:
        return kind.model_validate(dict(given))
    except ValidationError as invalid:
        found = invalid.errors(include_url=False, include_input=False)
        raise BadQuery({str(error["loc"][0]): words.of(error, parameter=True) for error in found}) from None
