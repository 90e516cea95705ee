"""The service without its engine still answers: what `benchmarks/serve.py` measures as HTTP and text alone."""

from __future__ import annotations

import asyncio

import httpx

from benchmarks.instant_service import load_without_engine
from service.app import create_app
from service.settings import Settings
from tests.bundles import SHIPPED_BUNDLE


def test_the_source_comes_back_at_once() -> None:
    async def ask() -> httpx.Response:
        app = create_app(Settings(bundle=SHIPPED_BUNDLE), load_without_engine)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://attend") as client,
        ):
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.05)
            return await client.post("/translate", json={"q": "Je suis ici.", "source": "fr", "target": "en"})

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()) == (200, {"translatedText": "Je suis ici."})
