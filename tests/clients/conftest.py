"""One service, with the shipped model, for all the clients; and what it answers itself, whatever the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.processes import serving_process

Translate = Callable[[str], str]


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with serving_process() as address:
        yield address


@pytest.fixture(scope="session")
def to_english(address: str) -> Translate:
    """The French text in English, as the service itself answers it."""
    return lambda text: _asked(address, text, "fr", "en")


@pytest.fixture(scope="session")
def to_french(address: str) -> Translate:
    return lambda text: _asked(address, text, "en", "fr")


def _asked(address: str, text: str, source: str, target: str) -> str:
    reply = httpx.post(f"{address}/translate", json={"q": text, "source": source, "target": target}, timeout=60)
    translated = str(reply.json()["translatedText"])
    assert translated != text
    return translated
