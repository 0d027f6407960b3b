"""What lets applications in: API keys, and logins for those that know no keys."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard.admin.shown_once import ShownOnceAdmin
from dashboard.key_forms import ApiKeyForm, LoginForm
from tracking.models import ApiKey, Login
from tracking.services import keys, logins


@admin.register(ApiKey)
class ApiKeyAdmin(ShownOnceAdmin):
    form = ApiKeyForm
    name_field, secret_name = "name", "key"
    list_display = ("name", "project", "shown_prefix", "shown_scopes", "state", "created")
    search_fields = ("name", "prefix")
    readonly_fields = ("project", "name", "shown_prefix", "shown_scopes", "rate_limit", "state", "created")

    def make_row(self, wanted: dict[str, Any]) -> tuple[ApiKey, str]:
        key = keys.create(
            project=wanted["project"], name=wanted["name"], scopes=wanted["scopes"], rate_limit=wanted["rate_limit"]
        )
        return ApiKey.objects.get(prefix=key.split("_")[1]), key

    @admin.display(description="prefix")
    def shown_prefix(self, key: ApiKey) -> SafeString:
        return format_html('<span class="mono">pr_{}_…</span>', key.prefix)


@admin.register(Login)
class LoginAdmin(ShownOnceAdmin):
    form = LoginForm
    name_field, secret_name = "username", "password"
    list_display = ("username", "project", "shown_scopes", "state", "created")
    search_fields = ("username",)
    readonly_fields = ("project", "username", "shown_scopes", "state", "created")

    def make_row(self, wanted: dict[str, Any]) -> tuple[Login, str]:
        password = logins.create(project=wanted["project"], username=wanted["username"], scopes=wanted["scopes"])
        return Login.objects.get(username=wanted["username"]), password
