"""What every row works on: tables with weeks of partitions, a project with a key, and real server processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.core.management import call_command

from config import launcher, pgsystem
from config.supervisor import Program
from providers.models import ProviderAccount
from tests.benchmarks import floors
from tracking import partitions, wake
from tracking.models import Grant, Heartbeat, Project, Switch
from tracking.services import keys

HOOK_SECRET = "benchmark-hook-secret"
START_SECONDS = 60.0
PROJECT = "bench"


class Stage:
    def __init__(self, url: str, logs: Path, weeks: int) -> None:
        self.url, self.logs, self.weeks = url, logs, weeks
        self._web: Program | None = None
        call_command("migrate", interactive=False, verbosity=0)
        now = datetime.now(UTC)
        partitions.ensure(now - timedelta(weeks=weeks - 1), now + timedelta(weeks=1))
        self.project = Project.objects.create(code=PROJECT)
        self.key = keys.create(project=self.project, name="bench")
        self.conn = psycopg.connect(url, autocommit=True)
        floors.create(
            self.conn, [partition.starts for partition in partitions.existing() if partition.table == "message"]
        )

    def account(self, kind: str, **kw: Any) -> ProviderAccount:
        """An account of that kind, granted to the project."""
        credentials = {"hook_secret": HOOK_SECRET} if kind == "sandbox" else {}
        account = ProviderAccount(**{"code": f"bench-{kind}", "kind": kind, "channel": "email", **kw})
        account.credentials = credentials
        account.save()
        Grant.objects.create(project=self.project, account=account)
        return account

    def sandbox(self) -> ProviderAccount:
        """The account whose receipts come over HTTP and to which messages are routed."""
        found = ProviderAccount.objects.filter(kind="sandbox").first()
        return found or self.account("sandbox", weight=1000)

    def empty(self, *tables: str) -> None:
        """Start afresh, with room that was given back."""
        self.conn.execute(f"TRUNCATE {', '.join(tables)}")

    def analyze(self, *tables: str) -> None:
        """Both sides start with the statistics that autovacuum would give them, and without its running meanwhile."""
        self.conn.execute(f"VACUUM ANALYZE {', '.join(tables)}")
        self.conn.execute("CHECKPOINT")

    # -- processes

    def _environment(self, role: str) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": self.url,
            "POSTROOM_ROLE": role,
            "PYTHONUNBUFFERED": "1",
            "RATE_LIMIT": "100000000",
        }

    def web(self) -> int:
        """The port of the web server, started as the launcher starts it, with the bare view among its addresses."""
        if self._web is None:
            port = pgsystem.any_free_port()
            environment = {**self._environment("web"), "PORT": str(port), "PUBLIC_URL": f"http://127.0.0.1:{port}"}
            plan = launcher.Plan("run", port, environment, private_database=False)
            self._web = next(p for p in launcher.programs(plan, self.url) if p.name == "web")
            self._web.command = [*self._web.command[:-1], "tests.benchmarks.web:application"]
            self._web.log = self.logs / "web.log"
            self._port = port
            self._web.start()
            self._await(self._web, lambda: launcher.ask_ready(plan)[0] != 0)
        return self._port

    @contextmanager
    def streams(self) -> Iterator[int]:
        """The port of a stream process, with a publish loop beside it."""
        port = pgsystem.any_free_port()
        environment = {**self._environment("stream"), "STREAM_PORT": str(port), "STREAMS_PER_KEY": "2000"}
        plan = launcher.Plan("run", port - 1, environment, private_database=False)
        stream = next(p for p in launcher.programs(plan, self.url) if p.name == "stream")
        stream.log = self.logs / "stream.log"
        try:
            stream.start()
            with self.loops("publish"):
                self._await(stream, lambda: not pgsystem.port_free(port))
                yield port
        finally:
            stream.stop()

    @contextmanager
    def loops(self, name: str, count: int = 1) -> Iterator[None]:
        """`count` processes of a resident loop (tests.benchmarks.worker)."""
        Heartbeat.objects.filter(name__startswith=name).delete()
        command = [sys.executable, "-m", "tests.benchmarks.worker", name]
        environment = {**self._environment("cluster"), f"{name.upper()}_LOOPS": str(count)}
        programs = [
            Program(f"{name} {n}", [*command, str(n)], environment, self.logs / f"{name}-{n}.log") for n in range(count)
        ]
        try:
            for program in programs:
                program.start()
            for n, program in enumerate(programs):
                self._await(program, Heartbeat.objects.filter(name=f"{name}:{n}").exists)
            yield
        finally:
            for program in programs:
                program.stop()

    def _await(self, program: Program, ready: Any) -> None:
        self.until(lambda: program.ended() or ready(), START_SECONDS)
        if program.ended():
            raise RuntimeError(f"{program.name} ended at once:\n{program.log.read_text()[-3000:]}")

    @staticmethod
    def until(condition: Any, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("this took too long")
            time.sleep(0.02)

    def close(self) -> None:
        if self._web is not None:
            self._web.stop()
        wake.close()
        self.conn.close()

    # -- the switch

    @staticmethod
    def hold() -> None:
        Switch.objects.update_or_create(pk=1, defaults={"sending_paused": True})

    @staticmethod
    def let_go() -> None:
        Switch.objects.update(sending_paused=False)
        wake.send(wake.DISPATCH)
