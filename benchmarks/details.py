"""python -m benchmarks.details: what details, alignment and attention cost those who ask for them, over HTTP's code but
without a socket; and how far `token_log_probs` are from summing to `log_prob`."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from service.app import create_app
from service.settings import Settings

SENTENCES = Path(__file__).with_name("everyday.fr.gz")
MEAN = {"kinds": ["cross"], "reduce": "mean"}
ASKED: Mapping[str, Mapping[str, Any]] = {
    "translation alone": {},
    "details": {"details": True},
    "alignment": {"alignment": True},
    "cross attention, mean": {"attention": MEAN},
}


async def _measure(bundle: Path, counts: list[int], repeats: int) -> None:
    app = create_app(Settings(bundle=bundle))
    lines = gzip.decompress(SENTENCES.read_bytes()).decode().splitlines()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://attend", timeout=120) as client,
    ):
        while (await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.05)
        for beam_size in (1, 4):
            reply = await _post(client, lines[: max(counts)], {"details": True, "beam_size": beam_size})
            found = [segment for text in reply.json()["segments"] for segment in text]
            apart = [abs(sum(each["token_log_probs"]) - each["log_prob"]) for each in found]
            print(
                f"beam {beam_size}: {len(apart)} sentences, log_prob and its tokens {max(apart):.1e} nats apart at most"
            )
        rows = []
        for count in counts:
            for name, how in ASKED.items():
                rows.append(await _row(client, lines[:count], name, how, repeats))
                print("{sentences:4} sentences, {asked:22} {ms:8.1f} ms {bytes:9} bytes".format(**rows[-1]))
        print(json.dumps({"rows": rows}))


async def _row(
    client: httpx.AsyncClient, texts: list[str], name: str, how: Mapping[str, Any], repeats: int
) -> dict[str, Any]:
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        reply = await _post(client, texts, how)
        seconds.append(time.perf_counter() - began)
    median = 1000 * statistics.median(seconds[1:])  # the first one opens the graph
    return {"sentences": len(texts), "asked": name, "ms": round(median, 1), "bytes": len(reply.content)}


async def _post(client: httpx.AsyncClient, texts: list[str], how: Mapping[str, Any]) -> httpx.Response:
    reply = await client.post("/translate", json={"q": texts, "source": "fr", "target": "en", **how})
    reply.raise_for_status()
    return reply


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Settings.model_fields["bundle"].default)
    parser.add_argument("--sentences", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    asyncio.run(_measure(options.bundle, options.sentences, options.repeats))


if __name__ == "__main__":
    main()
