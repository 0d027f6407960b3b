"""The OpenAPI 3.1 document of /v1, by drf-spectacular from what each view declares: `scopes`, `describes` and its
docstring. DRF finds AutoSchema and drf-spectacular the hook by the settings; `document` is for v1.docs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from inspect import cleandoc
from typing import Any

import orjson
from drf_spectacular.contrib.pydantic import PydanticExtension
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema as Base
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from pydantic import BaseModel

from tracking.api import json, problems
from tracking.api.describe import Operation
from tracking.api.v1.shapes import Problem

NATIVE = "/v1/"
_REFS = "#/components/schemas/{model}"
_BODY_ERRORS = (413, 415, 422)
_ALWAYS = (400, 401, 403, 429, 503)


@cache
def document() -> bytes:
    """Made once in each process."""
    generator: Any = SchemaGenerator  # untyped, as some others below
    return orjson.dumps(generator().get_schema(request=None, public=True))


def keep_native(endpoints: list[Any]) -> list[Any]:
    """/api/v1 is the same once more; the interfaces of other systems are described by those."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(NATIVE)]


class AutoSchema(Base):
    @property
    def operation(self) -> Operation:
        declared: Operation | None = getattr(self.view, "describes", {}).get(self.method)
        if declared is not None:
            return declared
        return Operation(summary=(type(self.view).__doc__ or type(self.view).__name__).strip().splitlines()[0])

    def get_summary(self) -> str:
        return self.operation.summary

    def get_description(self) -> str:  # type: ignore[override]
        scope = getattr(self.view, "scopes", {}).get(self.method)
        needs = f"Needs the scope `{scope}`." if scope else ""
        own = cleandoc(vars(type(self.view)).get("__doc__") or "")  # not that of the class above
        return "\n\n".join(part for part in (own, needs) if part)

    def get_tags(self) -> list[str]:
        return [self.path.removeprefix(NATIVE).split("/")[0]]

    def get_operation_id(self) -> str:
        name = type(self.view).__name__
        return f"{(self.method or '').lower()}{name}"

    def get_request_serializer(self) -> Any:
        return self.operation.body

    def get_examples(self) -> list[OpenApiExample]:
        if not self.operation.example:
            return []
        return [OpenApiExample("example", value=dict(self.operation.example), request_only=True)]

    def get_response_serializers(self) -> Any:
        operation = self.operation
        own = (operation.status, operation.media_type)
        known: dict[Any, Any] = {own: _response(operation.status, operation.answer)}
        for status, answer in operation.also.items():
            known[status] = _response(status, answer)
        for status in self._errors():
            known[status, problems.MEDIA_TYPE] = _response(status, Problem)
        return known

    def _errors(self) -> Iterator[int]:
        yield from _ALWAYS
        if "{" in self.path:
            yield 404
        if self.method in ("POST", "PATCH", "PUT", "DELETE"):
            yield 409
        if self.operation.body is not None:
            yield from _BODY_ERRORS
        yield from self.operation.errors

    def get_override_parameters(self) -> list[Any]:
        operation = self.operation
        found = list(_parameters(operation.query)) if operation.query else []
        if operation.repeatable:
            text = "The same key and body again give the first answer, for 24 hours."
            schema = {"type": "string", "pattern": "^[!-~]{1,255}$"}
            found.append(OpenApiParameter("Idempotency-Key", schema, OpenApiParameter.HEADER, description=text))
        return found + [*_ANSWER_HEADERS]

    def map_renderers(self, attribute: str) -> list[Any]:
        return [json.MEDIA_TYPE]

    def map_parsers(self) -> list[Any]:
        return [json.MEDIA_TYPE]


def _response(status: int, answer: type[BaseModel] | None) -> OpenApiResponse:
    return OpenApiResponse(answer, HTTPStatus(status).phrase)


def _header(name: str, what: str, statuses: list[Any], kind: Any = OpenApiTypes.INT) -> OpenApiParameter:
    place: Any = OpenApiParameter.HEADER
    return OpenApiParameter(name, kind, place, response=statuses, description=what)


_LIMITED = [200, 201, 202, 204, 307, 400, 403, 404, 409, 410, 413, 415, 422, 429]
_ANSWER_HEADERS = [
    _header("X-RateLimit-Limit", "requests a minute that the key may make", _LIMITED),
    _header("X-RateLimit-Remaining", "how many are left", _LIMITED),
    _header("X-RateLimit-Reset", "when the next minute begins, in seconds since 1970", _LIMITED),
    _header("Retry-After", "seconds", [429, 503]),
    _header("Location", "where this is answered, with a ticket that is good for a minute", [307], OpenApiTypes.URI),
]


def _parameters(query: type[BaseModel]) -> Iterator[OpenApiParameter]:
    found = query.model_json_schema()
    for name, schema in _inlined(found["properties"], found.get("$defs", {})).items():
        described = {key: value for key, value in schema.items() if key not in ("title", "anyOf", "default")}
        for choice in schema.get("anyOf", ()):  # null means that it is left out
            described |= {key: value for key, value in choice.items() if choice != {"type": "null"}}
        if schema.get("default"):  # an empty one says nothing
            described["default"] = schema["default"]
        several: Any = {"style": "form", "explode": False} if described.get("type") == "array" else {}
        yield OpenApiParameter(
            name,
            described,
            OpenApiParameter.QUERY,
            required=name in found.get("required", ()),
            description=described.pop("description", ""),
            **several,  # separated by commas
        )


def _inlined(node: Any, parts: dict[str, Any]) -> Any:
    """Without references: a parameter's schema stands alone."""
    if isinstance(node, list):
        return [_inlined(each, parts) for each in node]
    if not isinstance(node, dict):
        return node
    if reference := node.get("$ref"):
        return _inlined(parts[reference.rpartition("/")[2]], parts)
    return {name: _inlined(value, parts) for name, value in node.items()}


class Models(PydanticExtension):  # type: ignore[no-untyped-call]
    """Requests may leave out what has a default; answers hold everything."""

    target_class = "pydantic.BaseModel"
    match_subclasses = True
    priority = 1

    def map_serializer(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        mode: Any = "validation" if direction == "request" else "serialization"
        schema: dict[str, Any] = self.target.model_json_schema(ref_template=_REFS, mode=mode)
        for name, part in schema.pop("$defs", {}).items():
            component: Any = ResolvedComponent
            kind = ResolvedComponent.SCHEMA
            auto_schema.registry.register_on_missing(component(name=name, type=kind, object=name, schema=part))
        return schema


class Key(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "tracking.api.authentication.KeyAuthentication"
    name = ["bearer", "header"]

    def get_security_definition(self, auto_schema: Any) -> Any:
        return [{"type": "http", "scheme": "bearer"}, {"type": "apiKey", "in": "header", "name": "X-API-Key"}]

    def get_security_requirement(self, auto_schema: Any) -> Any:
        return [{"bearer": []}, {"header": []}]
