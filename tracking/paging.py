"""What every list may be asked for. Pure; the models of lists' parameters build on it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from tracking import cursors
from tracking.schema import Strict

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
NOT_A_CURSOR = "is not a cursor of this list"


def _key(text: Any) -> UUID:
    try:
        return cursors.key(text if isinstance(text, str) else "")
    except cursors.NotACursor:
        raise PydanticCustomError("cursor", NOT_A_CURSOR) from None


Key = Annotated[UUID, BeforeValidator(_key, json_schema_input_type=str)]


class _Page(Strict):
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT


class PageQuery(_Page):
    cursor: Annotated[str, Field(description="next_cursor of the page before")] | None = None


class KeyPageQuery(_Page):
    """Of lists in the order of their rows' UUIDv7 keys."""

    cursor: Annotated[Key, Field(description="next_cursor of the page before")] | None = None


# of lists whose cursor is the number of the last row
Number = Annotated[str, Field(pattern=r"^[0-9]{1,18}$", description="next_cursor of the page before")]
