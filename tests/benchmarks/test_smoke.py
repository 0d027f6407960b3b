"""Every row of `make bench` runs, at the smallest size: a bench that nobody runs daily would rot unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import database
from tests.benchmarks.__main__ import FAMILIES

BASE = Path(__file__).resolve().parents[2]


@pytest.mark.processes
@pytest.mark.timeout(420)
def test_every_row_runs_at_a_tiny_size(tmp_path: Path) -> None:
    result = tmp_path / "bench.json"
    tiny = ["--scale", "0.001", "--repeats", "1", "--weeks", "2", "--json", str(result)]
    command = [sys.executable, "-m", "tests.benchmarks", *tiny]
    environment = {**os.environ, "DATABASE_URL": database.url("postgres")}
    done = subprocess.run(command, cwd=BASE, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(result.read_text())["rows"]
    assert {row["family"] for row in rows} == set(FAMILIES)
    for row in rows:
        assert row["ours"] > 0 and row["floor"] > 0 and row["ratio"] == pytest.approx(row["ours"] / row["floor"])
        assert row["row"] in done.stdout
