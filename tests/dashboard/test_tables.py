"""Tables on narrow screens: each scrolls behind a shadow that says so, or its rows become lines; long codes are cut."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.core.cache import cache

from providers.models import ProviderAccount
from tests.builders import make_account, make_message, make_project
from tests.dashboard.people import superuser, text

LONG = "transactional-mail-eu-central-frankfurt-primary-2"
TEMPLATES = sorted((settings.BASE_DIR / "templates").rglob("*.html"))
# In a place that scrolls, or with rows that become lines.
FITTING = re.compile(r'class="scroll[^"]*"><table|<table class="[^"]*\b(folding|figures)\b')


@pytest.mark.parametrize(
    "template", [each for each in TEMPLATES if "<table" in each.read_text()], ids=lambda each: each.name
)
def test_every_table_fits_or_says_that_it_scrolls(template):
    lines = [line for line in template.read_text().splitlines() if "<table" in line]
    assert [line for line in lines if not FITTING.search(line)] == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "page", ["/admin/", "/admin/system/", "/admin/tracking/message/", "/admin/providers/provideraccount/"]
)
def test_a_long_code_is_shown_in_full_on_hover(page):
    cache.clear()
    project = make_project()
    account = make_account(project, code=LONG)
    make_message(project)
    assert ProviderAccount.objects.get() == account
    assert f'title="{LONG}"' in text(superuser().get(page))
