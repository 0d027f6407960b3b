"""Helpers of the engagement tests: a project that tracks, a message that was handed over, and its reader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import time_machine
from django.http import HttpResponse
from django.test import Client

from providers.base import Outbound, SendResult
from providers.models import ProviderAccount
from tests.builders import make_account, make_message, make_project
from tracking import accounts
from tracking.engagement import projects
from tracking.models import EngagementSettings, Message, Project
from tracking.services import dispatch, outcomes, visits
from tracking.services.handover import Outcome

READER = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Thunderbird/145.0"
BASE = "https://links.example.com"
ALL = {"opens": True, "clicks": True, "unsubscribe": True, "short_links": True, "push_callbacks": True}


def tracking_project(channel: str = "email", **kw: Any) -> tuple[Project, ProviderAccount]:
    """With everything on, unless something else is said."""
    project = make_project(name="Acme")
    account = make_account(project, channel=channel)
    EngagementSettings.objects.create(project=project, **{**ALL, "domain": BASE, **kw})
    projects.forget()
    accounts.forget()
    return project, account


def handed_over(project: Project, account: ProviderAccount, **document: Any) -> Outbound:
    """A message that was handed in and taken by the provider, as the provider got it."""
    make_message(project, **document)
    (handover,) = dispatch.start(account.pk, 1)
    outcomes.finish([Outcome(handover, datetime.now(UTC), result=SendResult("ref"))])
    return handover.outbound


def message_of(outbound: Outbound) -> Message:
    return Message.objects.get(pk=outbound.echo.partition(".")[0])


def links(text: str, kind: str = "[oculp]") -> list[str]:
    """The paths of the tracked addresses in it."""
    return re.findall(rf"{re.escape(BASE)}(/{kind}/[^\"'> ]+)", text)


def visit(path: str, method: str = "get", agent: str = READER, **kw: Any) -> HttpResponse:
    headers = {"User-Agent": agent, **kw.pop("headers", {})}
    answer: HttpResponse = getattr(Client(enforce_csrf_checks=True), method)(path, headers=headers, **kw)
    return answer


@contextmanager
def later(seconds: float) -> Iterator[None]:
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds)):
        yield


def settle() -> int:
    """What was taken in is recorded: time has passed."""
    with later(10 * 60):
        return visits.drain()
