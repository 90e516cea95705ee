"""The service's own translations without HTTP: the same answers, the same errors, from threads and event loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from attend import (
    AsyncClient,
    AsyncTranslator,
    AttendError,
    Client,
    LoadError,
    RequestError,
    Translation,
    Translator,
    UnavailableError,
)
from attend.options import Options
from tests.bundles import ROOT, SHIPPED_BUNDLE
from tests.processes import free_port, serving_process

TEXTS = [
    "Je suis étudiant.",
    "",
    "Il pleut.\n\nOn reste à la maison ? Oui, 12 fois !",
    "…",
    "The weather is nice.",
]


@pytest.fixture(scope="module")
def translator() -> Iterator[Translator]:
    with Translator.load(SHIPPED_BUNDLE, sessions=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with serving_process() as address, Client(address) as ours:
        yield ours


WAYS: list[Options] = [
    {},
    {"beam_size": 1},
    {"alternatives": 2, "details": True, "alignment": True},
    {"glossary": {"maison": "cottage"}, "do_not_translate": ["étudiant"]},
    {"format": "markdown"},
    {"target_prefix": "I", "length_penalty": 0.6, "repetition_penalty": 1.3, "no_repeat_ngram_size": 3},
]


@pytest.mark.parametrize("options", WAYS, ids=lambda options: "+".join(options) or "plain")
def test_it_says_what_the_service_says(translator: Translator, client: Client, options: Options) -> None:
    ours = translator.translate(TEXTS, source="fr", target="en", **options)
    theirs = client.translate(TEXTS, source="fr", target="en", **options)
    assert ours == theirs
    assert ours[0].text != TEXTS[0]
    assert [each.text for each in ours][1] == ""


def test_a_text_alone_is_a_translation_alone(translator: Translator, client: Client) -> None:
    ours = translator.translate("你好。", target="en")
    assert isinstance(ours, Translation)
    assert (ours.source, ours.target) == ("zh", "en")
    assert ours == client.translate("你好。", target="en")
    assert str(ours) == ours.text
    assert translator.translate([], target="en") == client.translate([], target="en") == []


def test_what_is_wrong_is_the_same_sentence(translator: Translator, client: Client) -> None:
    wrong: list[tuple[str, str, Options]] = [
        ("de", "en", {}),
        ("fr", "zh", {}),
        ("fr", "en", {"beam_size": 9}),
        ("fr", "en", {"length_penalty": -1.0}),
        ("fr", "en", {"max_output_tokens": 2, "strict": True}),
        ("fr", "en", {"model": "nobody"}),
        ("fr", "en", {"min_output_tokens": 30, "max_output_tokens": 3}),
    ]
    for source, target, options in wrong:
        said = []
        for each in (translator, client):
            with pytest.raises(RequestError) as raised:
                each.translate(TEXTS, source=source, target=target, **options)
            said.append((str(raised.value), raised.value.status))
        assert said[0] == said[1]


def test_a_text_that_fails_leaves_the_others_alone(translator: Translator, client: Client) -> None:
    texts = ["Bonjour.", "Il pleut depuis ce matin et personne ne sait quand cela va finir."]
    for each in (translator, client):
        good, bad = each.translate_each(texts, source="fr", target="en", max_output_tokens=6, strict=True)
        assert isinstance(good, Translation)
        assert isinstance(bad, AttendError)
        assert "cut at its length limit" in str(bad)


def test_unknown_options_are_refused_as_python_does(translator: Translator, client: Client) -> None:
    for each in (translator, client):
        with pytest.raises(TypeError, match="unexpected keyword argument 'beams'"):
            each.translate("Bonjour.", source="fr", target="en", beams=4)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="unexpected keyword argument 'gpu'"):
        Translator.load(gpu=True)  # type: ignore[call-arg]


def test_a_glossary_may_be_a_file(translator: Translator, tmp_path: Path) -> None:
    (tmp_path / "terms.tsv").write_text("étudiant\tapprentice\n", encoding="utf-8")
    done = translator.translate("Je suis étudiant.", source="fr", target="en", glossary=tmp_path / "terms.tsv")
    assert "apprentice" in done.text
    with pytest.raises(RequestError, match="no\\.tsv"):
        translator.translate("Bonjour.", source="fr", target="en", glossary=tmp_path / "no.tsv")


def test_files_keep_all_but_their_words(translator: Translator, client: Client, tmp_path: Path) -> None:
    page = tmp_path / "page é.html"
    page.write_text('<p class="x">Je suis <b>étudiant</b>.</p>\n<code>Bonjour</code>\n', encoding="utf-8")
    seen: list[tuple[int, int]] = []
    translator.translate_file(
        page, tmp_path / "ours.html", source="fr", target="en", progress=lambda *far: seen.append(far)
    )
    client.translate_file(page, tmp_path / "theirs.html", source="fr", target="en")
    written = (tmp_path / "ours.html").read_text(encoding="utf-8")
    assert written == (tmp_path / "theirs.html").read_text(encoding="utf-8")
    assert '<p class="x">' in written
    assert "<code>Bonjour</code>" in written
    assert "student" in written
    assert seen[-1][0] == seen[-1][1] > 0
    assert not list(tmp_path.glob("*.partial"))
    with pytest.raises(RequestError, match="not supported"):
        translator.translate_file(SHIPPED_BUNDLE / "weights.bin", tmp_path / "x", target="en")


def test_options_are_for_files_too(translator: Translator, tmp_path: Path) -> None:
    (tmp_path / "in.md").write_text("Le chat dort.\n", encoding="utf-8")
    said = []
    for number, options in enumerate([{}, {"do_not_translate": ["chat"]}, {"glossary": {"chat": "tiger"}}]):
        translator.translate_file(tmp_path / "in.md", tmp_path / f"{number}.md", source="fr", target="en", **options)
        said.append((tmp_path / f"{number}.md").read_text(encoding="utf-8"))
    assert ["chat" in each for each in said] == [False, True, False]
    assert "tiger" in said[2]
    with pytest.raises(TypeError, match="'alternatives'"):
        translator.translate_file(
            tmp_path / "in.md",
            tmp_path / "out",
            target="en",
            alternatives=1,  # type: ignore[call-arg]
        )
    with pytest.raises(RequestError, match="model"):
        translator.translate_file(tmp_path / "in.md", tmp_path / "out", target="en", model="none")


def test_threads_share_a_translator(translator: Translator) -> None:
    alone = [each.text for each in translator.translate(TEXTS, source="fr", target="en")]
    together: dict[int, list[str]] = {}

    def work(number: int) -> None:
        together[number] = [each.text for each in translator.translate(TEXTS, source="fr", target="en")]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == dict.fromkeys(range(8), alone)


def test_the_same_on_an_event_loop(translator: Translator, client: Client) -> None:
    async def scenario() -> list[list[Translation]]:
        loading = AsyncTranslator.load(SHIPPED_BUNDLE, sessions=1)
        async with AsyncClient(client.address) as theirs, await loading as ours:
            assert await theirs.is_ready()
            assert ours.pairs == translator.pairs
            calls = [each.translate(TEXTS, source="fr", target="en") for each in (ours, ours, theirs)]
            return await asyncio.gather(*calls)

    expected = translator.translate(TEXTS, source="fr", target="en")
    assert asyncio.run(scenario()) == [expected] * 3


def test_what_else_the_service_knows(translator: Translator, client: Client) -> None:
    assert set(client.pairs) == set(translator.pairs)
    assert client.detect("Je suis étudiant.")[0].language == "fr"
    assert client.is_ready()
    nobody = Client(f"http://127.0.0.1:{free_port()}")
    assert not nobody.is_ready()
    with pytest.raises(UnavailableError, match="no answer from"):
        nobody.translate("Bonjour.", target="en")
    with pytest.raises(ValueError, match="no address"):
        Client("ftp://example.org")


def test_what_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="nowhere"):
        Translator.load(tmp_path / "nowhere")
    with pytest.raises(LoadError, match=str(tmp_path)):
        Translator.load(tmp_path)
    with pytest.raises(LoadError, match="sessions"):
        Translator.load(SHIPPED_BUNDLE, sessions=-1)


def test_a_closed_translator_says_so() -> None:
    translator = Translator.load(SHIPPED_BUNDLE, sessions=1)
    translator.close()
    translator.close()
    with pytest.raises(UnavailableError, match="closed"):
        translator.translate("Bonjour.", source="fr", target="en")


def test_a_program_that_forgets_to_close_ends(tmp_path: Path) -> None:
    code = (
        "from attend import Translator\n"
        f"translator = Translator.load({str(SHIPPED_BUNDLE)!r}, sessions=1)\n"
        "print(translator.translate('Bonjour.', source='fr', target='en'))\n"
    )
    # Another directory, and settings that are the service's affair.
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "ATTEND_BUNDLE": "nowhere", "ATTEND_BEAM_SIZE": "99"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
