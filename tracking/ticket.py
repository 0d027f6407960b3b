"""A short-lived, signed permission to follow a project: clients drop their key's header when they are sent to another
port. Made by the API, taken by the stream process.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.core import signing

GOOD_FOR = 60  # seconds: for the way from one process to the other
_SALT = "postroom.stream"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Whose key was shown, with the scope that it takes."""

    project_id: int
    prefix: str


def write(ticket: Ticket) -> str:
    return signing.dumps([ticket.project_id, ticket.prefix], salt=_SALT)


def read(text: str) -> Ticket | None:
    """None: it is not one of ours, or too old."""
    try:
        project_id, prefix = signing.loads(text, salt=_SALT, max_age=GOOD_FOR)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return Ticket(project_id, prefix)
