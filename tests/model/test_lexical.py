"""Lexical translation probabilities: what is learned from pairs, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.__main__ import main as export_main
from model.bundle import read_manifest
from model.errors import BundleError
from model.lexical import LEXICAL_FILE, LexicalTable, learn_table, lexical_tables, load_tables, save_tables
from model.vocabulary import Vocabulary
from tests.bundles import PRETRAINED, SHIPPED_BUNDLE

VOCABULARY = Vocabulary.load(PRETRAINED / "vocabulary.spm")
DOG, CAT, SMALL, CHIEN, CHAT, PETIT = range(300, 306)
# The adjective stands behind: only the words by themselves tell which is which.
ALONE = [([CHIEN], [DOG]), ([CHAT], [CAT]), ([PETIT], [SMALL])]
PAIRS = [([CHIEN, PETIT], [SMALL, DOG]), ([CHAT, PETIT], [SMALL, CAT]), ([], [DOG]), *3 * ALONE]


def table() -> LexicalTable:
    return learn_table(PAIRS, len(VOCABULARY))


def test_translations_are_told_from_what_merely_stands_together() -> None:
    forward, backward = table().between([CHIEN, CHAT, PETIT], [DOG, CAT, SMALL])
    assert (np.diag(forward) > 0.8).all()
    assert (np.diag(backward) > 0.8).all()
    others = ~np.eye(3, dtype=bool)
    assert forward[others].max() < 0.1
    assert forward.shape == backward.shape == (3, 3)


def test_the_other_way_is_the_same_table_turned() -> None:
    forward, backward = table().between([CHIEN, CHAT], [DOG, SMALL])
    turned = table().reversed().between([DOG, SMALL], [CHIEN, CHAT])
    assert turned[0].tolist() == backward.T.tolist()
    assert turned[1].tolist() == forward.T.tolist()


def test_unknown_pieces_are_unlikely_but_copies_are_not() -> None:
    forward, backward = table().between([400, 401], [401, 402])
    assert forward.tolist() == backward.tolist()
    assert forward[0, 1] > forward[0, 0] == forward[1, 1] > 0


def test_a_pair_that_is_very_long_is_left_out() -> None:
    long = ([CHIEN] * 70, [CAT] * 70)
    assert learn_table([*PAIRS, long], len(VOCABULARY)).keys.tolist() == table().keys.tolist()


def test_a_file_holds_tables_of_several_languages(tmp_path: Path) -> None:
    save_tables(tmp_path / "lexical.npz", {"fr-en": table()})
    found = load_tables(tmp_path / "lexical.npz", VOCABULARY)
    assert set(found) == {"fr-en", "en-fr"}
    assert found["fr-en"].keys.tolist() == table().keys.tolist()
    assert found["fr-en"].target_given_source == pytest.approx(table().target_given_source, rel=1e-3)
    assert found["en-fr"].between([DOG], [CHIEN])[0] == found["fr-en"].between([CHIEN], [DOG])[1]


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lexical.npz"
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(BundleError, match="no lexical translation probabilities"):
        load_tables(path, VOCABULARY)
    save_tables(path, {"fr-en": learn_table([([len(VOCABULARY)], [DOG])], len(VOCABULARY) + 1)})
    with pytest.raises(BundleError, match="another vocabulary"):
        load_tables(path, VOCABULARY)


def test_the_shipped_bundle_has_what_its_alignments_need() -> None:
    manifest = read_manifest(SHIPPED_BUNDLE)
    tables = lexical_tables(SHIPPED_BUNDLE, manifest, VOCABULARY)
    assert {direction for direction, method in manifest.alignment.items() if method.evidence == "hmm"} <= set(tables)
    assert (SHIPPED_BUNDLE / LEXICAL_FILE).read_bytes() == (PRETRAINED / LEXICAL_FILE).read_bytes()
    bare = manifest.model_copy(update={"files": {}})
    with pytest.raises(BundleError, match=r"aligned by hmm, but lexical\.npz says nothing of it"):
        lexical_tables(SHIPPED_BUNDLE, bare, VOCABULARY)


def test_an_export_without_what_its_alignments_need_is_refused(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ["--precision", "fp32", "--alignment", str(PRETRAINED / "alignment.json")]
    assert export_main([str(tiny_checkpoint), str(tmp_path / "bundle"), *how]) == 2
    assert "aligned by hmm" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
