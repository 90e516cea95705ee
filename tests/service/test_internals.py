"""POST /internals/search and /internals: off unless set, bounded, and the numbers of the same service elsewhere."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from model.bundle import GraphSpec, TensorSpec
from tests.processes import serving_process
from tests.service.fakes import MANIFEST, FakeLoader, ask, make_app

SENTENCE = "Je ne suis pas étudiant."
FR = {"source": "fr", "target": "en"}
PATHS = ("/internals/search", "/internals")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving_process(internals="true", max_beam_size="5", max_alternatives="4") as address:
        yield address


def post(address: str, path: str, **body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("path", PATHS)
def test_it_is_off_unless_it_is_switched_on(loader: FakeLoader, path: str) -> None:
    reply = ask(make_app(loader), "POST", path, json={"q": "Merci.", "target_ids": [], **FR})
    assert reply.status_code == 403
    assert reply.json() == {"error": "this service cannot be looked into; ATTEND_INTERNALS=true allows it"}


def test_a_bundle_without_the_graph_is_not_looked_into(loader: FakeLoader) -> None:
    scorer = GraphSpec(
        file="scorer.onnx",
        inputs=(),
        outputs=tuple(
            TensorSpec(name=f"{kind}_attention", dtype="float32", shape=("N", 1, 2, "S", "S"))
            for kind in ("encoder", "decoder", "cross")
        ),
    )
    loader.manifest = MANIFEST.model_copy(update={"graphs": {"scorer": scorer}})
    app = make_app(loader, internals=True)
    reply = ask(app, "POST", "/internals", json={"q": "Merci.", "target_ids": [5], **FR})
    assert reply.status_code == 404
    assert "the model tiny@7 cannot be looked into: its bundle has no graph `internals`" in reply.json()["error"]


def test_the_search_found_what_the_service_translates(address: str) -> None:
    status, found = post(address, "/internals/search", q=SENTENCE, beam_size=4, **FR)
    wish = {"beam_size": 4, "alternatives": 3, "details": True}
    _, translated = post(address, "/translate", q=SENTENCE, **wish, **FR)
    assert status == 200
    texts = [each["text"] for each in found["hypotheses"]]
    assert texts == [translated["translatedText"], *translated["alternatives"]]
    segment = translated["segments"][0]
    assert found["source_tokens"] == segment["source_tokens"]
    assert found["hypotheses"][0]["tokens"] == segment["target_tokens"]
    assert found["hypotheses"][0]["log_prob"] == pytest.approx(segment["log_prob"], abs=1e-6)
    assert found["beam_size"] == max(len([each for each in step if each["fate"] == "kept"]) for step in found["steps"])


def test_the_numbers_are_those_of_the_same_service(address: str) -> None:
    _, found = post(address, "/internals/search", q=SENTENCE, beam_size=4, **FR)
    ids = found["hypotheses"][0]["target_ids"]
    _, told = post(address, "/translate", q=SENTENCE, beam_size=4, attention=True, **FR)
    _, scored = post(address, "/score", q=SENTENCE, translation=told["translatedText"], **FR)
    attention = told["segments"][0]["attention"]
    for kind, (layers, heads) in found["stacks"].items():
        _, inside = post(address, "/internals", q=SENTENCE, target_ids=ids, kind=kind, head=heads - 1, **FR)
        assert (inside["layer"], inside["head"]) == (layers - 1, heads - 1)
        for head, weights in enumerate(inside["heads"]):
            for row, expected in zip(weights, attention[kind][-1][head], strict=True):
                assert row == pytest.approx(expected, abs=1e-4)
        root = len(inside["query"][0]) ** 0.5
        product = sum(q * k for q, k in zip(inside["query"][1], inside["key"][0], strict=True))
        assert inside["products"][1][0] == pytest.approx(product, abs=1e-2)
        assert inside["scores"][1][0] == pytest.approx(inside["products"][1][0] / root, abs=1e-4)
        assert inside["token_log_probs"] == pytest.approx(scored["segments"][0]["token_log_probs"], abs=1e-4)
        assert "embedding" not in inside


def test_vectors_of_tokens_and_positions_on_request(address: str) -> None:
    _, inside = post(address, "/internals", q=SENTENCE, target_ids=[50], embedding=True, **FR)
    sizes = {name: (len(rows), len(rows[0])) for name, rows in inside["embedding"].items()}
    source = len(inside["source_tokens"]), 256
    assert sizes == {
        "source_tokens": source, "source_positions": source, "target_tokens": (2, 256), "target_positions": (2, 256),
    }  # fmt: skip
    assert inside["embedding"]["source_positions"][0] == [0, 1] * 128


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        ("/internals/search", {"q": "Bonjour. Merci."}, "q must be one sentence; it has 2"),
        ("/internals/search", {"q": "123"}, "q must be one sentence; it has none that is translated"),
        ("/internals/search", {"q": "mot " * 60}, "tokens, more than 48, the most to look into"),
        ("/internals/search", {"q": ["Merci."]}, "q must be one sentence, a string that is not empty"),
        ("/internals/search", {"q": ""}, "q must be one sentence, a string that is not empty"),
        ("/internals/search", {"beam_size": 9}, "beam_size must be an integer from 1 to 8"),
        ("/internals/search", {"beam_size": 6}, "beam_size must be at most 5, the limit of this service"),
        ("/internals/search", {"steps": 1}, "unknown field 'steps'"),
        ("/internals", {}, "target_ids must be an array of token numbers"),
        ("/internals", {"target_ids": [5, 99999]}, "target_ids: this model has the tokens 0 to "),
        ("/internals", {"target_ids": [5] * 65}, "target_ids has more than 64 tokens, the most to look into"),
        ("/internals", {"target_ids": [5], "layer": 2}, "layer: 2 does not exist, cross attention has 0 to 1"),
        ("/internals", {"target_ids": [5], "head": 8}, "head: 8 does not exist, cross attention has 0 to 7"),
        ("/internals", {"target_ids": [5], "kind": "self"}, "kind must be encoder, decoder or cross"),
    ],
)
def test_what_cannot_be_looked_into_is_said(address: str, path: str, change: dict[str, Any], said: str) -> None:
    status, reply = post(address, path, **{"q": "Merci.", **FR, **change})
    assert status == 422
    assert said in reply["error"]


def test_a_token_that_is_never_written_has_no_probability(address: str) -> None:
    _, inside = post(address, "/internals", q="Merci.", target_ids=[0, 2], **FR)
    assert inside["token_log_probs"][:2] == [None, None]
