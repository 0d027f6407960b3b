"""Which adapter serves which kind of account. Called by tracking, the admin and the commands.

Adapters are imported when first asked for, so that a vendor's libraries cost nothing to those who do not use them.
"""

from __future__ import annotations

from django.utils.module_loading import import_string

from providers.base import Provider

ADAPTERS = {
    "smtp": "providers.email.smtp.Smtp",
    "mailgun": "providers.email.mailgun.Mailgun",
    "postmark": "providers.email.postmark.Postmark",
    "channel": "providers.chat.channels.Channels",
    "http": "providers.gateway.HttpGateway",
    "sandbox": "providers.sandbox.Sandbox",
}


class UnknownKind(LookupError):
    """An account of a kind that this version of Postroom has no adapter for."""


def kinds() -> tuple[str, ...]:
    return tuple(ADAPTERS)


def adapter(kind: str) -> type[Provider]:
    """The adapter's class. Raises UnknownKind."""
    try:
        path = ADAPTERS[kind]
    except KeyError:
        raise UnknownKind(kind) from None
    found: type[Provider] = import_string(path)
    return found
