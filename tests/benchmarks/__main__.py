"""`python -m tests.benchmarks [--only ROW] [--scale N] [--repeats N] [--json FILE]`: measures and prints a table.

Works in a database of its own on the server of DATABASE_URL (else on the private one) and drops it at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from config import devpg
from tests.benchmarks import database

FAMILIES = (
    *("receipts", "receipt_accept", "submit", "stream", "dispatch", "smtp", "bulk_status", "exports", "purge"),
    *("tracker", "console"),
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--only", action="append", choices=FAMILIES, help="this row (may be given several times)")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes; 0.1 is quick and coarse")
    parser.add_argument("--repeats", type=int, default=3, help="of each row; the median counts")
    parser.add_argument(
        "--messages",
        type=int,
        default=1_000_000,
        help="in the rows bulk_status, exports, purge and console, at scale 1",
    )
    parser.add_argument("--weeks", type=int, default=26, help="of partitions, the last one running")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args()


def main() -> int:
    wanted = arguments()
    server = os.environ.get("DATABASE_URL") or devpg.ensure(devpg.DEFAULT_HOME)
    with database.own(server) as url, tempfile.TemporaryDirectory(prefix="bench-") as logs:
        os.environ.update(DATABASE_URL=url, POSTROOM_ROLE="other", DJANGO_SETTINGS_MODULE="config.settings")
        os.environ.setdefault("LOG_LEVEL", "WARNING")
        from tests.benchmarks import run  # Django reads its settings once: the database must be there by now

        return run.main(wanted, Path(logs))


if __name__ == "__main__":
    sys.exit(main())
