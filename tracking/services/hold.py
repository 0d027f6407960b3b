"""Holding sending back and letting it go on, for all or for one project. Called by the system page.

What is paused is taken in and queued; what is with a provider stays there.
"""

from __future__ import annotations

from django.db import transaction

from tracking import wake
from tracking.models import Project, Switch
from tracking.services import route

REASON_LENGTH = 200


class NeedsReason(Exception):
    """Whoever finds sending paused must be able to read why."""


@transaction.atomic
def pause(*, reason: str) -> bool:
    """False where it is paused already: the first reason stays. Raises NeedsReason."""
    return _set_switch(paused=True, reason=_checked(reason))


@transaction.atomic
def resume() -> bool:
    """False where nothing was paused."""
    return _set_switch(paused=False, reason="")


@transaction.atomic
def pause_project(*, project_id: int, reason: str) -> bool:
    """As `pause`. Raises NeedsReason, Project.DoesNotExist."""
    return _set_project(project_id, paused=True, reason=_checked(reason))


@transaction.atomic
def resume_project(*, project_id: int) -> bool:
    """As `resume`. Raises Project.DoesNotExist."""
    return _set_project(project_id, paused=False, reason="")


def _checked(reason: str) -> str:
    text = " ".join(reason.split())[:REASON_LENGTH]
    if not text:
        raise NeedsReason
    return text


def _set_switch(*, paused: bool, reason: str) -> bool:
    switch, _ = Switch.objects.select_for_update().get_or_create(pk=1)
    if switch.sending_paused == paused:
        return False
    switch.sending_paused, switch.reason = paused, reason
    switch.save()
    wake.after_commit(wake.DISPATCH)
    return True


def _set_project(project_id: int, *, paused: bool, reason: str) -> bool:
    project = Project.objects.select_for_update().get(pk=project_id)
    if project.paused == paused:
        return False
    project.paused, project.paused_reason = paused, reason
    project.save(update_fields=["paused", "paused_reason"])
    route.forget()
    wake.after_commit(wake.DISPATCH)
    return True
