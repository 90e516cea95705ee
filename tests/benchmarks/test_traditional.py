"""The benchmark of Traditional Chinese, on three lines."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from benchmarks.traditional import main, written_in
from tests.bundles import SHIPPED_BUNDLE

PAIRS = [
    ("我爱你。", "I love you."),
    ("今天天气很好。", "The weather is nice today."),
    ("他死於战争。", "He died in war."),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "zh-en" / "test"
    folder.mkdir(parents=True)
    for place, language in enumerate(("zh", "en")):
        lines = "".join(pair[place] + "\n" for pair in PAIRS)
        (folder / f"tatoeba-test.{language}.gz").write_bytes(gzip.compress(lines.encode()))
    return tmp_path


def test_scores_are_those_of_simplified_where_the_service_reads_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scores", str(SHIPPED_BUNDLE), "--root", str(root), "--beam", "1"]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    found = {(row[0], row[2]): float(row[5]) for row in rows}
    assert len(found) == 15
    for script in ("s2t", "s2tw", "s2hk"):
        assert found[script, "as written"] < found[script, "as zh"] == found["Simplified", "as zt"]


def test_lines_that_would_change_are_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lines", "--root", str(root), "--show"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["| test/tatoeba-test.zh.gz | 3 | 1 |", "他死[於>于]战争。"]


def test_every_other_character_is_mixed() -> None:
    assert written_in("mixed", ["爱爱爱"]) == ["爱愛爱"]
