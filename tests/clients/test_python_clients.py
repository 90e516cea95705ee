"""Packages of PyPI, unmodified, against a service in a process of its own."""

from __future__ import annotations

import asyncio
import gc
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import deepl
import httpx
import numpy as np
import pytest
import tritonclient.http
from deep_translator import LibreTranslator
from libretranslate_aio import AsyncLibreTranslate, BadRequestError, ForbiddenError, LibreTranslate
from libretranslatepy import LibreTranslateAPI
from tritonclient.utils import InferenceServerException

from tests.clients.conftest import Translate

EN, FR = "The weather is nice today.", "Il fait beau aujourd'hui."


# These clients leave connections to the garbage collector, which must find them before the next test begins.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _connections_are_collected() -> Iterator[None]:
    yield
    gc.collect()


# --- libretranslatepy: forms; GET /languages with a body


@pytest.mark.parametrize("key", [None, "any"])
def test_libretranslatepy(address: str, key: str | None, to_french: Translate) -> None:
    client = LibreTranslateAPI(address, key)
    assert client.translate(EN, "en", "fr") == to_french(EN)
    assert client.detect("Bonjour tout le monde")[0]["language"] == "fr"
    assert {"en", "fr", "zh"} <= {each["code"] for each in client.languages()}
    with pytest.raises(urllib.error.HTTPError) as refused:
        client.translate(EN, "en", "zz")
    assert refused.value.code == 400


# --- libretranslate-aio: forms in which q may occur several times; files


def test_libretranslate_aio(address: str, tmp_path: Path, to_french: Translate, to_english: Translate) -> None:
    with LibreTranslate(address) as client:
        assert client.health() is True
        assert client.translate(EN, source="en", target="fr").translated_text == to_french(EN)
        several = client.translate([FR, "Bonjour tout le monde"], source="auto", target="en", alternatives=1)
        assert [bool(text) for text in several.translated_text] == [True, True]
        assert [each.language for each in several.detected_language] == ["fr", "fr"]
        # At most one each; of some sentences no other reading is among the best.
        assert len(several.alternatives[0]) == 1
        assert len(several.alternatives[1]) <= 1
        assert client.detect("Bonjour tout le monde")[0].language == "fr"
        assert "en" in next(each for each in client.languages() if each.code == "fr").targets
        settings = client.frontend_settings()
        assert (settings.char_limit, settings.suggestions, settings.language.source.code) == (100_000, False, "auto")
        assert ".srt" in settings.supported_files_format
        with pytest.raises(ForbiddenError, match="Suggestions are disabled on this server"):
            client.suggest("a", "b", source="en", target="fr")
        with pytest.raises(BadRequestError, match=r"^zz is not supported$"):
            client.translate(EN, source="en", target="zz")
        path = tmp_path / "cat.txt"
        path.write_text(f"{EN}\n\n{EN}\n")
        url = client.translate_file(path, source="en", target="fr").translated_file_url
    assert httpx.get(url).text == f"{to_french(EN)}\n\n{to_french(EN)}\n"


def test_libretranslate_aio_without_waiting(address: str, to_french: Translate) -> None:
    async def scenario() -> list[str]:
        async with AsyncLibreTranslate(address) as client:
            done = await asyncio.gather(*(client.translate(EN, source="en", target="fr") for _ in range(5)))
            return [str(each.translated_text) for each in done]

    assert asyncio.run(scenario()) == [to_french(EN)] * 5


# --- deep-translator: everything in the query string, with an empty body


def test_deep_translator(address: str, to_french: Translate, to_english: Translate) -> None:
    client = LibreTranslator(source="en", target="fr", custom_url=f"{address}/", api_key="any")
    assert client.translate(EN) == to_french(EN)
    assert client.translate_batch([EN, EN]) == [to_french(EN)] * 2
    assert LibreTranslator(source="auto", target="English", custom_url=f"{address}/", api_key="any").translate(
        FR
    ) == to_english(FR)


# --- deepl: DeepL's own client


@pytest.fixture
def translator(address: str) -> deepl.DeepLClient:
    return deepl.DeepLClient("any", server_url=address, send_platform_info=False)


def test_deepl(translator: deepl.DeepLClient, to_french: Translate, to_english: Translate) -> None:
    one = translator.translate_text(FR, target_lang="EN-US", context="A story.", split_sentences="nonewlines")
    assert (one.text, one.detected_source_lang, one.billed_characters) == (to_english(FR), "FR", len(FR))
    several = translator.translate_text([EN, EN], source_lang="EN", target_lang="FR", preserve_formatting=True)
    assert [each.text for each in several] == [to_french(EN)] * 2
    assert {"FR", "EN", "ZH"} <= {each.code for each in translator.get_source_languages()}
    assert {each.code for each in translator.get_target_languages()} >= {"EN", "FR"}
    assert not translator.get_usage().any_limit_reached


def test_deepl_keeps_tags(translator: deepl.DeepLClient) -> None:
    source = f'<doc><p id="1">{EN}</p><x>{EN}</x></doc>'
    found = translator.translate_text(source, target_lang="FR", tag_handling="xml", ignore_tags=["x"])
    assert not isinstance(found, list)
    assert found.text.startswith('<doc><p id="1">')
    assert found.text.endswith(f"</p><x>{EN}</x></doc>")
    assert EN not in found.text[: -len(f"<x>{EN}</x></doc>")]


def test_deepl_hears_why(translator: deepl.DeepLClient) -> None:
    with pytest.raises(deepl.DeepLException, match="XX is not supported"):
        translator.translate_text(EN, source_lang="EN", target_lang="XX")
    with pytest.raises(deepl.DeepLException, match="formality is not supported by this service"):
        translator.translate_text(EN, target_lang="FR", formality="more")


# --- tritonclient: the Open Inference Protocol


@pytest.fixture
def triton(address: str) -> Iterator[tritonclient.http.InferenceServerClient]:
    with tritonclient.http.InferenceServerClient(address.removeprefix("http://")) as client:
        yield client


def strings(name: str, *texts: str, **how: bool) -> tritonclient.http.InferInput:
    tensor = tritonclient.http.InferInput(name, [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=np.object_), **how)
    return tensor


def model_name(client: tritonclient.http.InferenceServerClient) -> str:
    return str(client.get_model_repository_index()[0]["name"])


def test_tritonclient_with_its_defaults(triton: tritonclient.http.InferenceServerClient, to_french: Translate) -> None:
    name = model_name(triton)
    result = triton.infer(name, [strings("text", EN, ""), strings("source", "en"), strings("target", "fr")])
    assert [text.decode() for text in result.as_numpy("translation")] == [to_french(EN), ""]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
def test_tritonclient_in_every_form(
    triton: tritonclient.http.InferenceServerClient, binary: bool, packing: str | None, to_english: Translate
) -> None:
    inputs = [strings("text", FR, binary_data=binary), strings("target", "en", binary_data=binary)]
    wanted = [tritonclient.http.InferRequestedOutput("translation", binary_data=binary)]
    result = triton.infer(
        model_name(triton), inputs, outputs=wanted, request_id="7", timeout=60_000_000,
        request_compression_algorithm=packing, response_compression_algorithm=packing,
    )  # fmt: skip
    (text,) = result.as_numpy("translation")
    assert (text if isinstance(text, str) else text.decode()) == to_english(FR)
    assert result.get_response()["id"] == "7"


def test_tritonclient_asks_about_server_and_model(triton: tritonclient.http.InferenceServerClient) -> None:
    name = model_name(triton)
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready(name)
    assert "binary_tensor_data" in triton.get_server_metadata()["extensions"]
    assert [each["name"] for each in triton.get_model_metadata(name)["outputs"]] == ["translation"]
    assert not triton.is_model_ready("another")
    with pytest.raises(InferenceServerException, match="no such model"):
        triton.infer("another", [strings("text", EN), strings("target", "fr")])
    with pytest.raises(InferenceServerException, match="zz is not supported"):
        triton.infer(name, [strings("text", EN), strings("target", "zz")])
