"""Translation servers as people write them, around the same weights (`serve.py` starts them).

    python -m benchmarks.peer_servers threads|batching|onnx --model FOLDER --vocabulary FILE --port N

threads: FastAPI, a plain function in its thread pool, one call of CTranslate2 a request. batching: FastAPI, a queue,
and calls of CTranslate2 with what came within 5 ms, at most 64 sentences. onnx: FastAPI, the thread pool, and for each
request a decoder of its own on shared sessions of ONNX Runtime. All of them split texts at line breaks, take
`beam_size`, and have uvicorn's faster parser and loop where those are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import sentencepiece
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

MOST_TOKENS_FOR_EACH, MOST_TOKENS_MORE = 2, 10
BATCH_SECONDS, BATCH_SENTENCES = 0.005, 64
Pieces = list[str]


class Question(BaseModel):
    q: str
    source: str
    target: str
    beam_size: int = 1


class Text:
    """SentencePiece, and the tags our model wants."""

    def __init__(self, vocabulary: Path) -> None:
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary))

    def pieces(self, question: Question) -> list[Pieces]:
        lines = question.q.split("\n")
        return [[f"<2{question.target}>", *self.processor.encode(line, out_type=str), "</s>"] for line in lines]

    def join(self, outputs: Sequence[Pieces]) -> dict[str, str]:
        return {"translatedText": "\n".join(self.processor.decode(pieces) for pieces in outputs)}


def most_tokens(sources: Sequence[Sequence[object]]) -> int:
    return max(MOST_TOKENS_FOR_EACH * len(source) + MOST_TOKENS_MORE for source in sources)


def ctranslate2_call(model: Path, workers: int, threads: int) -> Callable[[list[Pieces], int], list[Pieces]]:
    import ctranslate2

    translator = ctranslate2.Translator(
        str(model), device="cpu", compute_type="int8", inter_threads=workers, intra_threads=threads
    )

    def translate(sources: list[Pieces], beam_size: int) -> list[Pieces]:
        results = translator.translate_batch(
            sources, beam_size=beam_size, length_penalty=1.0, disable_unk=True, max_batch_size=BATCH_SENTENCES,
            max_decoding_length=most_tokens(sources),
        )  # fmt: skip
        return [result.hypotheses[0] for result in results]

    return translate


def threads_app(text: Text, model: Path, workers: int, threads: int) -> FastAPI:
    app, call = FastAPI(), ctranslate2_call(model, workers, threads)

    @app.post("/translate")
    def translate(question: Question) -> dict[str, str]:
        return text.join(call(text.pieces(question), question.beam_size))

    return app


def batching_app(text: Text, model: Path, workers: int, threads: int) -> FastAPI:
    batcher = Batcher(ctranslate2_call(model, workers, threads), workers)
    app = FastAPI(lifespan=batcher.running)

    @app.post("/translate")
    async def translate(question: Question) -> dict[str, str]:
        sources = text.pieces(question)
        return text.join(await asyncio.gather(*(batcher.ask(source, question.beam_size) for source in sources)))

    return app


class Batcher:
    """What came within 5 ms goes together; as many batches at once as CTranslate2 has workers."""

    def __init__(self, call: Callable[[list[Pieces], int], list[Pieces]], workers: int) -> None:
        self._call = call
        self._workers = workers
        self._executor = ThreadPoolExecutor(workers)
        self._queue: asyncio.Queue[tuple[Pieces, int, asyncio.Future[Pieces]]] = asyncio.Queue()

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        yield
        for task in tasks:
            task.cancel()

    def ask(self, source: Pieces, beam_size: int) -> Awaitable[Pieces]:
        answer: asyncio.Future[Pieces] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((source, beam_size, answer))
        return answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            together = defaultdict(list)
            for source, beam_size, answer in await self._batch():
                together[beam_size].append((source, answer))
            for beam_size, some in together.items():
                outputs = await loop.run_in_executor(self._executor, self._call, [s for s, _ in some], beam_size)
                for (_, answer), output in zip(some, outputs, strict=True):
                    if not answer.done():
                        answer.set_result(output)

    async def _batch(self) -> list[tuple[Pieces, int, asyncio.Future[Pieces]]]:
        batch = [await self._queue.get()]
        end = asyncio.get_running_loop().time() + BATCH_SECONDS
        while len(batch) < BATCH_SENTENCES:
            try:
                async with asyncio.timeout_at(end):
                    batch.append(await self._queue.get())
            except TimeoutError:
                break
        return batch


def onnx_app(text: Text, model: Path, workers: int, threads: int) -> FastAPI:
    """`workers` is what the thread pool makes of it: as many as there are requests."""
    from benchmarks.static_search import UnboundOnnxDecoder, decode

    app, sessions = FastAPI(), UnboundOnnxDecoder(model, threads)

    @app.post("/translate")
    def translate(question: Question) -> dict[str, str]:
        sources = [text.processor.piece_to_id(pieces) for pieces in text.pieces(question)]
        limits = [most_tokens([source]) for source in sources]
        outputs = decode(copy.copy(sessions), sources, question.beam_size, limits)
        return text.join([[text.processor.id_to_piece(i) for i in ids] for ids in outputs])

    return app


APPS = {"threads": threads_app, "batching": batching_app, "onnx": onnx_app}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=APPS)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    app = APPS[options.kind](Text(options.vocabulary), options.model, options.workers, options.threads)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
