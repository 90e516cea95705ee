"""Work on texts leaves the event loop to others."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest

from service.text_work import SINGLE_CHARACTERS, THREAD_CHARACTERS, TextWork


def test_only_one_text_of_some_length_is_worked_on_in_a_round_of_the_event_loop() -> None:
    async def scenario() -> list[str]:
        text_work, seen = TextWork(), []

        async def others() -> None:
            while seen.count("text") < 9:
                seen.append("round")
                await asyncio.sleep(0)

        work = [text_work.run(SINGLE_CHARACTERS + 1, lambda: seen.append("text")) for _ in range(9)]
        await asyncio.gather(others(), *work)
        return seen

    seen = asyncio.run(scenario())
    assert seen.count("text") == 9
    assert not [pair for pair in itertools.pairwise(seen) if pair == ("text", "text")]


@pytest.mark.parametrize(
    ("characters", "is_here"), [(1, True), (SINGLE_CHARACTERS + 1, True), (THREAD_CHARACTERS + 1, False)]
)
def test_long_texts_are_worked_on_in_a_thread(characters: int, is_here: bool) -> None:
    found = asyncio.run(TextWork().run(characters, threading.current_thread))
    assert (found is threading.current_thread()) is is_here


def test_work_that_fails_leaves_the_turn_to_the_next() -> None:
    async def scenario() -> int:
        text_work = TextWork()
        with pytest.raises(ZeroDivisionError):
            await text_work.run(SINGLE_CHARACTERS + 1, lambda: 1 // 0)
        return await text_work.run(SINGLE_CHARACTERS + 1, lambda: 7)

    assert asyncio.run(scenario()) == 7
