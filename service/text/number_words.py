"""Words of numbers that `text_to_num` does not read, and the names of months, by language."""

from __future__ import annotations


def _table(words: str) -> dict[str, int]:
    """From "word value word value"."""
    each = words.split()
    return {word: int(value) for word, value in zip(each[::2], each[1::2], strict=True)}


SCALES = _table(
    "千 3 百 2 万 4 萬 4 亿 8 億 8 兆 12 百万 6 千万 7 十万 5 万亿 12 십 1 thousand 3 million 6 millions 6 billion 9 "
    "billions 9 trillion 12 trillions 12 bn 9 m 6 k 3 mille 3 milliers 3 millier 3 milliard 9 milliards 9 tausend 3 "
    "millionen 6 milliarde 9 milliarden 9 mil 3 millón 6 millones 6 hundred 2 cent 2 cents 2 thousands 3 "
    "hundreds 2 md 9 mds 9 mrd 9 mio 6 tn 12 成 1"
)
"""Zeros of a word that stands behind a number."""

OTHER_WORDS = {
    "en": _table(
        "once 1 twice 2 first 1 second 2 half 30 double 2 couple 2 both 2 pair 22 quarter 4 noon 12 "
        "midnight 12 an 1 a 1 single 1 triple 3 zero 0 no 0 decade 10 century 100 halves 2 quarters 4 tens 10 "
        "hundreds 100 thousands 1000 hundred 100 thousand 1000 million 1000000 billion 1000000000 third 3 "
        "thirds 3 fifths 5 fourth 4 fifth 5 millions 1000000 fortnight 15 none 0 century's 100 decades 10 "
        "centuries 100 percent 100 trio 3 singles 11"
    ),
    "fr": _table(
        "premier 1 première 1 second 2 seconde 2 deuxième 2 demi 2 demie 30 double 2 quinzaine 15 paire 2 "
        "dizaine 10 dizaines 10 douzaine 12 centaine 100 centaines 100 millier 1000 milliers 1000 quart 4 "
        "quarts 4 tiers 3 midi 12 minuit 12 un 1 une 1 décennie 10 siècle 100 vingtaine 20 trentaine 30 "
        "quarantaine 40 cinquantaine 50 zéro 0 moitié 2 mille 1000 cent 100 aucun 0 aucune 0 million 1000000 "
        "milliard 1000000000 lundi 1 mardi 2 mercredi 3 jeudi 4 vendredi 5 samedi 6 triple 3 couple 2 duo 2 "
        "triplet 3 trio 3"
    ),
}

DOZENS = _table("decade 10 decades 10 dozen 12 dozens 12 décennies 10 douzaines 12 dizaines 10 vingtaines 20")
"""What some words make of the number before them: four decades are 40 years."""

MONTH_NAMES = {
    "en": "January February March April May June July August September October November December",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
}

MONTHS = {
    "en": (
        "jan(?:uary)? feb(?:ruary)? mar(?:ch)? apr(?:il)? may june? july? aug(?:ust)? sept?(?:ember)? "
        "oct(?:ober)? nov(?:ember)? dec(?:ember)?"
    ),
    "fr": (
        "janv(?:ier)? févr(?:ier)? mars avr(?:il)? mai juin juil(?:let)? août sept(?:embre)? oct(?:obre)? "
        "nov(?:embre)? déc(?:embre)?"
    ),
    "de": (
        "jan(?:uar)? feb(?:ruar)? märz apr(?:il)? mai juni? juli? aug(?:ust)? sept?(?:ember)? okt(?:ober)? "
        "nov(?:ember)? dez(?:ember)?"
    ),
    "es": (
        "ene(?:ro)? feb(?:rero)? marzo abr(?:il)? mayo jun(?:io)? jul(?:io)? ago(?:sto)? sept?(?:iembre)? "
        "oct(?:ubre)? nov(?:iembre)? dic(?:iembre)?"
    ),
}
"""Patterns of their names, from January on."""
