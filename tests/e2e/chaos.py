"""`python -m tests.e2e.chaos [--messages 5000] [--kills 20] [--seed 1] [--part workers|servers|both]`.

Messages go through sandbox accounts with faults while processes are killed by kill -9; then the carriers' ledgers
judge. Part "workers" kills processes of the cluster, part "servers" also web workers, PostgreSQL's backends and its
postmaster.
Prints what happened; exit code 1 where a promise was broken. docs/reliability.md says what is promised.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from providers.sandbox import pending_receipts, start_carrier, stop_carriers
from tests.e2e import harness, killer
from tests.e2e.harness import Stack, until
from tests.e2e.judge import Verdict, judge
from tests.e2e.traffic import Client

PROFILE: dict[str, Any] = {
    "preset": "perfect",
    **{"unreachable": 0.02, "throttle": 0.04, "temporary": 0.08, "invalid": 0.01, "permanent": 0.01, "lost": 0.02},
    **{"early": 0.05, "silent": 0.03, "bounce_hard": 0.03, "bounce_soft": 0.03, "blocked": 0.01, "expired": 0.01},
    **{"deferred": 0.1, "duplicate": 0.15, "reorder": 0.15, "bounce_late": 0.02, "opened": 0.2, "machine_opened": 0.1},
    **{"answer": [0.02, 0.4], "accept": [0, 0.5], "deliver": [0.1, 3], "engage": [0.1, 3], "retry_after": 1.0},
}
ACCOUNTS: Mapping[str, dict[str, Any]] = {
    "plain": {"idempotent": False},  # a second send would be delivered twice
    "keyed": {"idempotent": True},
    "asked": {"askable": True},
}
RETRY = {"initial_delay": 0.2, "max_delay": 3.0}
SETTLE_SECONDS = 120.0  # without any change: the leases (60 s) and a restart of the cluster lie within


@dataclass(frozen=True, slots=True)
class Plan:
    messages: int = 5000
    kills: int = 20
    seed: int = 1
    kinds: tuple[str, ...] = killer.WORKERS
    hang: float = 0.002  # each holds a sender thread for 15 s
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Report:
    verdict: Verdict
    lines: list[str]

    def text(self) -> str:
        faults = [f"BROKEN: {fault}" for fault in self.verdict.faults[:20]] or ["nothing lost, nothing guessed"]
        return "\n".join([*self.lines, *self.verdict.lines(), *faults, ""])


def accounts(plan: Plan) -> list[dict[str, Any]]:
    profile = {**PROFILE, "hang": plan.hang}
    common = {"profile": profile, "seed": plan.seed, "max_in_flight": 24}
    return [harness.sandbox(code, **common, **more) for code, more in ACCOUNTS.items()]


def run(stack: Stack, plan: Plan) -> Report:
    """The whole of one part on a running installation."""
    began = time.monotonic()
    dice = random.Random(plan.seed)
    hunter = killer.Killer(stack, dice)
    client = Client(stack, list(ACCOUNTS))
    with carriers(stack):
        shares = _shares(plan.messages, plan.kills + 1)
        for kind, share in zip(hunter.plan(plan.kinds, plan.kills), shares, strict=False):
            with _meanwhile(client, share):
                _await_work(stack)
                time.sleep(dice.uniform(0, 1))  # somewhere within the work, another place each time
                hunter.strike(kind)
                hunter.await_recovery()
        client.hand_in(shares[-1])
        handed_in = time.monotonic() - began
        _settle(stack)
    settled = time.monotonic() - began
    lines = [
        f"{len(client.accepted)} messages handed in within {handed_in:.0f} s, all settled after {settled:.0f} s",
        f"{len(hunter.killed)} processes killed by kill -9: {hunter.summary()}",
        _recoveries(hunter),
        f"requests that the client had to repeat: {client.repeated} {client.refused or ''}".rstrip(),
    ]
    verdict = judge(stack, client.accepted, list(ACCOUNTS))
    _invariants(stack, verdict)
    return Report(verdict, lines)


def _shares(total: int, parts: int) -> list[int]:
    return [total * (n + 1) // parts - total * n // parts for n in range(parts)]


def _recoveries(hunter: killer.Killer) -> str:
    ordered = sorted(hunter.recoveries)
    slowest = ", ".join(f"{seconds:.0f} s after {kind}" for seconds, kind in ordered[-3:])
    return f"until all loops ran again: median {ordered[len(ordered) // 2][0]:.1f} s; slowest {slowest}"


@contextmanager
def carriers(stack: Stack) -> Iterator[None]:
    """The carriers outlive every worker: this process delivers when nobody else does."""
    for code in ACCOUNTS:
        start_carrier(stack.account(code), stack.ledger(code))
    try:
        yield
    finally:
        stop_carriers()


@contextmanager
def _meanwhile(client: Client, share: int) -> Iterator[None]:
    """Clients hand in a share of the messages in the background; their failure is ours."""
    failed: list[BaseException] = []

    def hand_in() -> None:
        try:
            client.hand_in(share)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=hand_in)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]


def _await_work(stack: Stack) -> None:
    """Until hand-overs are under way."""
    leased = "SELECT count(*) FROM queue WHERE lease_token IS NOT NULL"
    until(lambda: stack.alive() and _asked(stack, leased), 120, lambda: f"nothing is sent: {stack.trouble()}")


def _asked(stack: Stack, statement: str) -> Any:
    with suppress(psycopg.OperationalError):
        return stack.value(statement)
    return None


_OPEN = (
    "SELECT (SELECT count(*) FROM queue),"
    " (SELECT count(*) FROM message WHERE status IN ('pending', 'processing')),"
    " (SELECT count(*) FROM inbound WHERE state = 'new'),"
    " (SELECT count(*) FROM tracking_unmatched),"
    " (SELECT count(*) FROM event)"
)


def _settle(stack: Stack) -> None:
    """Until nothing is open, and no receipt is on its way."""
    changed, last = time.monotonic(), None
    while True:
        state = (*_state(stack), *(pending_receipts(stack.ledger(code)) for code in ACCOUNTS))
        if not any(state[:4]) and not any(state[5:]):
            time.sleep(1)  # what was due meanwhile would show in the number of events
            if state == (*_state(stack), *(pending_receipts(stack.ledger(code)) for code in ACCOUNTS)):
                return
        if state != last:
            changed, last = time.monotonic(), state
        assert time.monotonic() - changed < SETTLE_SECONDS, f"stuck at {state}: {_stuck(stack)}\n{stack.log_tails()}"
        time.sleep(0.5)


def _stuck(stack: Stack) -> str:
    """What is known of the first few messages that do not come to an end."""
    found = [str(stack.ready())]
    for (key,) in stack.query("SELECT id FROM message WHERE status IN ('pending', 'processing') LIMIT 3"):
        found += map(str, stack.query("SELECT * FROM message WHERE id = %s", key))
        found += map(str, stack.query("SELECT * FROM attempt WHERE message_id = %s ORDER BY number", key))
        found += map(str, stack.query("SELECT * FROM event WHERE message_id = %s ORDER BY recorded_at", key))
        found += map(str, stack.query("SELECT * FROM queue WHERE message_id = %s", key))
    return "\n".join(found)


def _state(stack: Stack) -> tuple[int, ...]:
    with suppress(psycopg.OperationalError):
        return stack.query(_OPEN)[0]
    return (-1, 0, 0, 0, 0)


def _invariants(stack: Stack, verdict: Verdict) -> None:
    """The operators' own check must agree."""
    try:
        stack.run("manage.py", "check_invariants")
    except AssertionError as error:
        verdict.blame(f"check_invariants: {error}")


# -- the command


def part(name: str, messages: int, kills: int, seed: int) -> Report:
    kinds = killer.WORKERS if name == "workers" else (*killer.SERVERS, *killer.WORKERS)
    plan = Plan(messages, kills, seed, kinds)
    with tempfile.TemporaryDirectory(prefix="postroom-chaos-") as home, harness.private_server() as server:
        url = server.start()
        with Stack(Path(home), url, accounts(plan), plan.environment, RETRY, private=server) as stack:
            report = run(stack, plan)
            report.lines.append(f"stopped within {stack.stop():.1f} s, {len(stack.processes())} processes left")
    report.lines.insert(0, f"--- {name}: {messages} messages, {kills} kills, seed {seed}")
    return report


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", choices=["workers", "servers", "both"], default="both")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    faults = 0
    for name in ["workers", "servers"] if chosen.part == "both" else [chosen.part]:
        report = part(name, chosen.messages, chosen.kills, chosen.seed)
        sys.stdout.write(report.text() + "\n")
        sys.stdout.flush()
        faults += len(report.verdict.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
