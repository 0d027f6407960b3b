"""GET /healthz: this process answers. GET /readyz: the installation can take messages and send them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from tracking import loops, partitions
from tracking.models import Heartbeat

STALE = timedelta(seconds=120)  # of the tick, which beats every minute
LOOP_STALE = timedelta(seconds=60)


@csrf_exempt  # a POST hears that it is no method here, and not of forms
@require_safe
def process(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@csrf_exempt
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """200 where every check passes, else 503; either way what each check found."""
    checks: dict[str, Callable[[], str]] = {
        "database": _database,
        "migrations": migrations,
        "partitions": _partitions,
        "workers": _workers,
    }
    problems = {}
    for name, check in checks.items():
        problems[name] = check()
        if problems[name] and name in ("database", "migrations"):  # without them the others cannot be asked
            break
    bad = any(problems.values())
    checked = {name: found or "ok" for name, found in problems.items()}
    body = {"status": "not ready" if bad else "ready", "checks": checked}
    answer = JsonResponse(body, status=503 if bad else 200)
    answer._has_been_logged = True  # type: ignore[attr-defined]  # "not ready" is an answer, not an error of ours
    return answer


def _database() -> str:
    try:
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:
        return f"cannot be reached: {type(error).__name__}"
    return ""


def migrations() -> str:
    """What is not applied; empty where all is. Reads the migration files: not for pages that refresh."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(plan)} to be applied: run manage.py migrate" if plan else ""


def _partitions() -> str:
    ahead = partitions.weeks_ahead()
    return "" if ahead >= 1 else "next week's are missing: run manage.py ensure_partitions"


def _workers() -> str:
    beats = dict(Heartbeat.objects.values_list("name", "at"))
    now = datetime.now(UTC)
    late = [
        name
        for name, limit in [("tick:0", STALE), *((f"{n}:{s}", LOOP_STALE) for n, s in loops.wanted())]
        if name not in beats or now - beats[name] > limit
    ]
    return f"no sign of life from {', '.join(late)}: is manage.py work running?" if late else ""
