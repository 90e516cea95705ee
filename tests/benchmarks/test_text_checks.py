"""What fidelity's benchmark counts of human translations and of glossary terms."""

from __future__ import annotations

from pathlib import Path

from benchmarks.glossary_cost import chosen, rest, terms_of
from benchmarks.text_checks import DIFFERENT, digest_of, doubted, human_numbers, really_different, without_spans
from tests.benchmarks.data import write_test_set

RIGHT = [(f"Il a {number} chats.", f"He has {number} cats.") for number in range(20, 60)]
OTHER = ("Il pèse 15 kg.", "It weighs 33 pounds.")


def test_a_pair_has_one_name_whichever_side_is_the_source() -> None:
    assert digest_of(OTHER) == digest_of(OTHER[::-1]) != digest_of(RIGHT[0])


def test_both_directions_look_at_the_same_pairs() -> None:
    pairs = [*RIGHT, OTHER, ("Bonjour.", "Hello.")]
    turned = [pair[::-1] for pair in pairs]
    looked_at, doubts = doubted(pairs, ("fr", "en"), 1000)
    assert looked_at == 41
    assert [doubt.digest for doubt in doubts] == [digest_of(OTHER)]
    assert [each.digest for each in doubted(turned, ("en", "fr"), 1000)[1]] == [digest_of(OTHER)]
    assert doubted(pairs, ("fr", "en"), 7)[0] == 7


def test_who_is_doubted_is_wrong_unless_a_person_says_so(tmp_path: Path) -> None:
    write_test_set(tmp_path, "tatoeba-test", [*RIGHT, OTHER], "fr")
    row, wrong = human_numbers("fr-en", tmp_path, 1000)
    assert row["human translations with numbers"] == 41
    assert row["right ones called wrong, %"] == 2.4
    assert [(doubt.source, doubt.translation) for doubt in wrong] == [OTHER]
    (tmp_path / "names.txt").write_text(f"# read\n{digest_of(OTHER)}\n", encoding="utf-8")
    assert really_different(tmp_path / "names.txt") == {digest_of(OTHER)}
    assert all(len(name) == 12 for name in really_different(DIFFERENT))


def test_sentences_with_nothing_to_copy() -> None:
    pairs = [("I see 19.95.", ""), ("I see it.", ""), ("I see. You see.", ""), ("See a.org/b now", "")]
    assert without_spans(pairs, "en") == [("I see it.", "")]


def test_terms_and_the_rest_of_their_sentences() -> None:
    terms = terms_of(("en", "fr"))
    assert terms_of(("fr", "en")) == {french: english for english, french in terms.items()}
    assert terms_of(("xx", "en")) == {}
    pairs = [("The dog sleeps.", "Le chien dort."), ("The dog sleeps.", "Médor dort."), ("Doggedly.", "Chien.")]
    assert chosen(pairs, terms, 5) == [(pairs[0], ["chien"])]
    assert rest("Le Chien dort.", ["chien"]) == "Le dort."
