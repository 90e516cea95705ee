"""Fixtures for every room."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.bundles import fp32_bundle_with_shortlist, shipped_fp16_bundle, shipped_fp32_bundle, tiny_checkpoint

__all__ = ["fp32_bundle_with_shortlist", "shipped_fp16_bundle", "shipped_fp32_bundle", "tiny_checkpoint"]

# No test may fail because the machine is slow.
settings.register_profile("attend", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("attend")


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
