"""Files of exports: written in parts that outlive a crash, named only when they are whole, removed. Called by the
services of exports.

A part is appended at the length that its row records, after whatever was written beyond is cut off, and is on the disk
before the row says so. The files hold recipients: nobody else on the machine may read them.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator
from hashlib import file_digest
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from tracking.models import Export

LEVEL = 1  # of compression: the quickest, which makes a tenth of the text already
_GZIP = 31  # zlib's word for gzip's frame


def name_of(export: Export) -> str:
    """What the file is called when it is whole, and where it is downloaded to."""
    of = export.project.code if export.project else "all"
    return f"delivery-data-{of}-{export.pk}.{export.format}{'.gz' if export.gzip else ''}"


def path_of(export: Export) -> Path:
    return Path(export.directory or settings.EXPORT_DIR) / name_of(export)


def part_of(export: Export) -> Path:
    path = path_of(export)
    return path.with_name(f".{path.name}.part")


def append(export: Export, blocks: Iterable[bytes | memoryview]) -> int:
    """Write a part after what is recorded; the file's length then. Raises OSError."""
    path = part_of(export)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=1024 * 1024) as file:
        if file.seek(0, os.SEEK_END) < export.bytes:
            raise OSError("the part file is shorter than what was written: it was changed or removed")
        file.truncate(export.bytes)
        file.seek(export.bytes)
        _write(file, _compressed(blocks) if export.gzip else blocks)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _write(file: BinaryIO, blocks: Iterable[bytes | memoryview]) -> None:
    for block in blocks:
        file.write(block)


def _compressed(blocks: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """A member of its own: gzip files may hold several, one after the other."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    for block in blocks:
        yield packer.compress(block)
    yield packer.flush()


def publish(export: Export) -> str:
    """Give the file its name; the SHA-256 of it. May be repeated after a crash. Raises OSError."""
    part, path = part_of(export), path_of(export)
    if part.exists():
        os.replace(part, path)
        _sync_directory(path.parent)
    if path.stat().st_size != export.bytes:
        raise OSError("the file is not as long as what was written: it was changed")
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(export: Export) -> None:
    for path in (part_of(export), path_of(export)):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
