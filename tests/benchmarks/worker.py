"""`python -m tests.benchmarks.worker dispatch|receive|publish SLOT`: a resident loop, until SIGTERM."""

from __future__ import annotations

import sys

import django

HOUR = 3600.0


def main(name: str, slot: int) -> None:
    django.setup()
    from tests.benchmarks import instant
    from tracking import loops

    instant.register()
    runs = {loops.DISPATCH: loops.run_dispatch, loops.RECEIVE: loops.run_receive, loops.PUBLISH: loops.run_publish}
    runs[name](slot, seconds=HOUR, others=lambda: None, handing_on=lambda: None)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
