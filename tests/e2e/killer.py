"""Picks processes of a running installation and ends them by kill -9, by id."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.e2e.harness import Process, Stack, kill, until

WORKERS = ("dispatch", "receive", "idle", "pusher", "monitor", "sentinel", "cluster")
SERVERS = ("web", "backend", "postmaster")
WEIGHTS = {"dispatch": 5, "receive": 4, "idle": 3, "web": 4, "backend": 3}  # all others: 1
RECOVERY_SECONDS = 300.0
NOTICED = 1.0  # seconds: the sentinel looks twice a second
_SAID = re.compile(r"(monitoring|pushing tasks|ready for work) at (\d+)")


@dataclass
class Killer:
    stack: Stack
    dice: random.Random
    killed: list[str] = field(default_factory=list)
    recoveries: list[tuple[float, str]] = field(default_factory=list)  # seconds until all loops beat again, after what

    def plan(self, kinds: tuple[str, ...], count: int) -> list[str]:
        """Each kind once where there is room, the rest by weight."""
        weights = [WEIGHTS.get(kind, 1) for kind in kinds]
        chosen = list(kinds[:count]) + self.dice.choices(kinds, weights, k=max(0, count - len(kinds)))
        self.dice.shuffle(chosen)
        return chosen

    def strike(self, kind: str) -> None:
        pid = until(lambda: self._victim(kind), 60, f"nothing to kill of the kind {kind}")
        assert kill(pid) or kind not in ("cluster", "postmaster")
        self.killed.append(kind)

    def await_recovery(self) -> None:
        """Until all loops have beaten well after the kill: by then a cluster that must end has begun to."""
        began = time.monotonic()
        since = time.time() + NOTICED
        until(lambda: self._beating(since), RECOVERY_SECONDS, lambda: self._state(), every=0.1)
        self.recoveries.append((time.monotonic() - began, self.killed[-1]))

    def _state(self) -> str:
        return f"after {self.killed}: {self.stack.ready()}\n{self.stack.log_tails()}"

    def _beating(self, since: float) -> bool:
        beats = self._quietly(self._beats)
        alive = {process.pid for process in self.stack.processes()}
        return bool(beats) and all(at > since and pid in alive for _, at, pid in beats)

    def _beats(self) -> list[tuple]:
        return self.stack.query(
            "SELECT name, extract(epoch FROM at), (detail->>'pid')::int FROM tracking_heartbeat"
            " WHERE split_part(name, ':', 1) IN ('dispatch', 'receive')"
        )

    @staticmethod
    def _quietly(ask: Callable[[], list[tuple]]) -> list[tuple]:
        """The database may be the very thing that was killed."""
        try:
            return ask()
        except Exception:
            return []

    # -- who is who

    def _victim(self, kind: str) -> int | None:
        if kind == "postmaster":
            assert self.stack.private is not None
            return self.stack.private.postmaster()
        if kind == "backend":
            return self._any([pid for (pid,) in self._quietly(self._backends)])
        processes = self.stack.processes()
        if kind == "web":
            granian = {p.pid: p for p in processes if "-m granian" in p.command}
            return self._any([pid for pid, p in granian.items() if p.parent in granian])
        return self._of_cluster(kind, processes)

    def _backends(self) -> list[tuple]:
        return self.stack.query(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            " AND datname = current_database()"
        )

    def _of_cluster(self, kind: str, processes: list[Process]) -> int | None:
        working = {p.pid: p for p in processes if "manage.py work" in p.command}
        mains = [pid for pid, p in working.items() if p.parent not in working]
        sentinels = [pid for pid, p in working.items() if p.parent in mains]
        if kind in ("cluster", "sentinel"):
            return self._any(mains if kind == "cluster" else sentinels)
        members = {pid for pid, p in working.items() if p.parent in sentinels}
        said = {int(pid): what for what, pid in _SAID.findall((self.stack.logs / "cluster.log").read_text())}
        loops = [(name.partition(":")[0], pid) for name, _, pid in self._quietly(self._beats)]
        if kind in ("dispatch", "receive"):
            return self._any([pid for name, pid in loops if name == kind and pid in members])
        role = {"monitor": "monitoring", "pusher": "pushing tasks", "idle": "ready for work"}[kind]
        busy = {pid for _, pid in loops}
        return self._any([pid for pid in members if said.get(pid) == role and pid not in busy])

    def _any(self, pids: list[int]) -> int | None:
        return self.dice.choice(sorted(pids)) if pids else None

    def summary(self) -> str:
        return ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(self.killed).items()))
