"""What is to be done first in an installation that is empty, and the sample traffic that can be loaded instead. Called
by the overview; `load` is a job in slices.

The sample goes through the code that real messages go through: it is submitted to the sandbox's accounts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from django.core.management import call_command
from django.urls import reverse

from providers.models import ProviderAccount
from tracking import jobs
from tracking.models import ApiKey, Grant, Message, Project
from tracking.schema import Invalid
from tracking.services import submit
from tracking.services.record import Source
from tracking.traffic import Traffic

SAMPLE = 600  # messages
SLICE = 60  # messages that one task hands in
PROJECT = "demo"  # seed_demo's


@dataclass(frozen=True, slots=True)
class Step:
    title: str
    text: str
    url: str
    done: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Of the sample traffic."""

    done: int
    of: int = SAMPLE


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


def progress() -> Progress | None:
    """How much of the sample has come in; None once it is complete."""
    project = Project.objects.filter(code=PROJECT).values_list("pk", flat=True).first()
    done = Message.objects.order_by().filter(project_id=project)[:SAMPLE].count() if project else 0
    return Progress(done) if done < SAMPLE else None


def begin() -> bool:
    """Start loading the sample, in an installation without messages. False: there are some already."""
    if Message.objects.order_by().exists():
        return False
    jobs.later("dashboard.first_steps.load", 0)
    return True


def load(done: int) -> None:
    """One slice of it; enqueues the next one."""
    if not done:
        call_command("seed_demo", verbosity=0)
    project = Project.objects.get(code=PROJECT)
    sender = submit.Sender(project.pk, project.default_region, Source("job", detail={"sample": True}))
    traffic = Traffic(Random(f"sample {done}"))
    until = min(done + SLICE, SAMPLE)
    while done < until:
        parcel = traffic.next(datetime.now(UTC))
        for notification in () if parcel.malformed else parcel.notifications[: until - done]:
            try:
                submit.submit(sender, notification)
            except Invalid:  # a route that an operator has taken away
                traffic.drop(parcel.kind)
            done += 1
        if not traffic.kinds:
            return
    if done < SAMPLE:
        jobs.later("dashboard.first_steps.load", done)
