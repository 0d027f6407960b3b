"""Exports: messages into a CSV file, in a process of its own, whose memory is measured too.

`python -m tests.benchmarks.exports <directory>` is that process: it works on whatever is to be exported, and prints
the seconds that this took and its peak of memory in MB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import django

if __name__ == "__main__":
    django.setup()

from tests.benchmarks import fill  # noqa: E402
from tests.benchmarks.row import Row  # noqa: E402
from tests.benchmarks.stage import Stage  # noqa: E402
from tracking.models import Export  # noqa: E402
from tracking.selection import Filters  # noqa: E402
from tracking.services import export_work, exports  # noqa: E402


class Exports(Row):
    """All messages with the usual columns, as CSV, not compressed. Floor: `COPY message TO STDOUT` into a file."""

    family, name, counts, full, aim = "exports", "exports", "rows", 1, 0.3
    least = 1

    def __init__(self, stage: Stage, scale: float, messages: int) -> None:
        super().__init__(stage, scale)
        self.messages = max(2_000, int(messages * scale))
        self.peaks: list[float] = []

    def prepare(self) -> None:
        self.directory = Path(self.resources.enter_context(tempfile.TemporaryDirectory(prefix="exports-")))
        self.stage.empty("message")
        made = fill.keys(self.messages, timedelta(weeks=self.stage.weeks - 1))
        fill.messages(self.stage.conn, self.stage.sandbox(), self.stage.project.pk, made, status="sent", attempts=1)
        self.stage.analyze("message")

    def ours(self) -> float:
        export = exports.request(project=self.stage.project, filters=Filters(), by="bench")
        environment = {**os.environ, "DATABASE_URL": self.stage.url, "EXPORT_DIR": str(self.directory)}
        command = [sys.executable, "-m", "tests.benchmarks.exports"]
        ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        seconds, peak = json.loads(ended.stdout)
        export.refresh_from_db()
        assert (export.state, export.rows) == ("completed", self.messages), export.fault
        self.peaks.append(peak)
        self.note = f"{self.messages:,} rows, {export.bytes / 1e6:.0f} MB, peak {max(self.peaks):.0f} MB"
        exports.delete(export.pk)
        return self.messages / float(seconds)

    def floor(self) -> float:
        started = time.perf_counter()
        copy_out = "COPY (SELECT * FROM message) TO STDOUT (FORMAT csv)"
        with (
            (self.directory / "floor").open("wb") as file,
            self.stage.conn.cursor() as cursor,
            cursor.copy(copy_out) as copy,
        ):
            for block in copy:
                file.write(block)
        return self.messages / (time.perf_counter() - started)


def main() -> None:
    started = time.perf_counter()
    while Export.objects.exclude(state="completed").exists():
        if not export_work.work(seconds=15):
            raise SystemExit("somebody else works on exports")
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, peak()]))


def peak() -> float:
    """Of this process, in MB. What getrusage says of it may be what its parent had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
