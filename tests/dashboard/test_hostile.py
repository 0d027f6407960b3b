"""What no browser sends: every page of the admin gets malformed addresses and posts, and answers in words."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from tests.builders import make_account, make_key, make_message, make_project
from tests.dashboard.people import superuser

pytestmark = pytest.mark.django_db

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
IDS = ["x", "1", "-1", "9" * 30, "\x00", "1.5", "_00", "' OR 1=1 --", "00000000-0000-0000-0000-000000000000", "x" * 300]
VALUES = ["\x00", "x", "-1", "9" * 30, "[", ""]
GENERAL = ["o", "p", "all", "q", "e", "_popup", "_to_field", "_facets", "before", "after", "nonsense"]
LOOKUPS = ["", "__in", "__isnull", "__gte", "__range", "__id__exact", "__regex", "__nonsense"]


@pytest.fixture
def client() -> Client:
    """Somebody who may do everything, and a row or more in most tables."""
    project = make_project()
    make_account(project)
    make_key(project)
    make_message(project)
    Group.objects.create(name="readers")
    client = superuser()
    client.raise_request_exception = False  # a browser sees the 500, too
    return client


def page(model: type[Model], name: str, *key: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=key)


def check(client: Client, method: str, url: str, form: dict | None = None) -> str | None:
    answer = client.get(url) if method == "GET" else client.post(url, form or {})
    return f"{answer.status_code} {method} {url} {form or ''}" if answer.status_code >= 500 else None


def broken(found: list[str | None]) -> list[str]:
    return [each for each in found if each]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_absurd_parameters_of_a_list(client: Client, model: type[Model]) -> None:
    url = page(model, "changelist")
    names = [f"{field.name}{lookup}" for field in model._meta.fields[:4] for lookup in LOOKUPS]
    queries = [f"{name}={quote(value)}" for name in GENERAL for value in VALUES]
    queries += [f"{name}={quote(value)}" for name in names for value in VALUES[:3]]
    queries += [f"{filter_}={quote(value)}" for filter_ in ("project", "account", "batch", "time") for value in VALUES]
    queries += ["o=999", "o=-1.-1.x", "o=.", "p=-1", "p=999999999999", "project__id__exact=abc", "project__code=%00"]
    queries += ["%00=1", "%FF=1", "status__in=%00", "_changelist_filters=%00", "a__b__c__d=1", "pk=x", "id=%FF"]
    assert broken([check(client, "GET", f"{url}?{query}") for query in queries]) == []


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_ids_that_are_none(client: Client, model: type[Model]) -> None:
    found = []
    for key in IDS:
        for name in ("change", "delete", "history"):
            url = page(model, name, key)
            found += [check(client, "GET", url), check(client, "POST", url, {"post": "yes"})]
        base = page(model, "changelist")
        found += [check(client, "GET", f"{base}{quote(key)}/"), check(client, "POST", f"{base}{quote(key)}/retry/")]
    assert broken(found) == []


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_posts_that_no_form_makes(client: Client, model: type[Model]) -> None:
    found = []
    for key in IDS:
        for action in ("delete_selected", "try_now", "nonsense"):
            form = {"action": action, "_selected_action": key, "index": "0", "post": "yes"}
            found.append(check(client, "POST", page(model, "changelist"), form))
    for url in (page(model, "changelist"), page(model, "add"), page(model, "change", "1")):
        for value in VALUES:
            form = {field.name: value for field in model._meta.get_fields()}
            found.append(check(client, "POST", url, {**form, "_popup": value, "_to_field": value}))
            found.append(check(client, "POST", url, {"action": "delete_selected", "index": value}))
            found.append(check(client, "POST", url, {"form-TOTAL_FORMS": value, "_save": "Save"}))
            managed = {"grant_set-TOTAL_FORMS": value, "grant_set-INITIAL_FORMS": value}
            found.append(check(client, "POST", url, {**form, **managed}))
    assert broken(found) == []


def test_addresses_outside_of_the_models(client: Client) -> None:
    kinds = [*ContentType.objects.values_list("pk", flat=True)[:20], 0, 10**12]
    found = [check(client, "GET", f"/admin/r/{kind}/{quote(key)}/") for kind in kinds for key in ("1", "x", "\x00")]
    found += [check(client, "GET", f"/admin/{quote(text)}") for text in (*IDS, "auth/", "tracking/%00/", "jsi18n/")]
    query = "app_label=tracking&model_name=apikey&field_name=project"
    found += [
        check(client, "GET", f"/admin/autocomplete/?{query}&term=%00"),
        check(client, "GET", "/admin/autocomplete/"),
    ]
    found += [check(client, "GET", f"/admin/login/?next={quote(value)}") for value in VALUES]
    found += [check(client, "POST", "/admin/login/", {"username": v, "password": v}) for v in VALUES]
    found += [check(client, "POST", "/admin/password_change/", {"old_password": v}) for v in VALUES]
    found.append(check(client, "GET", f"/admin/auth/user/{quote(chr(0))}/password/"))
    found.append(check(client, "GET", "/admin/auth/user/" + "9" * 30 + "/password/"))
    assert broken(found) == []
