"""How static files are found and compressed."""

from __future__ import annotations

import gzip
from pathlib import Path

import brotli  # type: ignore[import-untyped]
from django.contrib.staticfiles import finders

from config.static import HashedFiles

TEXT = b"body { color: var(--ink); }\n" * 1_000


def test_both_kinds_are_made_and_open_to_the_same(tmp_path: Path):
    path = tmp_path / "a.css"
    path.write_bytes(TEXT)
    made = HashedFiles(location=tmp_path, base_url="/static/").create_compressor(quiet=True).compress(str(path))
    assert sorted(made) == [f"{path}.br", f"{path}.gz"]
    assert brotli.decompress(Path(f"{path}.br").read_bytes()) == TEXT
    assert gzip.decompress(Path(f"{path}.gz").read_bytes()) == TEXT


def test_the_quick_way_is_taken():
    """Quality 11, the library's default, took sixteen seconds for Plotly alone."""
    compressed = HashedFiles.create_compressor(HashedFiles.__new__(HashedFiles), quiet=True).compress_brotli(TEXT)
    assert compressed == brotli.compress(TEXT, quality=9)


def test_a_file_that_is_nowhere_is_not_found() -> None:
    """None of the finders says that it has it: whatever is found is opened."""
    assert finders.find("vendor/nothing.js") is None
    assert finders.find("vendor/plotly.min.js")
