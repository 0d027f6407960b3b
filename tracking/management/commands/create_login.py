"""`manage.py create_login`: makes a username and password for a project, and prints the password alone on stdout."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from tracking.models import Project
from tracking.models.project import all_scopes
from tracking.services import logins


class Command(BaseCommand):
    help = "Makes a username and password for a project's clients of SMSBat's interface. The password is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, metavar="CODE")
        parser.add_argument("--username", required=True)
        parser.add_argument("--scopes", nargs="+", metavar="SCOPE", default=all_scopes(), choices=all_scopes())

    def handle(self, *, project: str, username: str, scopes: list[str], **options: Any) -> None:
        found = Project.objects.filter(code=project).first()
        if found is None:
            raise CommandError(f"there is no project {project}")
        try:
            password = logins.create(project=found, username=username, scopes=scopes)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        self.stdout.write(password)
