"""Fixtures for every room."""

from tests.bundles import shipped_fp32_bundle, tiny_checkpoint

__all__ = ["shipped_fp32_bundle", "tiny_checkpoint"]
