"""Fixtures for every room."""

from tests.bundles import fp32_bundle_with_shortlist, shipped_fp16_bundle, shipped_fp32_bundle, tiny_checkpoint

__all__ = ["fp32_bundle_with_shortlist", "shipped_fp16_bundle", "shipped_fp32_bundle", "tiny_checkpoint"]
