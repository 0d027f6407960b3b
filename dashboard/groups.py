"""Who may do what: three groups, made by a migration. One table; patterns may name permissions that are not there yet.

A new permission that a pattern covers is granted by the next migration that runs `make`; so whoever adds permissions
adds such a migration. What an installation has granted beyond the table stays.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from auditlog.context import disable_auditlog
from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission

APPS = ("providers", "tracking", "dashboard", "auth", "auditlog")  # whose permissions the table speaks of

VIEWER = ("providers.view_*", "tracking.view_*", "dashboard.view_*", "auditlog.view_logentry")
OPERATOR = (
    *VIEWER,
    # messages
    "tracking.retry_message",
    "tracking.cancel_message",
    "tracking.resend_message",
    "tracking.suppress_recipient",
    "tracking.add_suppression",
    "tracking.delete_suppression",
    "dashboard.run_bulkoperation",
    "dashboard.*_bulkoperation",
    "dashboard.*_savedview",
    "tracking.*_export",
    # receipts
    "tracking.change_inbound",  # replay
    "tracking.change_unmatched",  # try again now
    # webhooks
    "tracking.test_endpoint",
    "tracking.switch_endpoint",
    "tracking.replay_delivery",
    # devices
    "tracking.switch_device",
    # consents
    "tracking.add_consent",
    "tracking.change_consent",
    # sending
    "tracking.change_switch",
    "tracking.pause_project",
    "providers.test_provideraccount",
    "providers.reset_circuit",
    "providers.change_errormapping",
    # incidents
    "dashboard.acknowledge_*",
    "dashboard.mute_*",
    "dashboard.change_incident",
    "dashboard.resend_alertnotification",
    # the installation
    "tracking.add_checkrun",
)
ADMIN = ("providers.*", "tracking.*", "dashboard.*", "auth.*", "auditlog.view_logentry")
GROUPS = {"viewer": VIEWER, "operator": OPERATOR, "admin": ADMIN}


def make(*_: Any) -> None:
    """Make the groups and grant what the table says. Also a migration's operation; may run any number of times."""
    for label in APPS:  # Django makes permissions after all migrations only: on a fresh database there are none yet
        create_permissions(installed.get_app_config(label), verbosity=0)
    known = {
        f"{label}.{codename}": pk
        for pk, label, codename in Permission.objects.filter(content_type__app_label__in=APPS).values_list(
            "pk", "content_type__app_label", "codename"
        )
    }
    with disable_auditlog():  # nobody's deed; and its table may not be there yet
        for name, patterns in GROUPS.items():
            group, _created = Group.objects.get_or_create(name=name)
            group.permissions.add(*(pk for label, pk in known.items() if covered(label, patterns)))


def covered(permission: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(permission, pattern) for pattern in patterns)
