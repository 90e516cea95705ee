"""Weights that processes share: the same results with and without, whatever lies in the directory."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from model.bundle import VOCABULARY_FILE, read_manifest
from model.vocabulary import Vocabulary
from service.engine.core import Engine
from service.engine.decoder import prepacked
from service.engine.decoder.cpu import instructions
from service.engine.decoder.opening import open_engine, open_scoring_engine
from service.engine.loading import run_here
from service.engine.scores import ScoringJob
from service.engine.types import EngineConfig, Job, SearchOptions
from tests.bundles import SHIPPED_BUNDLE

VOCABULARY = Vocabulary.load(SHIPPED_BUNDLE / VOCABULARY_FILE)
SENTENCES = ("Je suis étudiant.", "Il fait très beau aujourd'hui.", "Merci !")


def config(cache: Path | None, bundle: Path = SHIPPED_BUNDLE) -> EngineConfig:
    return EngineConfig(directory=bundle, device="cpu", threads=1, max_rows=8, prepacked=cache)


def results(engine: Engine) -> list[Any]:
    options = SearchOptions(beam_size=2, num_hypotheses=2, max_output_tokens=20)
    return run_here(engine, [Job(tuple(VOCABULARY.encode_source(text, "en")), options) for text in SENTENCES])


def places(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def mapped(cache: Path) -> set[str]:
    """The files below it that this process maps."""
    paths = re.findall(rf"{re.escape(str(cache))}/(\S+)", Path("/proc/self/maps").read_text())
    return {Path(path).name for path in paths}


@pytest.fixture(scope="module")
def expected() -> Sequence[Any]:
    return results(open_engine(config(None))[0])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("filled") / "prepacked"
    open_engine(config(cache))
    return cache


def test_shared_weights_translate_and_score_to_the_bit_alike(filled: Path, expected: Sequence[Any]) -> None:
    engine, _ = open_engine(config(filled))
    # What a second process would do, by mapping what the first wrote.
    tags = {f"{VOCABULARY.tag_id(language)}.npy" for language in ("en", "fr")}
    assert mapped(filled) >= {"encoder.bin", "decoder.bin", *tags}
    assert results(engine) == expected
    job = ScoringJob(tuple(VOCABULARY.encode_source(SENTENCES[0], "en")), tuple(VOCABULARY.encode("I am a student.")))
    scores = [
        run_here(open_scoring_engine(config(cache))[0], [job])[0].token_log_probs for cache in (None, filled, filled)
    ]
    assert list(scores[0]) == list(scores[1]) == list(scores[2])
    assert len(places(filled)) == 3


@pytest.mark.parametrize("file", ["first", "second", "sums.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "none"])
def test_what_was_damaged_is_written_anew(tmp_path: Path, file: str, damage: str) -> None:
    written = []

    def write(place: Path) -> None:
        written.append(place)
        (place / "first").write_text("weights")
        (place / "second").write_text("more weights")

    place = prepacked._kept(tmp_path / "cache", "a", write)
    assert place is not None
    whole = (place / file).read_bytes()
    if damage == "missing":
        (place / file).unlink()
    elif damage != "none":
        (place / file).write_bytes(whole[:3] if damage == "cut" else b"\xff" + whole[1:])
    assert prepacked._kept(tmp_path / "cache", "a", write) == place
    assert len(written) == (1 if damage == "none" else 2)
    assert ((place / "first").read_text(), (place / "second").read_text()) == ("weights", "more weights")
    assert places(tmp_path / "cache") == ["a"]


def test_who_writes_at_the_same_time_takes_what_the_other_wrote(tmp_path: Path) -> None:
    def slow(place: Path) -> None:
        (place / "file").write_text("second")
        prepacked._kept(tmp_path, "a", lambda other: (other / "file").write_text("first") and None)

    place = prepacked._kept(tmp_path, "a", slow)
    assert place is not None
    assert (place / "file").read_text() == "first"
    assert places(tmp_path) == ["a"]


def test_where_nothing_can_be_written_each_has_its_own(
    tmp_path: Path, expected: Sequence[Any], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no directory")
    assert results(open_engine(config(tmp_path / "file"))[0]) == expected
    assert "weights are not shared among processes" in caplog.text


def test_another_bundle_and_processor_have_places_of_their_own(
    tmp_path: Path, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(SHIPPED_BUNDLE)
    own = prepacked._key(manifest, instructions())
    assert prepacked._key(manifest.model_copy(update={"version": "other"}), instructions()) != own
    (tmp_path / "cpuinfo").write_text("flags: avx2\n")
    assert prepacked._key(manifest, instructions(tmp_path / "cpuinfo")) != own
    monkeypatch.setattr(prepacked, "MOST", 2)
    cache = tmp_path / "prepacked"
    for index in range(4):
        place = prepacked._kept(cache, str(index), lambda place: (place / "file").write_text("x") and None)
        assert place is not None
        os.utime(place, (index, index))
    abandoned = cache / ".4.abandoned"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    prepacked._delete_oldest(cache)
    assert places(cache) == ["2", "3"]
