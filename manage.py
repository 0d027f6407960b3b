#!/usr/bin/env python3
"""Django's command line for a Postroom installation; called by operators, the Makefile and config.launcher."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line
from django.db import OperationalError, ProgrammingError
from psycopg import errors


def main(arguments: list[str]) -> None:
    """What an operator can mend is said in a sentence; `--traceback` shows where it was found."""
    try:
        execute_from_command_line(arguments)
    except OperationalError as error:
        if "--traceback" in arguments:
            raise
        sys.exit(f"The database cannot be used: {error}")
    except ProgrammingError as error:
        if "--traceback" in arguments or not isinstance(
            error.__cause__, errors.UndefinedTable | errors.UndefinedColumn
        ):
            raise
        sys.exit(f"The database lacks something: run manage.py migrate first. {str(error).splitlines()[0]}")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    main(sys.argv)
