"""Filters that there are not, and values that no filter has: every list says so and leaves them out."""

from __future__ import annotations

import re
from html import unescape
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import BooleanField, Model
from django.test import Client
from django.urls import reverse

from dashboard.models import BulkOperation
from providers.models import ProviderAccount
from tests.builders import make_account, make_channel, make_channel_message, make_key, make_project
from tests.dashboard.people import superuser, text
from tracking.models import ApiKey, ChatChannel, Project

pytestmark = pytest.mark.django_db
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


@pytest.fixture
def client() -> Client:
    project = make_project()
    make_account(project)
    make_account(make_project(code="other"), kind="http")
    make_key(project)
    Group.objects.create(name="readers")
    return superuser()


def _list_of(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def _warnings(client: Client, url: str) -> list[str]:
    """What the page says; it comes whole, whatever is asked."""
    response = client.get(url, follow=True)
    assert response.status_code == 200
    page = text(response)
    said = re.findall(
        r'<li class="(?:warning|error)">(.*?)</li>|<p class="banner banner-warn" role="alert">(.*?)</p>', page
    )
    said += [(each, "") for each in re.findall(r'<p class="field-error" role="alert">(.*?)</p>', page)]
    return [unescape(one or other) for one, other in said]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
@pytest.mark.parametrize("query", ["nonsense=1", "nonsense=", "id__gt=0", "project__name__startswith=a", "a__b__c=1"])
def test_an_unknown_filter_is_said_by_every_list(client, model, query):
    (said,) = _warnings(client, f"{_list_of(model)}?{query}")
    assert f"There is no filter “{query.split('=')[0]}”" in said


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_a_list_without_a_query_says_nothing(client, model):
    assert _warnings(client, _list_of(model)) == []


def _filters() -> list[tuple[str, str]]:
    """Every filter of every list, by the name that it has in addresses."""
    found = []
    for model in MODELS:
        for each in admin.site._registry[model].list_filter:
            if isinstance(each, str):
                field = model._meta.get_field(each)
                plain = not (field.is_relation or field.choices or isinstance(field, BooleanField))
                name = each if plain else f"{each}__id__exact" if field.is_relation else f"{each}__exact"
            else:
                name = each.parameter_name
            found.append((_list_of(model), name))
    return found


@pytest.mark.parametrize(("url", "name"), _filters())
@pytest.mark.parametrize("value", ["pigeon", "-1", "99999999999999999999"])
def test_an_impossible_value_is_said_by_every_filter(client, url, name, value):
    said = _warnings(client, f"{url}?{name}={value}")
    assert len(said) == 1 and f"“{value}” is no" in said[0]


def test_a_possible_value_filters(client):
    account = make_account(make_project(code="third"), channel="sms")
    url = f"{_list_of(ProviderAccount)}?channel__exact=sms"
    assert _warnings(client, url) == []
    assert list(client.get(url).context["cl"].queryset) == [account]


def test_what_is_left_out_does_not_filter(client):
    """Whoever may look at the list could guess the beginning of a secret, letter by letter."""
    url = f"{_list_of(ProviderAccount)}?credentials__startswith=x&channel__exact=pigeon"
    assert len(_warnings(client, url)) == 2
    assert client.get(url).context["cl"].result_count == 2
    assert "startswith" not in client.get(url).context["cl"].get_query_string()


def test_what_is_said_is_escaped_and_bounded(client):
    names = "&".join(f"x{number}=1" for number in range(40))
    url = f"{_list_of(ProviderAccount)}?<script>alert(1)</script>=1&{names}"
    assert "<script>alert" not in text(client.get(url))
    assert len(_warnings(client, url)) == 5


def test_a_filter_by_what_is_alike_in_all_rows_is_said(client):
    Project.objects.exclude(code="other").delete()
    (said,) = _warnings(client, f"{_list_of(ApiKey)}?project__id__exact=77")
    assert "There is no filter “project__id__exact”" in said


def test_where_django_goes_back_to_the_whole_list_it_is_said(client):
    (said,) = _warnings(client, f"{_list_of(ProviderAccount)}?e=1")
    assert "this is the whole list" in said


def test_lists_inside_of_pages_say_it_too(client):
    channel = make_channel(make_project(code="chat"), users=["ada"])
    url = reverse("admin:tracking_chatchannel_change", args=[channel.pk])
    assert _warnings(client, f"{url}?membership=king") == ["“king” is no membership: the filter was left out."]
    assert _warnings(client, f"{url}?membership=member") == []
    listed = text(client.get(f"{_list_of(ChatChannel)}?project={channel.project_id}"))
    (link,) = re.findall(f'href="({url}[^"]*)"', listed)
    assert "_changelist_filters" in link and _warnings(client, unescape(link)) == []
    place = make_channel_message(channel, user="ada")
    url = reverse("admin:tracking_message_receivers", args=[place.pk])
    assert _warnings(client, f"{url}?kind=seen") == ["“seen” is no kind: the filter was left out."]
    operation = BulkOperation.objects.create(kind="retry", query="", rate=1, reason="x", token=uuid4())
    url = reverse("admin:dashboard_bulkoperation_change", args=[operation.pk])
    assert _warnings(client, f"{url}?outcome=lost") == ["“lost” is no outcome: the filter was left out."]
    assert _warnings(client, f"{url}?outcome=waiting") == []
