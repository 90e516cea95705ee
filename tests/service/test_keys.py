"""Who may use the service: keys in files and variables, every way to present one, and what each right opens."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.__main__ import main
from service.access.addresses import caller_address, is_public
from service.access.config import AccessConfig
from service.access.guard import IN_FIELDS, Guard
from service.access.key_file import read_keys, write_keys
from service.access.keys import Key, KeyRing, UnusableKeysError, digest_of, new_key, parse_keys
from service.access.rights import needed
from service.app import create_app
from service.settings import Settings
from tests.service.fakes import FakeLoader, make_app, running
from tests.service.listening import client, listening

ANN, BOB, EVE = "ann's key", "bob's key", "the key of nobody"
KEYS = f"ann:translate:{digest_of(ANN)} bob:metrics:{digest_of(BOB)}"
ASK = {"q": "好！", "source": "zh", "target": "en"}
CALLS: dict[str, tuple[dict[str, Any], int, int]] = {
    "/translate": ({"json": ASK}, 400, 403),
    "/detect": ({"json": {"q": "好！"}}, 400, 403),
    "/translate_file": ({"data": {"source": "zh", "target": "en"}, "files": {"file": ("a.txt", "好！")}}, 400, 403),
    "/score": ({"json": {**ASK, "translation": "Good!"}}, 401, 401),
    "/v2/translate": ({"json": {"text": ["好！"], "source_lang": "ZH", "target_lang": "EN"}}, 403, 403),
    "/v2/models/tiny/infer": (
        {
            "json": {
                "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["好！"]}],
                "parameters": {"source": "zh", "target": "en"},
            }
        },
        401,
        401,
    ),
    "/language/translate/v2": ({"json": ASK}, 403, 403),
    "/language/translate/v2/detect": ({"json": {"q": "好！"}}, 403, 403),
    "/imme": ({"json": {"source_lang": "zh", "target_lang": "en", "text_list": ["好！"]}}, 401, 401),
    "/kiss": ({"json": {"from": "zh", "to": "en", "text": "好！"}}, 401, 401),
    "/deeplx/translate": ({"json": {"text": "好！", "source_lang": "ZH", "target_lang": "EN"}}, 401, 401),
    "/translate/batch": ({"json": {"from": "zh", "to": "en", "texts": ["好！"]}}, 401, 401),
}
"""Of each endpoint that reads texts: a request, and the statuses without a key and with a wrong one."""


def all_of(loader: FakeLoader, calls: list[tuple[str, str, dict[str, Any]]], **settings: Any) -> list[httpx.Response]:
    async def scenario() -> list[httpx.Response]:
        async with running(make_app(loader, **{"keys": KEYS, **settings})) as asking:
            return [await asking.request(method, path, **request) for method, path, request in calls]

    return asyncio.run(scenario())


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_without_a_key_nothing_is_translated_and_each_contract_says_so_in_its_way(loader: FakeLoader) -> None:
    calls = [("POST", path, request) for path, (request, _, _) in CALLS.items()]
    missing = all_of(loader, calls)
    assert [reply.status_code for reply in missing] == [status for _, status, _ in CALLS.values()]
    wrong = all_of(loader, [(*call[:2], {**call[2], "headers": bearer(EVE)}) for call in calls])
    assert [reply.status_code for reply in wrong] == [status for _, _, status in CALLS.values()]
    assert missing[0].json() == {"error": "Please contact the server operator to get an API key"}
    assert wrong[0].json() == {"error": "Invalid API key"}
    by_path = dict(zip(CALLS, wrong, strict=True))
    assert by_path["/v2/translate"].json() == {"message": "Invalid API key"}
    assert by_path["/deeplx/translate"].json() == {"code": 401, "message": "Invalid API key"}
    refused = {"error": {"code": 403, "message": "Invalid API key", "status": "PERMISSION_DENIED"}}
    assert by_path["/language/translate/v2"].json() == refused
    assert by_path["/imme"].headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert loader.engine.submitted == []


def test_every_endpoint_that_is_not_open_by_intention_asks_for_a_key(loader: FakeLoader) -> None:
    schema = make_app(loader).openapi()
    asking = [(method.upper(), path) for path, item in schema["paths"].items() for method in item if needed(path)]
    asking = [(method, path.replace("{name}", "tiny")) for method, path in asking]
    assert {path for _, path in asking} >= {*CALLS, "/v2/usage"}
    # Of a body without a key nothing is looked at but that.
    replies = all_of(loader, [(method, path, {"json": {}} if method == "POST" else {}) for method, path in asking],
                     metrics_access="key", pages_access="key")  # fmt: skip
    statuses = {path: reply.status_code for (_, path), reply in zip(asking, replies, strict=True)}
    assert set(statuses.values()) <= {400, 401, 403}, statuses
    assert all("operator" in reply.text for reply in replies), statuses


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/translate", {"json": {**ASK, "api_key": ANN}}),
        ("/translate", {"data": {**ASK, "api_key": ANN}}),
        ("/translate", {"params": {**ASK, "api_key": ANN}}),
        ("/translate", {"json": ASK, "headers": bearer(ANN)}),
        ("/translate?token=ann%27s+key", {"json": ASK}),
        ("/translate?token=ann%27s+key", {"json": {"text": "好！", "source_lang": "ZH", "target_lang": "EN"}}),
        ("/detect", {"json": {"q": "好！", "api_key": ANN}}),
        (
            "/translate_file",
            {"data": {"source": "zh", "target": "en", "api_key": ANN}, "files": {"file": ("a.txt", "好！")}},
        ),
        ("/imme?token=ann%27s+key", CALLS["/imme"][0]),
        ("/kiss", {**CALLS["/kiss"][0], "headers": bearer(ANN)}),
        ("/v2/translate", {**CALLS["/v2/translate"][0], "headers": {"Authorization": f"DeepL-Auth-Key {ANN}"}}),
        ("/language/translate/v2?key=ann%27s+key", {"json": ASK}),
        ("/google/language/translate/v2", {"json": ASK, "headers": {"X-Goog-Api-Key": ANN}}),
        ("/v2/models/tiny/infer", {**CALLS["/v2/models/tiny/infer"][0], "headers": bearer(ANN)}),
    ],
)
def test_a_key_is_found_where_each_client_has_it(loader: FakeLoader, path: str, more: dict[str, Any]) -> None:
    (reply,) = all_of(loader, [("POST", path, more)])
    assert reply.status_code == 200, reply.text


def test_what_says_nothing_of_texts_is_open(loader: FakeLoader) -> None:
    paths = ["/health", "/health/ready", "/v2/health/live", "/v2/models/tiny", "/languages", "/v2/languages",
             "/language/translate/v2/languages", "/frontend/settings", "/", "/metrics"]  # fmt: skip
    replies = all_of(loader, [("GET", path, {}) for path in paths])
    assert [reply.status_code for reply in replies] == [200] * len(paths)
    told = replies[paths.index("/frontend/settings")].json()
    assert (told["apiKeys"], told["keyRequired"]) == (True, True)


def test_a_key_opens_what_its_rights_say(loader: FakeLoader) -> None:
    basic = base64.b64encode(f"anybody:{BOB}".encode()).decode()
    calls = [
        ("POST", "/translate", {"json": ASK, "headers": bearer(BOB)}),
        ("GET", "/metrics", {"headers": bearer(ANN)}),
        ("GET", "/metrics", {"headers": bearer(BOB)}),
        ("GET", "/metrics", {"headers": {"Authorization": f"Basic {basic}"}}),
        ("GET", "/", {"headers": bearer(BOB)}),
        ("GET", "/web/js/main.js", {}),
        # A browser sends it along with what pages of others ask for.
        ("POST", "/translate", {"json": ASK, "headers": {"Authorization": f"Basic {basic}"}}),
    ]
    replies = all_of(loader, calls, metrics_access="key", pages_access="key")
    assert [reply.status_code for reply in replies] == [403, 403, 200, 200, 200, 401, 400]
    assert replies[0].json() == {"error": "this key has not the right 'translate'"}
    assert replies[5].headers["www-authenticate"].startswith("Basic ")


def test_a_key_may_be_left_out_where_that_is_allowed_but_not_be_wrong(loader: FakeLoader) -> None:
    calls = [("POST", "/translate", {"json": ASK}), ("POST", "/translate", {"json": {**ASK, "api_key": EVE}})]
    assert [reply.status_code for reply in all_of(loader, calls, key_required=False)] == [200, 403]
    assert [reply.status_code for reply in all_of(loader, calls, keys="")] == [200, 200]


def test_the_file_of_keys_is_read_again_when_it_changes_and_not_if_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.access.guard.LOOK_SECONDS", 0.0)
    path = tmp_path / "keys"
    write_keys(path, [Key(name="ann", digest=digest_of(ANN))])
    guard = Guard(AccessConfig(keys_file=path))
    assert guard.find(ANN)
    write_keys(path, [Key(name="bob", digest=digest_of(BOB))])
    assert (guard.find(ANN), guard.find(BOB) and "bob") == (None, "bob")
    path.write_text("no keys\n")
    assert guard.find(BOB)
    assert "the keys from before go on" in caplog.text
    path.unlink()
    assert guard.find(BOB)
    write_keys(path, [])
    assert guard.find(BOB) is None
    assert guard.needs_key


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTEND_KEYS_FILE", str(tmp_path / "keys"))
    assert main(["keys", "add", "ann", "--requests", "5/second", "--quota", "1000"]) == 0
    shown = re.search(r"shown only now: (attend_\S{43})\n", capsys.readouterr().out)
    assert shown
    (key,) = read_keys(tmp_path / "keys")
    assert (key.digest, key.rights, key.quota) == (digest_of(shown[1]), ("translate",), 1000)
    assert shown[1] not in (tmp_path / "keys").read_text()
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    assert main(["keys", "add", "watcher", "--rights", "metrics,translate"]) == 0
    capsys.readouterr()
    assert main(["keys", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:2] for line in listed] == [["ann", "translate"], ["watcher", "translate,metrics"]]
    assert main(["keys", "revoke", "ann"]) == 0
    assert [key.name for key in read_keys(tmp_path / "keys")] == ["watcher"]
    assert main(["keys", "add", "env", "--rights", "admin", "--print-only"]) == 0
    printed, secret = capsys.readouterr().out.splitlines()[-2:]
    (key,) = parse_keys(printed.partition(": ")[2])
    assert KeyRing([key]).find(secret.rpartition(" ")[2]) == key


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "ann", "--file", "/nowhere/keys"], "/nowhere/keys cannot be written: No such file or directory"),
        (["add", "ann", "--file", "/proc/keys"], "/proc/keys cannot be written: "),
        (["list", "--file", "/nowhere/keys"], "/nowhere/keys cannot be read: No such file or directory"),
        (["revoke", "eve"], "there is no key 'eve'"),
        (["add", "ann"], "there are two keys of the name 'ann'"),
        (["add", "a b"], "a key's name has 1 to 64 letters, digits and . _ @ -"),
        (["add", "bob", "--requests", "many"], "the key 'bob': 'many' is no rate; one is 100/minute, "),
        (["add", "bob", "--quota", "5", "--print-only"], "rates and quotas of one key need the file: "),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("ATTEND_KEYS_FILE", str(tmp_path / "keys"))
    write_keys(tmp_path / "keys", [Key(name="ann", digest=digest_of(ANN))])
    assert main(["keys", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(message)
    assert said.count("\n") == 1


def test_no_flipped_bit_of_a_file_of_keys_makes_another_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    keys = [
        Key(name="ann", digest=digest_of(ANN), created="2026-11-29", requests="5/second"),
        Key(name="bob", digest=digest_of(BOB), rights=("metrics", "admin"), quota=10),
    ]
    write_keys(path, keys)
    assert read_keys(path) == keys
    good = path.read_bytes()
    for place in range(len(good)):
        for bit in range(8):
            path.write_bytes(good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :])
            with pytest.raises(UnusableKeysError):
                read_keys(path)
    # What is no file of keys at all.
    generator = random.Random(5)
    for size in (1, 7, 100, 5000):
        path.write_bytes(generator.randbytes(size) + b"\n")
        with pytest.raises(UnusableKeysError):
            read_keys(path)
    path.write_bytes(b"[" * 100_000 + b"\n")
    with pytest.raises(UnusableKeysError):
        read_keys(path)


def test_a_changed_line_with_a_new_checksum_is_still_looked_at(tmp_path: Path) -> None:
    def line(**fields: Any) -> bytes:
        check = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
        return json.dumps({**fields, "check": check}).encode() + b"\n"

    good = {"name": "ann", "digest": digest_of(ANN), "rights": ["translate"]}
    (tmp_path / "keys").write_bytes(line(**good))
    assert read_keys(tmp_path / "keys")
    for wrong in ({"rights": ["all"]}, {"rights": 5}, {"rights": []}, {"digest": "ff"}, {"name": ""}, {"more": 1}):
        (tmp_path / "keys").write_bytes(line(**{**good, **wrong}))
        with pytest.raises(UnusableKeysError):
            read_keys(tmp_path / "keys")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (f"ann:{digest_of(ANN)}", "entry 1 is not NAME:RIGHTS:HASH"),
        (f"ann:translate:{ANN[:3]}", "the key 'ann' needs the SHA-256 of a key"),
        (f"ann:all:{digest_of(ANN)}", "'all' is no right; the rights are translate, metrics, admin"),
    ],
)
def test_a_wrong_variable_is_said_without_what_stands_there(
    keys: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ATTEND_KEYS", keys)
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"ATTEND_KEYS: {message}")
    assert keys not in said


def test_keys_are_long_and_different() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert all(len(new_key()) == len("attend_") + 43 for _ in range(3))


def test_metrics_and_pages_on_a_port_of_their_own(loader: FakeLoader) -> None:
    async def scenario() -> list[tuple[int, int]]:
        settings = Settings(port=0, private_port=0, metrics_access="port", pages_access="port")
        async with listening(create_app(settings, loader), settings) as (server, port, _):
            private = next(iter(server._state.guard.private_ports))
            async with client(port) as public, client(private) as inside:
                paths = ("/metrics", "/", "/web/js/main.js", "/languages")
                return [((await public.get(each)).status_code, (await inside.get(each)).status_code) for each in paths]

    assert asyncio.run(scenario()) == [(404, 200), (404, 200), (404, 200), (200, 200)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics_access": "key"}, "must name a key"),
        ({"pages_access": "port"}, "ATTEND_PRIVATE_PORT must name the port"),
        ({"quota_characters": 5}, "ATTEND_QUOTA_CHARACTERS needs ATTEND_REDIS or ATTEND_USAGE_FILE"),
        ({"redis": "redis://a", "usage_file": "b"}, "has no use"),
        ({"rate_key_requests": "fast"}, "'fast' is no rate"),
        ({"rate_address_characters": "0/minute"}, "allows nothing"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**settings)


@pytest.mark.parametrize(
    ("peer", "forwarded", "named", "found"),
    [
        ("192.0.2.7", "1.2.3.4", "", "192.0.2.7"),
        ("127.0.0.1", "1.2.3.4", "", "127.0.0.1"),
        ("127.0.0.1", "1.2.3.4", "127.0.0.1", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "10.0.0.0/8", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "10.0.0.1", "1.2.3.4"),
        ("::ffff:10.0.0.1", "1.2.3.4:567", "10.0.0.1", "1.2.3.4"),
        ("10.0.0.1", "[2001:db8:1:2:3::4]:567", "10.0.0.1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::4", "", "", "2001:db8:1:2::/64"),
        ("10.0.0.1", "unknown", "10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1", "10.0.0.1"),
        (None, "1.2.3.4", "", "unix"),
        (None, "1.2.3.4", "unix", "1.2.3.4"),
        ("10.0.0.1", "1.2.3.4", "*", "1.2.3.4"),
    ],
)
def test_the_callers_address_is_what_proxies_say_that_are_named(
    peer: str | None, forwarded: str, named: str, found: str
) -> None:
    assert caller_address(peer, forwarded, named) == found


def test_public_addresses() -> None:
    assert [is_public(host) for host in ("127.0.0.1", "::1", "localhost", "unix:/run/a")] == [False] * 4
    assert [is_public(host) for host in ("0.0.0.0", "::", "10.0.0.1", "attend.example")] == [True] * 4


def test_paths_whose_fields_are_looked_at_are_those_of_libretranslate() -> None:
    assert all(needed(path) == "translate" for path in IN_FIELDS)


@pytest.mark.parametrize(
    ("host", "keys", "warned"), [("0.0.0.0", "", True), ("0.0.0.0", KEYS, False), ("127.0.0.1", "", False)]
)
def test_a_start_where_others_reach_it_without_keys_warns(
    host: str, keys: str, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("service.__main__._run", lambda settings: None)
    monkeypatch.setenv("ATTEND_HOST", host)
    monkeypatch.setenv("ATTEND_KEYS", keys)
    assert main([]) == 0
    assert ("there are no keys" in capsys.readouterr().out) == warned


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ATTEND_KEYS_FILE": "/nowhere"}, "/nowhere cannot be read: "),
        ({"ATTEND_USAGE_FILE": "/nowhere/usage"}, "/nowhere/usage cannot keep what is used: "),
        ({"ATTEND_REDIS": "nothing"}, "ATTEND_REDIS: an address of Redis is redis://HOST:PORT/NUMBER"),
    ],
)
def test_a_start_with_what_cannot_be_used_is_refused(
    settings: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 2
    assert capsys.readouterr().err.startswith(message)
