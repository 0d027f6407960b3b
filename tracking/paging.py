"""What every list may be asked for. Pure; the models of lists' parameters build on it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tracking.schema import Strict

DEFAULT_LIMIT, MAX_LIMIT = 50, 200


class PageQuery(Strict):
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    cursor: Annotated[str, Field(description="next_cursor of the page before")] | None = None


# of lists whose cursor is the number of the last row
Number = Annotated[str, Field(pattern=r"^[0-9]{1,18}$", description="next_cursor of the page before")]
