"""What is to be done first in an installation that is empty, and the sample traffic that can be loaded instead. Called
by the overview; `load` and `send` are jobs in slices.

The sample is what a demonstration starts with: two weeks of made-up history, then a few minutes of messages that are
submitted to the sandbox's accounts. No day is written to a project that has messages since its beginning.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from django.core.management import call_command
from django.db import transaction
from django.urls import reverse

from providers.models import ProviderAccount
from tracking import ids, jobs
from tracking.models import ApiKey, Grant, Message, Project
from tracking.schema import Invalid
from tracking.services import history, submit
from tracking.services.record import Source
from tracking.traffic import Traffic

DAYS, MESSAGES = 14, 20_000  # of the history, about; as `seed_history` has it
LIVE = 120  # messages that are sent after it
PACE = 2.0  # seconds between them: more would dwarf the history on the charts
SLICE = 5  # of them in one task
A_MOMENT = timedelta(minutes=2)  # between the end of the history and now
GIVEN_UP = timedelta(minutes=20)  # after which nobody waits for the sample any more
PROJECT = "demo"  # seed_demo's


@dataclass(frozen=True, slots=True)
class Step:
    title: str
    text: str
    url: str
    done: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Of the sample traffic: so many of what."""

    what: str
    done: int
    of: int


def steps() -> list[Step]:
    """Nothing once a message has come in."""
    if Message.objects.order_by().exists():
        return []
    return [
        Step(
            "Add a provider account",
            "It says how messages leave: an SMTP server, a vendor’s API, or the sandbox, which sends nothing.",
            reverse("admin:providers_provideraccount_add"),
            ProviderAccount.objects.exists(),
        ),
        Step(
            "Add a project and grant it the account",
            "A project is one application that sends.",
            reverse("admin:tracking_project_add"),
            Grant.objects.exists(),
        ),
        Step(
            "Make an API key",
            "The application shows it with every request.",
            reverse("admin:tracking_apikey_add"),
            ApiKey.objects.filter(revoked=False).exists(),
        ),
        Step("Send a message", "POST it to /v1/notifications: the README has a curl for it.", "", False),
    ]


# --- the sample


def begin() -> int | None:
    """Start loading the sample, in an installation without messages. The moment with which its history ends, in seconds
    since 1970: `progress` is asked with it. None: there are messages already."""
    if Message.objects.order_by().exists():
        return None
    until = int((datetime.now(UTC) - A_MOMENT).timestamp())
    jobs.later("dashboard.first_steps.load", until, 0)
    return until


def progress(until: int) -> Progress | None:
    """How much of the sample has come in; None once it is complete, or given up."""
    past = _past(until)
    if datetime.now(UTC) - past.until > GIVEN_UP:
        return None
    mine = Message.objects.filter(project__code=PROJECT)
    live = mine.order_by().filter(pk__gte=ids.floor(past.until))[:LIVE].count()
    if live:
        return Progress("messages of now", live, LIVE) if live < LIVE else None
    newest = mine.order_by("-pk").values_list("pk", flat=True).first()
    return Progress("days of history", (ids.time_of(newest) - past.begin_of(0)).days + 1 if newest else 0, DAYS)


def load(until: int, day: int) -> None:
    """One day of the history; enqueues the next one, and after the last the messages of now."""
    past = _past(until)
    if not day:
        call_command("seed_demo", verbosity=0)
        call_command("seed_alerts", verbosity=0)
        history.make_room(past=past)
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(code=PROJECT)
        if Message.objects.order_by().filter(project=project, pk__gte=ids.floor(past.begin_of(day))).exists():
            return  # the button was pressed twice, this day was loaded before its worker died, or real messages came in
        accounts = list(ProviderAccount.objects.filter(kind="sandbox", grant__project=project).order_by("pk"))
        history.write_day(project=project, accounts=accounts, past=past, day=day)
        if day + 1 < DAYS:
            jobs.later("dashboard.first_steps.load", until, day + 1)
        else:
            jobs.later("dashboard.first_steps.send", 0)


def send(done: int) -> None:
    """A few messages of now, through the code that real ones go through, at the pace of a demonstration; enqueues the
    next ones."""
    project = Project.objects.get(code=PROJECT)
    sender = submit.Sender(project.pk, project.default_region, Source("job", detail={"sample": True}))
    traffic = Traffic(Random(f"sample {done}"))
    traffic.kinds = [kind for kind in traffic.kinds if not kind.campaign]
    until = min(done + SLICE, LIVE)
    while done < until and traffic.kinds:
        parcel = traffic.next(datetime.now(UTC))
        if parcel.malformed:
            continue
        try:
            submit.submit(sender, parcel.notifications[0])
        except Invalid:  # a route that an operator has taken away
            traffic.drop(parcel.kind)
            continue
        done += 1
        time.sleep(PACE)
    if until < LIVE and traffic.kinds:
        jobs.later("dashboard.first_steps.send", done)


def _past(until: int) -> history.Past:
    return history.Past(DAYS, MESSAGES, datetime.fromtimestamp(until, UTC))
