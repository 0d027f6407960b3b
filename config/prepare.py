"""Makes an installation ready to start: `python -m config.prepare run|demo`, a child process of config.launcher.

Everything happens in one process, since each start of Django costs about a second. What the launcher must show comes
as one JSON object on stdout: `operator_password` (only when the account was just made), `demo_key` and `history`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

import django
from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import OperationalError

OPERATOR = "operator"
DEMO = "demo"


def _static_fingerprint() -> str:
    """Changes when a static file or the way of storing them does."""
    digest = hashlib.sha256(repr(settings.STORAGES["staticfiles"]).encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            status = os.stat(storage.path(path))
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def collect_static() -> None:
    """`collectstatic`, unless nothing has changed: compressing takes a few seconds."""
    mark = Path(settings.STATIC_ROOT) / ".fingerprint"
    fingerprint = _static_fingerprint()
    with suppress(FileNotFoundError):
        if mark.read_text() == fingerprint:
            return
    call_command("collectstatic", interactive=False, verbosity=0)
    mark.write_text(fingerprint)


def create_operator() -> str | None:
    """The password of the operator account if it had to be made."""
    users = get_user_model().objects
    if users.filter(username=OPERATOR).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser(username=OPERATOR, email="", password=password)
    return password


def _known(key: str) -> bool:
    """Does the database hold this key? It does not where `.postgres` was removed and `.state` was kept."""
    parts = key.split("_")
    keys = apps.get_model("tracking", "ApiKey").objects.filter(project__code=DEMO, revoked=False)
    return len(parts) > 2 and keys.filter(prefix=parts[1]).exists()


def demo_key() -> str:
    """The demo project's API key: made once, kept in a file of mode 0600, the same on every start."""
    path = settings.STATE_DIR / "demo_key"
    with suppress(FileNotFoundError):
        if _known(key := path.read_text().strip()):
            return key
    output = io.StringIO()
    call_command("create_api_key", project=DEMO, name=DEMO, stdout=output)
    key = output.getvalue().strip()
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key)
    return key


def made_up() -> str:
    """The first time, two weeks of history: what the command says of it."""
    output = io.StringIO()
    call_command("seed_history", stdout=output)
    return output.getvalue().strip()


def main(mode: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    told: dict[str, str | None] = {}
    with redirect_stdout(sys.stderr):  # what the commands say goes to the log
        django.setup()
        call_command("migrate", interactive=False, verbosity=0)
        call_command("ensure_partitions")
        collect_static()
        if mode == "demo":
            call_command("seed_demo")
            call_command("seed_alerts")
            told["history"] = made_up()
            told["demo_key"] = demo_key()
        told["operator_password"] = create_operator()  # last: nothing can fail before it is shown
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except OperationalError as error:
        sys.exit(f"The database cannot be used: {error}")
