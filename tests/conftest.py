"""Fixtures for every room."""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.bundles import fp32_bundle_with_shortlist, shipped_fp16_bundle, shipped_fp32_bundle, tiny_checkpoint

__all__ = ["fp32_bundle_with_shortlist", "shipped_fp16_bundle", "shipped_fp32_bundle", "tiny_checkpoint"]

# Networks of tests are so small that threads would wait for each other longer than they work, and several processes of
# pytest-xdist run side by side. PyTorch and NumPy read this when they are imported, and so do the processes of tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test may fail because the machine is slow.
settings.register_profile("attend", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("attend")


LONGEST = (
    "export/test_imported.py", "export/test_export.py", "engine/test_architectures.py", "engine/test_independence.py",
    "engine/test_bundles.py", "web/test_browser.py", "attend/test_command.py", "service/test_carriers.py",
    "attend/test_wheel.py", "model/test_training.py",
)  # fmt: skip
"""Files of tests that take long come first: else a process of pytest-xdist ends with one while the others have none."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get("/".join(item.path.parts[-2:]), len(LONGEST)))


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """What a test sets up for its log lines ends with it: a later one would log more, and pytest would keep it all."""
    root, names = logging.getLogger(), ("logThreads", "logProcesses", "logMultiprocessing", "_srcfile")
    level, handlers, looked_up = root.level, root.handlers[:], {name: getattr(logging, name) for name in names}
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for name, value in looked_up.items():
        setattr(logging, name, value)
