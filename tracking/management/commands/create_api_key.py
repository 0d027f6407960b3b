"""`manage.py create_api_key`: makes a project where it is missing, and prints a new API key alone on stdout."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from tracking.models import Project
from tracking.models.project import all_scopes
from tracking.services import keys


class Command(BaseCommand):
    help = "Makes an API key for a project, and the project where it is missing. The key is shown this once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, metavar="CODE")
        parser.add_argument("--name", required=True, help="what the key is for")
        parser.add_argument(
            "--scopes",
            nargs="+",
            metavar="SCOPE",
            default=all_scopes(),
            help=f"separated by spaces or commas; all where left out: {', '.join(all_scopes())}",
        )
        parser.add_argument(
            "--rate-limit", type=int, metavar="N", help="requests a minute, 0 for any number; RATE_LIMIT where left out"
        )

    def handle(
        self, *, project: str, name: str, scopes: list[str] | str, rate_limit: int | None = None, **options: Any
    ) -> None:
        given = [scopes] if isinstance(scopes, str) else scopes
        wanted = [scope for text in given for scope in text.replace(",", " ").split()]
        try:
            with transaction.atomic():
                key = keys.create(project=_project(project), name=name, scopes=wanted, rate_limit=rate_limit)
        except ValidationError as error:
            raise CommandError(_said(error)) from None
        self.stdout.write(key)


def _project(code: str) -> Project:
    found = Project.objects.filter(code=code).first()
    if found is None:
        found = Project(code=code)
        found.full_clean()
        found.save()
    return found


def _said(error: ValidationError) -> str:
    """With the option that is wrong, where it is one."""
    if not hasattr(error, "error_dict"):
        return "; ".join(error.messages)
    options = {"code": "--project", "name": "--name", "rate_limit": "--rate-limit"}
    return "; ".join(f"{options.get(name, name)}: {' '.join(texts)}" for name, texts in error.message_dict.items())
