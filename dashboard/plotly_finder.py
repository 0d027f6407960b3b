"""Finds plotly.min.js in the installed plotly package, as static file vendor/plotly.min.js: nothing is fetched from
elsewhere, and the version is that of the lock file. Named in STATICFILES_FINDERS."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.contrib.staticfiles.finders import BaseFinder
from django.core.checks import CheckMessage
from django.core.files.storage import FileSystemStorage, Storage

NAME, PREFIX = "plotly.min.js", "vendor"


class PlotlyFinder(BaseFinder):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        found = importlib.util.find_spec("plotly")  # finds it without importing it, which takes a while
        if found is None or found.origin is None:
            raise ModuleNotFoundError("plotly is not installed")
        self.storage = FileSystemStorage(location=Path(found.origin).parent / "package_data")
        self.storage.prefix = PREFIX  # type: ignore[attr-defined]

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        return []

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        hit = self.storage.path(NAME) if path == f"{PREFIX}/{NAME}" else None
        if find_all:
            return [hit] if hit else []
        return hit or []  # None would be taken for a place where it was found

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, Storage]]:
        yield NAME, self.storage
