"""Fixtures for every room."""

from hypothesis import HealthCheck, settings

from tests.bundles import fp32_bundle_with_shortlist, shipped_fp16_bundle, shipped_fp32_bundle, tiny_checkpoint

__all__ = ["fp32_bundle_with_shortlist", "shipped_fp16_bundle", "shipped_fp32_bundle", "tiny_checkpoint"]

# No test may fail because the machine is slow.
settings.register_profile("attend", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("attend")
