"""What a view says of its methods, for the OpenAPI document. Declared by views as `describes` and, where the view is of
another system's interface, `interface`; read by openapi."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, RootModel

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
HTML, PLAIN = "text/html", "text/plain"


class Answer(BaseModel):
    """What an answer holds at least; fields may be added to it in later versions."""


class Text(RootModel[str]):
    """For people."""


class File(RootModel[bytes]):
    """As it is."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of a view. `query` and `body` are the models that it checks with; `example`: a body that is taken."""

    summary: str
    answer: type[BaseModel] | None = None  # None: no body
    status: int = 200
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # for parts of the path that are no ids
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    example: Mapping[str, Any] = field(default_factory=dict)
    repeatable: bool = False  # takes an Idempotency-Key
    media_type: str = JSON  # of the answer
    takes: tuple[str, ...] = (JSON,)
    # other answers that are no errors of the interface's form, some with a media type of their own
    also: Mapping[int | tuple[int, str], type[BaseModel] | None] = field(default_factory=dict)
    errors: tuple[int, ...] = ()  # beside those that any operation of its kind may have
    security: tuple[str, ...] = ()  # of a view that authenticates by itself


@dataclass(frozen=True, slots=True)
class Interface:
    """What the addresses of one system's interface share."""

    tag: str  # "": the first part of the path
    error: type[BaseModel] | None  # what a refusal holds
    media_type: str = JSON  # of refusals
    always: tuple[int, ...] = ()  # refusals that any address may answer
    of_paths: tuple[int, ...] = ()  # … that names something
    of_changes: tuple[int, ...] = ()  # … by any method but GET
    of_bodies: tuple[int, ...] = ()  # … that takes a body
    limited: bool = True  # answers say how many requests are left
