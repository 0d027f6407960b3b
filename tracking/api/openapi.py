"""The OpenAPI 3.1 document of everything that applications and providers call, by drf-spectacular from what each view
declares: `interface`, `scopes`, `describes` and its docstring. DRF finds AutoSchema, and drf-spectacular the two hooks,
by the settings; `document` is for v1.docs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from http import HTTPStatus
from inspect import cleandoc
from typing import Any

import orjson
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.contrib.pydantic import PydanticExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema as Base
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from pydantic import BaseModel

from tracking.api import openapi_keys, plain
from tracking.api.describe import Interface, Operation
from tracking.api.interfaces import NATIVE, TAGS

__all__ = ["AutoSchema", "add_tags", "choose", "document", "openapi_keys"]  # the last one is known by being imported

_ALIAS = "/api"  # before the native API's paths: the same once more
_REFS = "#/components/schemas/{model}"


@cache
def document() -> bytes:
    """Made once in each process."""
    generator: Any = SchemaGenerator  # untyped, as some others below
    return orjson.dumps(generator().get_schema(request=None, public=True))


def choose(endpoints: list[Any]) -> list[Any]:
    """What Django REST framework answers and what plain views do; what has two paths stands under the shorter one."""
    found = [*endpoints, *_plain(get_resolver().url_patterns)]
    paths = {endpoint[0] for endpoint in found}
    return [endpoint for endpoint in found if not _again(endpoint[0], paths)]


def _again(path: str, paths: set[str]) -> bool:
    return path.startswith(f"{_ALIAS}/") and path.removeprefix(_ALIAS) in paths


def _plain(patterns: Iterable[URLPattern | URLResolver], before: str = "/") -> Iterator[Any]:
    for each in patterns:
        route = f"{before}{each.pattern}"
        if isinstance(each, URLResolver):
            yield from _plain(each.url_patterns, route)
        elif stands := plain.VIEWS.get(each.name or ""):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
            yield from ((path, route, method, stands.as_view()) for method in stands.describes)


def add_tags(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """In the order in which the page shows them."""
    return result | {"tags": [{"name": name, "description": text} for name, text in TAGS.items()]}


class AutoSchema(Base):
    @property
    def operation(self) -> Operation:
        declared: Operation | None = getattr(self.view, "describes", {}).get(self.method)
        if declared is not None:
            return declared
        return Operation(summary=(type(self.view).__doc__ or type(self.view).__name__).strip().splitlines()[0])

    @property
    def interface(self) -> Interface:
        return getattr(self.view, "interface", NATIVE)

    def get_summary(self) -> str:
        return self.operation.summary

    def get_description(self) -> str:  # type: ignore[override]
        scope = getattr(self.view, "scopes", {}).get(self.method) or getattr(self.view, "scope", None)
        needs = f"Needs the scope `{scope}`." if scope else ""
        own = cleandoc(vars(type(self.view)).get("__doc__") or "")  # not that of the class above
        return "\n\n".join(part for part in (own, needs) if part)

    def get_auth(self) -> list[Any]:
        return [*super().get_auth(), *({name: []} for name in self.operation.security)]

    def get_tags(self) -> list[str]:
        return [self.interface.tag or self.path.split("/")[2]]

    def get_operation_id(self) -> str:
        method = (self.method or "").lower()
        if self.interface is NATIVE:
            return f"{method}{type(self.view).__name__}"
        words = re.findall(r"[A-Za-z0-9]+", self.path)  # some views answer at several addresses
        return method + "".join(word[:1].upper() + word[1:] for word in words)

    def get_request_serializer(self) -> Any:
        return self.operation.body

    def get_examples(self) -> list[OpenApiExample]:
        if not self.operation.example:
            return []
        value, kinds = dict(self.operation.example), self.operation.takes
        return [OpenApiExample("example", value=value, request_only=True, media_type=kind) for kind in kinds]

    def get_response_serializers(self) -> Any:
        operation, interface = self.operation, self.interface
        own = (operation.status, operation.media_type)
        known: dict[Any, Any] = {own: _response(operation.status, operation.answer)}
        for place, answer in operation.also.items():
            known[place] = _response(place if isinstance(place, int) else place[0], answer)
        for status in dict.fromkeys(self._errors()):
            known[status, interface.media_type] = _response(status, interface.error)
        return known

    def _errors(self) -> Iterator[int]:
        interface = self.interface
        yield from interface.always
        if "{" in self.path:
            yield from interface.of_paths
        if self.method != "GET":
            yield from interface.of_changes
        if self.operation.body is not None:
            yield from interface.of_bodies
        yield from self.operation.errors

    def get_override_parameters(self) -> list[Any]:
        operation = self.operation
        found = list(_parameters(operation.query)) if operation.query else []
        for name, values in operation.choices.items():
            found.append(OpenApiParameter(name, str, OpenApiParameter.PATH, enum=values))
        if operation.repeatable:
            text = "The same key and body again give the first answer, for 24 hours."
            schema = {"type": "string", "pattern": "^[!-~]{1,255}$"}
            found.append(OpenApiParameter("Idempotency-Key", schema, OpenApiParameter.HEADER, description=text))
        return found + [*(_LIMITS if self.interface.limited else ()), *_ANSWER_HEADERS]

    def map_renderers(self, attribute: str) -> list[Any]:
        return [self.operation.media_type]

    def map_parsers(self) -> list[Any]:
        return [*self.operation.takes]


def _response(status: int, answer: type[BaseModel] | None) -> OpenApiResponse:
    return OpenApiResponse(answer, HTTPStatus(status).phrase)


def _header(name: str, what: str, statuses: list[Any], kind: Any = OpenApiTypes.INT) -> OpenApiParameter:
    place: Any = OpenApiParameter.HEADER
    return OpenApiParameter(name, kind, place, response=statuses, description=what)


_LIMITED = [200, 201, 202, 204, 307, 400, 403, 404, 409, 410, 413, 415, 422, 429]
_LIMITS = [
    _header("X-RateLimit-Limit", "requests a minute that the key may make", _LIMITED),
    _header("X-RateLimit-Remaining", "how many are left", _LIMITED),
    _header("X-RateLimit-Reset", "when the next minute begins, in seconds since 1970", _LIMITED),
]
_ANSWER_HEADERS = [
    _header("Retry-After", "seconds", [429, 503]),
    _header("Location", "where the message's link leads", [302], OpenApiTypes.URI),
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
        repeated = name.endswith("[]")  # other arrays are separated by commas
        several: Any = {"style": "form", "explode": repeated} if described.get("type") == "array" else {}
        yield OpenApiParameter(
            name,
            described,
            OpenApiParameter.QUERY,
            required=name in found.get("required", ()),
            description=described.pop("description", ""),
            **several,
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
