"""The short version of `python -m tests.e2e.chaos`: kill -9 loses nothing, guesses nothing and doubles nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e import chaos, killer
from tests.e2e.harness import Stack, private_server

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

QUICK = {"LEASE_SECONDS": "22", "LOOP_SECONDS": "6"}


def show(report: chaos.Report) -> None:
    sys.stdout.write(report.text())
    assert report.verdict.faults == []


def test_workers_are_killed(database: str, tmp_path: Path):
    plan = chaos.Plan(400, 5, kinds=killer.WORKERS, hang=0, environment=QUICK)
    with Stack(tmp_path, database, chaos.accounts(plan), plan.environment, chaos.RETRY) as stack:
        show(chaos.run(stack, plan))


def test_web_workers_and_the_database_are_killed(tmp_path: Path):
    plan = chaos.Plan(150, 3, kinds=killer.SERVERS, hang=0, environment=QUICK)
    with (
        private_server() as server,
        Stack(tmp_path, server.start(), chaos.accounts(plan), plan.environment, chaos.RETRY, private=server) as stack,
    ):
        show(chaos.run(stack, plan))
