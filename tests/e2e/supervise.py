"""`python -m tests.e2e.supervise LOGS STALE_SECONDS [DATABASE_HOME]`: the launcher of `make run`, with logs, private
database and patience of a test's own, on tables that are made already. Called by harness.Stack only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from config import devpg, launcher, supervisor
from config.supervisor import Stop


class Supervisor(launcher.Launcher):
    def _prepare(self) -> dict[str, str | None]:
        return {"operator_password": None}


def main(logs: str, stale: str, home: str = "") -> int:
    launcher.LOGS, launcher.STALE_SECONDS = Path(logs), float(stale)
    supervisor.STEADY_SECONDS = 2.0  # kills follow one another faster than any deaths in operation: no longer back-off
    if home:
        devpg.DEFAULT_HOME = Path(home)
    stop = Stop()
    stop.listen()
    return Supervisor(launcher.make_plan("run", os.environ), stop).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
