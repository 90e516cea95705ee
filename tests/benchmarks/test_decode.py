"""What `make bench` measures."""

from __future__ import annotations

from pathlib import Path

from benchmarks.decode import base_workload
from model.checkpoint import load_checkpoint


def test_the_base_size_is_the_papers(tmp_path: Path) -> None:
    workload = base_workload(tmp_path / "base", like=[(1,)] * 3)
    config = load_checkpoint(workload.checkpoint).model.config
    assert (config.encoder_layers, config.decoder_layers, config.d_model, config.d_ff) == (6, 6, 512, 2048)
    assert config.vocabulary_size == 32_000
    assert [len(source) for source in workload.sources] == [25] * 3
    assert all(0 <= token < config.vocabulary_size for source in workload.sources for token in source)
