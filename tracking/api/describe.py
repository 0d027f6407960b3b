"""What a view says of its methods, for the OpenAPI document. Declared by views as `describes`, read by openapi."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

JSON = "application/json"


class Answer(BaseModel):
    """What an answer holds at least; fields may be added to it in later versions."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of a view. `query` and `body` are the models that it checks with; `example`: a body that is taken."""

    summary: str
    answer: type[BaseModel] | None = None  # None: no body
    status: int = 200
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    example: Mapping[str, Any] = field(default_factory=dict)
    repeatable: bool = False  # takes an Idempotency-Key
    media_type: str = JSON  # of the answer
    also: Mapping[int, type[BaseModel] | None] = field(default_factory=dict)  # other answers that are no errors
    errors: tuple[int, ...] = ()  # beside those that any operation of its kind may have
