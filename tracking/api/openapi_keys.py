"""How the OpenAPI document says who may call: drf-spectacular finds these by the classes that authenticate. Imported by
openapi for that alone."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class Key(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "tracking.api.authentication.KeyAuthentication"
    name = ["bearer", "header"]

    def get_security_definition(self, auto_schema: Any) -> Any:
        return [
            {"type": "http", "scheme": "bearer", "description": "An API key."},
            {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
        ]

    def get_security_requirement(self, auto_schema: Any) -> Any:
        return [{"bearer": []}, {"header": []}]


class Bat(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "tracking.api.compat.smsbat_auth.BatAuthentication"
    name = ["smsbatKey", "basic"]

    def get_security_definition(self, auto_schema: Any) -> Any:
        two = "The user `@` with an API key as the password, or a username and password of the project's."
        return [
            {"type": "apiKey", "in": "header", "name": "X-Authorization-Key", "description": "An API key."},
            {"type": "http", "scheme": "basic", "description": two},
        ]

    def get_security_requirement(self, auto_schema: Any) -> Any:
        return [{"smsbatKey": []}, {"basic": []}]


class Session(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "tracking.api.compat.socialplus.base.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> Any:
        text = "The `accessToken` that `POST /api/v5/sessions` answers."
        return {"type": "http", "scheme": "bearer", "description": text}
