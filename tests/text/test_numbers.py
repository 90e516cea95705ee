"""Numbers of a sentence and of its translation."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.numbers import numbers_differ
from service.text.writing import written

RIGHT = [
    ("en", "fr", "The price is 19.95 dollars.", "Le prix est de 19,95 dollars."),
    ("en", "fr", "The town has 318,640 people.", "La ville a 318 640 habitants."),
    ("en", "fr", "I have 3 cats.", "J'ai trois chats."),
    ("en", "fr", "I have three cats.", "J'ai 3 chats."),
    ("fr", "en", "Il a vingt-cinq ans.", "He is 25 years old."),
    ("en", "fr", "On 04/03/2012 at 19:45", "Le 4 mars 2012 à 19 h 45"),
    ("en", "zh", "In March 2012", "2012年3月"),
    ("zh", "en", "我们有3万人。", "We have 30,000 people."),
    ("zh", "en", "花了1.5亿元。", "It cost 150 million yuan."),
    ("en", "zh", "5 million people", "500万人"),
    ("zh", "en", "他二十五岁。", "He is 25."),
    ("zh", "en", "三个苹果", "3 apples"),
    ("en", "fr", "The 21st century", "Le XXIe siècle"),
    ("en", "fr", "It is 3 p.m.", "Il est 15 h."),
    ("zh", "en", "7点半", "7:30"),
    ("en", "fr", "in the 1990s", "dans les années 90"),
    ("en", "de", "It costs 1,000 euros.", "Es kostet 1.000 Euro."),
    ("en", "fr", "He has no dog.", "Il n'a pas de chien."),
    ("en", "fr", "It costs 11.5 euros", "Ça coûte 11,50 euros"),
    ("fr", "en", "Le groupe joue à 20h.", "The band plays at 8:00 p.m."),
    ("fr", "en", "Une douzaine de roses", "12 roses"),
    ("fr", "en", "Il a 12 ans et demi, et elle 12 ans trois quarts.", "He is 12.5 years old, and she is 12.75."),
    ("fr", "en", "vers 12 h 00 GMT", "at 1200 GMT"),
    ("fr", "en", "Ils offrent 4,4 Md$.", "They offer $4.4 billion."),
    ("fr", "en", "Un triplet et un couple", "A 3-tuple and a 2-tuple"),
    ("en", "fr", "It costs 75 cents, up 3c.", "Ça coûte 75 cents, soit 3 c. de plus."),
    ("zh", "en", "投资过万亿元", "It exceeded 1 trillion yuan."),
    ("zh", "en", "三万五千亿元", "3.5 trillion yuan"),
    ("zh", "en", "万辆快递车", "10,000 vans"),
    ("zh", "en", "重1 千克，长3千米", "It weighs 1 kg and is 3 km long."),
    ("zh", "en", "达到一点七万多例，全长三点七公里", "17,000 cases, 3.7 kilometers"),
    ("zh", "en", "600-700万卢布", "6-7 million roubles"),
    ("zh", "en", "2015年“双11”期间", "on Singles’ Day 2015"),
    ("fr", "en", "8,5 tonnes", "eight-and-a-half tons"),
    ("fr", "en", "entre 325 et 340 M$", "between $325 million and $340 million"),
    ("fr", "en", "jeudi vers 21h30", "on Thursday at around 9.30pm"),
    ("fr", "en", "5,3 billions de dollars", "$5.3tn"),
    ("zh", "en", "涉及30多亿人口", "more than 3 billion people"),
    ("zh", "en", "9月21日升逾400个基点", "more than 400 points on September 21. The"),
    ("zh", "en", "近7成，12成员国", "nearly 70%, 12 members"),
    ("zh", "en", "增长近四成", "an increase of nearly 40%"),
    ("zh", "en", "40 年后", "four decades later"),
    ("zh", "en", "20 世纪 50 年代末", "the late 1950s"),
]
WRONG = [
    ("en", "fr", "It was built in 1850.", "Elle fut construite en 1750."),
    ("en", "fr", "The price is 19.95 dollars.", "Le prix est de 199,50 dollars."),
    ("en", "fr", "The town has 318,640 people.", "La ville a 38, 4640 habitants."),
    ("en", "fr", "I have 3 cats.", "J'ai des chats."),
    ("en", "fr", "I have 3 cats and 3 dogs.", "J'ai 3 chats et des chiens."),
    ("en", "fr", "I have cats.", "J'ai 4 chats."),
    ("en", "fr", "I have three cats.", "J'ai 4 chats."),
    ("zh", "en", "我们有3万人。", "We have 3 people."),
    ("zh", "en", "我们有万亿人。", "We have 3 people."),
    ("zh", "en", "20世纪50年代", "the 1960s"),
    ("fr", "en", "Il a 12 ans et demi.", "He is 13.5 years old."),
    ("en", "fr", "It costs $7.40 today.", "Ça coûte 70,4 $."),
    ("fr", "en", "Le train de 18h42", "The 184:2 train"),
    ("en", "fr", "The machine 10.20.30.40", "La machine 10.20.04"),
]


@pytest.mark.parametrize(("source", "target", "text", "translation"), RIGHT)
def test_a_right_translation_is_never_called_wrong(source: str, target: str, text: str, translation: str) -> None:
    assert not numbers_differ(text, translation, (source, target))
    assert not numbers_differ(translation, text, (target, source))


@pytest.mark.parametrize(("source", "target", "text", "translation"), WRONG)
def test_another_number_is_found(source: str, target: str, text: str, translation: str) -> None:
    assert numbers_differ(text, translation, (source, target))


@given(st.lists(st.integers(13, 10**7), max_size=6), st.sampled_from(["en", "fr", "zh", "xx"]))
def test_the_same_numbers_in_another_order_are_the_same(numbers: list[int], language: str) -> None:
    text, turned = (", ".join(map(str, each)) for each in (numbers, numbers[::-1]))
    assert not numbers_differ(text, turned, ("en", language))


@given(st.lists(st.integers(200, 10**7), min_size=1, max_size=6, unique=True), st.integers(0, 5))
def test_a_number_that_is_missing_is_found(numbers: list[int], index: int) -> None:
    fewer = [number for place, number in enumerate(numbers) if place != index % len(numbers)]
    text, less = (" x ".join(map(str, each)) for each in (numbers, fewer))
    assert numbers_differ(text, less, ("en", "fr"))


@pytest.mark.parametrize(
    ("number", "before", "source", "target", "expected"),
    [
        ("19.95", "is ", "en", "fr", "19,95"),
        ("318,640", "has ", "en", "fr", "318\u202f640"),
        ("318,640", "has ", "en", "de", "318.640"),
        ("€7.40", "", "en", "fr", "7,40\u00a0€"),
        ("7,40 €", "", "fr", "en", "€7.40"),
        ("12,5 %", "", "fr", "zh", "12.5%"),
        ("18h42", "", "fr", "en", "18:42"),
        ("3万", "有", "zh", "en", "30,000"),
        ("1.5亿", "", "zh", "fr", "150\u202f000\u202f000"),
        ("3万", "", "zh", "zt", "3万"),
        ("1 234 567,5", "", "fr", "en", "1,234,567.5"),
        ("10.20.30.40", "", "en", "fr", "10.20.30.40"),
        ("3.12", "Python ", "en", "fr", "3.12"),
        ("010-62345678", "", "zh", "en", "010-62345678"),
        ("2031-04-09", "", "en", "fr", "2031-04-09"),
        ("2012", "in ", "en", "fr", "2012"),
        ("2028年5月3日", "", "zh", "en", "May 3, 2028"),
        ("5月3日", "", "zh", "fr", "3 mai"),
        ("2028年5月", "", "zh", "en", "May 2028"),
        ("2028年5月3日", "", "zh", "de", "3. Mai 2028"),
        ("2028年5月3日", "", "zh", "xx", "2028-05-03"),
        ("2028年5月3日", "", "zh", "zt", "2028年5月3日"),
    ],
)
def test_how_a_number_is_written(number: str, before: str, source: str, target: str, expected: str) -> None:
    assert written(number, before, source, target) == expected


@given(
    st.from_regex(r"\A[€$]?[1-9][0-9]{0,2}([., \u00a0][0-9]{3}){0,2}([.,][0-9]{1,2})?[%万]?\Z"),
    st.sampled_from(["en", "fr", "zh", "de"]),
)
def test_a_number_that_is_written_otherwise_is_the_same_number(number: str, target: str) -> None:
    for source in ("en", "fr", "zh"):
        assert not numbers_differ(number, written(number, "", source, target), (source, target))


@given(
    st.dates(),
    st.sampled_from(["{0}年{1}月{2}日", "{1}月{2}号", "{0}年{1}月"]),
    st.sampled_from(["en", "fr", "de", "es", "xx"]),
)
def test_a_chinese_date_that_is_written_otherwise_is_the_same_date(day: date, pattern: str, target: str) -> None:
    text = pattern.format(f"{day.year:04}", day.month, day.day)
    assert not numbers_differ(text, written(text, "", "zh", target), ("zh", target))
