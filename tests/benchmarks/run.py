"""Runs the rows and prints the table. Called by __main__ once the database is there."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import django

django.setup()

from tests.benchmarks import bulk_status, console, exports, purge, receipts, sending, streams, submit, tracker  # noqa: E402
from tests.benchmarks.row import Measured, Row  # noqa: E402
from tests.benchmarks.stage import Stage  # noqa: E402


def rows(wanted: argparse.Namespace) -> list[Callable[[Stage, float], Row]]:
    known: list[Any] = [
        *(receipts.OneEach, receipts.HundredEach, receipts.Accept, submit.Single, submit.Batch),
        *(streams.Streamed, sending.Dispatch, sending.Smtp, tracker.Tracker),
    ]
    chosen = [row for row in known if not wanted.only or row.family in wanted.only]
    if not wanted.only or "bulk_status" in wanted.only:
        chosen.append(partial(bulk_status.BulkStatus, messages=wanted.messages))
    if not wanted.only or "exports" in wanted.only:
        chosen.append(partial(exports.Exports, messages=wanted.messages))
    if not wanted.only or "purge" in wanted.only:
        chosen.append(partial(purge.Purge, messages=wanted.messages))
    return chosen


def main(wanted: argparse.Namespace, logs: Path) -> int:
    with closing(Stage(os.environ["DATABASE_URL"], logs, wanted.weeks)) as stage:
        head = machine(stage)
        print(" · ".join(f"{name} {value}" for name, value in head.items()), flush=True)
        chosen = rows(wanted)
        if chosen:
            print(_line("row", "counted", "ours/s", "floor/s", "ratio", "aim", "", "note"), flush=True)
        found: list[Measured | console.Timed] = [measure(make(stage, wanted.scale), wanted.repeats) for make in chosen]
        if not wanted.only or console.FAMILY in wanted.only:
            found += console.run(stage.url, int(wanted.messages * wanted.scale), wanted.weeks, _show)
    if wanted.json:
        wanted.json.write_text(json.dumps({**head, "rows": [one.as_dict() for one in found]}, indent=2) + "\n")
    return 0


def _show(line: str) -> None:
    print(line, flush=True)


def machine(stage: Stage) -> dict[str, str]:
    version: Any = stage.conn.execute("SHOW server_version").fetchone()
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "PostgreSQL": version[0].split()[0],
    }


def measure(row: Row, repeats: int) -> Measured:
    began = time.perf_counter()
    with row.resources:
        row.prepare()
        found = Measured(row.family, row.name, row.counts, row.aim, row.size)
        warm_up(row)
        for _ in range(repeats):
            found.runs.append((row.ours(), row.floor()))
    found.note = ", ".join(part for part in (row.note, f"{time.perf_counter() - began:.0f} s") if part)
    print(table_line(found), flush=True)
    return found


def warm_up(row: Row) -> None:
    """A server's first requests and a loop's first batch import and prepare: no part of what is measured."""
    if row.size == row.least:  # the test of the bench itself: nobody reads its figures
        return
    size, row.size = row.size, row.least
    row.ours()
    row.floor()
    row.size = size


def table_line(found: Measured) -> str:
    aim = "" if found.aim is None else f"{found.aim:.2f}"
    verdict = "" if found.aim is None else "missed" if found.missed else "met"
    figures = (f"{found.ours:,.0f}", f"{found.floor:,.0f}", f"{found.ratio:.2f}")
    return _line(found.row, found.counts, *figures, aim, verdict, found.note)


def _line(*cells: str) -> str:
    widths: Iterable[str] = ("<25", "<9", ">9", ">9", ">6", ">5", "<6", "<")
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
