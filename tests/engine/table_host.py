"""A process that holds engines made of tables: `python -m tests.engine.table_host`."""

from __future__ import annotations

import sys
import time

from model.errors import BundleError
from service.engine.core import Engine
from service.engine.host import main
from service.engine.scheduler import Capacity
from service.engine.types import Ready, Setup, Steppable
from tests.engine.fakes import TableDecoder


def open_table(setup: Setup) -> tuple[Steppable, Ready]:
    """Tables by the number in the directory's name; `broken` cannot be opened, `slow` not before the second time."""
    kind, _, number = setup.config.directory.name.partition("-")
    if kind == "broken":
        raise BundleError("the self-test of this bundle fails")
    if kind == "slow" and not setup.config.directory.exists():
        setup.config.directory.touch()
        time.sleep(1000)
    decoder = TableDecoder(seed=int(number or 0))
    return Engine(decoder, Capacity(max_rows=8, interactive_rows=2, bulk_rows=1, encode_tokens=16)), Ready("tables")


if __name__ == "__main__":
    sys.exit(main(open_table, "tests.engine.fakes"))
