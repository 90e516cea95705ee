"""Pictures of attention, drawn by the command."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from model.commands import BAD_INPUT
from model.errors import DataError
from service.__main__ import main
from tests.bundles import SHIPPED_BUNDLE
from tools.attention import Map, draw, font_for

PNG = b"\x89PNG\r\n\x1a\n"


def command(png: Path, *more: str) -> list[str]:
    return [
        "attention", "Je suis étudiant.", "--source", "fr", "--target", "en", "--png", str(png), "--bundle",
        str(SHIPPED_BUNDLE), *more,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "how", [(), ("--heads", "all"), ("--kind", "encoder", "--layer", "0"), ("--kind", "erasure", "--beam", "1")]
)
def test_a_picture_is_drawn(tmp_path: Path, how: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    png = tmp_path / "out.png"
    assert main(command(png, *how)) == 0
    assert png.read_bytes().startswith(PNG)
    assert "student" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (("--layer", "9"), "--layer 9: cross attention of this model has layers 0 to 1"),
        (("--source", "de"), "no direction de-en"),
        (("--font", str(Path(__file__))), "not a font"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    tmp_path: Path, how: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path / "out.png", *how)) == BAD_INPUT
    assert message in capsys.readouterr().err


def test_without_matplotlib_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "tools.attention")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(command(tmp_path / "out.png")) == BAD_INPUT
    assert "matplotlib, which serving does not install" in capsys.readouterr().err


def labels_of(maps: list[Map], text: str) -> list[str]:
    figure = draw(maps, "caption", text, font_for(text, None))
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_labels_are_the_tokens() -> None:
    one = Map("", np.ones((1, 2)), ["▁a"], ["▁5$", "$é"])
    assert labels_of([one], "5$ é") == [r"▁5\$", r"\$é"]


def test_characters_that_no_font_has_are_drawn_as_numbers() -> None:
    unassigned = "\U000e1234"
    assert font_for(unassigned, None) is None
    assert labels_of([Map("", np.ones((1, 1)), ["a"], [f"é{unassigned}"])], unassigned) == ["éU+E1234 "]


def test_a_font_file_must_be_there() -> None:
    with pytest.raises(DataError, match="not a font"):
        font_for("a", Path("missing.ttf"))


def test_small_maps_share_their_labels() -> None:
    maps = [Map(f"head {head}", np.eye(3), ["a", "b", "c"], ["x", "y", "z"]) for head in range(6)]
    figure = draw(maps, "caption", "sentences", font_for("a", None))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:6] == [f"head {head}" for head in range(6)]
    across = [any(label.get_text() for label in axes.get_xticklabels()) for axes in figure.axes[:6]]
    down = [any(label.get_text() for label in axes.get_yticklabels()) for axes in figure.axes[:6]]
    assert across == [True] * 4 + [False] * 2
    assert down == [True, False, False, False, True, False]
