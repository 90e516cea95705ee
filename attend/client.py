"""Clients of a service that runs somewhere: the same calls as those of translators, over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack, overload
from urllib.parse import quote, urlsplit

from attend.errors import AttendError, RequestError, UnavailableError
from attend.options import Options, check_names
from attend.results import Translation, TranslationWarning, all_or_error

_LATER = (429, 503)
_MOST_WAIT_SECONDS = 30.0


class Detection(NamedTuple):
    """A language that a text may be in."""

    language: str
    confidence: float
    """From 0 to 100."""


class _Reply(NamedTuple):
    status: int
    body: bytes
    retry_after: str | None


class Client:
    """Calls a service; threads may share it. Connections stay open until it is closed."""

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_seconds: float = 130.0,
        retries: int = 2,
    ) -> None:
        """A client of the service at an address.

        Args:
            address: `http://` or `https://`, a host, and a path if the service is not at the root.
            api_key: a key, where the service asks for one.
            timeout_seconds: how long one answer may take; the service itself gives up after 120 s by default.
            retries: how often a request is made again that was refused because there was too much to do; each time it
                waits as long as the service says, at most half a minute.

        Raises:
            ValueError: the address is none.
        """
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{address} is no address of a service, such as http://127.0.0.1:8000")
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self._connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._timeout, self._retries = timeout_seconds, retries
        self._idle: list[http.client.HTTPConnection] = []

    @overload
    def translate(  # type: ignore[overload-overlap]
        self, texts: str, *, source: str = ..., target: str, **options: Unpack[Options]
    ) -> Translation: ...
    @overload
    def translate(
        self, texts: Sequence[str], *, source: str = ..., target: str, **options: Unpack[Options]
    ) -> list[Translation]: ...
    def translate(
        self, texts: str | Sequence[str], *, source: str = "auto", target: str, **options: Unpack[Options]
    ) -> Translation | list[Translation]:
        """The translation of a text, or of each of several, in order.

        Raises:
            RequestError: a language, an option or a text is wrong, or more than the service takes at once.
            UnavailableError: the service is not there, or has too much to do.
        """
        done = self._each([texts] if isinstance(texts, str) else texts, source, target, options)
        return all_or_error(done, is_single=isinstance(texts, str))

    def translate_each(
        self, texts: Sequence[str], *, source: str = "auto", target: str, **options: Unpack[Options]
    ) -> list[Translation | AttendError]:
        """The same, but a text that cannot be translated leaves the others alone: its error is in its place."""
        return self._each(texts, source, target, {**options, "on_error": "item"})

    def _each(
        self, texts: Sequence[str], source: str, target: str, options: Mapping[str, Any]
    ) -> list[Translation | AttendError]:
        check_names({name: value for name, value in options.items() if name != "on_error"})
        if not texts:
            return []
        wish = {**options, "q": list(texts), "source": source, "target": target}
        if isinstance(wish.get("glossary"), Mapping):
            wish["glossary"] = [{"source": term, "target": said} for term, said in wish["glossary"].items()]
        elif isinstance(wish.get("glossary"), os.PathLike):
            raise TypeError("glossary: a client takes a mapping, or the name of a glossary of the service")
        return _results(self._json("POST", "/translate", wish), len(texts), source, target)

    def detect(self, text: str) -> list[Detection]:
        """The languages that a text may be in, the likeliest first."""
        found = self._json("POST", "/detect", {"q": text})
        return [Detection(each["language"], each["confidence"]) for each in found]

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of languages, source and target, that the service translates."""
        known = self._json("GET", "/languages")
        return tuple((each["code"], target) for each in known for target in each["targets"] if target != each["code"])

    def is_ready(self) -> bool:
        """Whether the service is there and translates now."""
        try:
            return self._once("GET", "/health/ready", None, {}).status == 200
        except UnavailableError:
            return False

    def translate_file(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        source: str = "auto",
        target: str,
        alt_texts: bool = False,
    ) -> None:
        """Translate the texts of a file and write it with everything else as it was; see docs/files.md.

        Raises:
            OSError: a file cannot be read or written.
            RequestError: the service does not know files of this kind, or it is damaged.
            UnavailableError: the service is not there, or has too much to do.
        """
        fields = {"source": source, "target": target, "alt_texts": "true" if alt_texts else "false"}
        body, kind = _form(fields, Path(path).name, Path(path).read_bytes())
        reply = self._request("POST", "/translate_file", body, {"Content-Type": kind})
        # The service may know itself by another name than we do.
        name = urlsplit(json.loads(reply.body)["translatedFileUrl"]).path.rpartition("/")[2]
        Path(output).write_bytes(self._request("GET", f"/download_file/{name}", None, {}).body)

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _json(self, method: str, path: str, wish: Mapping[str, Any] | None = None) -> Any:
        body = None if wish is None else json.dumps(wish).encode()
        reply = self._request(method, path, body, {"Content-Type": "application/json"})
        return json.loads(reply.body)

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> _Reply:
        """A successful answer; asks again where the service has too much to do."""
        for attempt in range(self._retries + 1):
            reply = self._once(method, path, body, headers)
            if reply.status not in _LATER or attempt == self._retries:
                break
            time.sleep(min(_seconds(reply.retry_after) or 1.0, _MOST_WAIT_SECONDS))
        if reply.status == 200:
            return reply
        message = _message(reply, self.address)
        if reply.status in _LATER or reply.status >= 500:
            raise UnavailableError(message, reply.status, _seconds(reply.retry_after))
        raise RequestError(message, reply.status)

    def _once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> _Reply:
        try:
            connection, was_open = self._idle.pop(), True
        except IndexError:
            connection, was_open = self._connect(self._host, self._port, timeout=self._timeout), False
        try:
            reply = _exchange(connection, method, self._path + path, body, {**self._headers, **headers})
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            connection.close()
            if was_open:  # the service closes connections on which nothing happens
                return self._once(method, path, body, headers)
            raise UnavailableError(f"{self.address} closed the connection: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise UnavailableError(f"no answer from {self.address}: {error or type(error).__name__}") from error
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return reply


class AsyncClient:
    """A `Client` for programs with an event loop; its calls wait in threads."""

    def __init__(self, address: str = "http://127.0.0.1:8000", **how: Any) -> None:
        """See `Client`."""
        self._client = Client(address, **how)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._client.close()

    @overload
    async def translate(  # type: ignore[overload-overlap]
        self, texts: str, *, source: str = ..., target: str, **options: Unpack[Options]
    ) -> Translation: ...
    @overload
    async def translate(
        self, texts: Sequence[str], *, source: str = ..., target: str, **options: Unpack[Options]
    ) -> list[Translation]: ...
    async def translate(
        self, texts: str | Sequence[str], *, source: str = "auto", target: str, **options: Unpack[Options]
    ) -> Translation | list[Translation]:
        """See `Client.translate`."""
        return await asyncio.to_thread(lambda: self._client.translate(texts, source=source, target=target, **options))

    async def translate_each(
        self, texts: Sequence[str], *, source: str = "auto", target: str, **options: Unpack[Options]
    ) -> list[Translation | AttendError]:
        """See `Client.translate_each`."""
        return await asyncio.to_thread(self._client.translate_each, texts, source=source, target=target, **options)

    async def translate_file(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        source: str = "auto",
        target: str,
        alt_texts: bool = False,
    ) -> None:
        """See `Client.translate_file`."""
        await asyncio.to_thread(
            self._client.translate_file, path, output, source=source, target=target, alt_texts=alt_texts
        )

    async def detect(self, text: str) -> list[Detection]:
        """See `Client.detect`."""
        return await asyncio.to_thread(self._client.detect, text)

    async def pairs(self) -> tuple[tuple[str, str], ...]:
        """See `Client.pairs`."""
        return await asyncio.to_thread(lambda: self._client.pairs)

    async def is_ready(self) -> bool:
        """See `Client.is_ready`."""
        return await asyncio.to_thread(self._client.is_ready)


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> _Reply:
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return _Reply(response.status, response.read(), response.getheader("Retry-After"))


def _results(reply: Mapping[str, Any], count: int, source: str, target: str) -> list[Translation | AttendError]:
    """What a reply to an array of texts says of each of them."""
    warnings: list[list[TranslationWarning]] = [[] for _ in range(count)]
    for note in reply.get("warnings", ()):
        if "index" in note:
            warnings[note["index"]].append(TranslationWarning(note["warning"], note["start"], note["end"]))
    errors = {each["index"]: RequestError(each["error"]) for each in reply.get("errors", ())}
    detected = reply.get("detectedLanguage")
    results: list[Translation | AttendError] = []
    for index, text in enumerate(reply["translatedText"]):
        if index in errors:
            results.append(errors[index])
            continue
        told = Translation(
            text=text,
            source=detected[index]["language"] if detected else source,
            target=target,
            alternatives=tuple(reply["alternatives"][index]) if "alternatives" in reply else (),
            warnings=tuple(warnings[index]),
            confidence=detected[index]["confidence"] if detected else None,
            segments=tuple(reply["segments"][index]) if "segments" in reply else (),
            alternative_segments=tuple(map(tuple, reply.get("alternative_segments", [()] * count)[index])),
        )
        results.append(told)
    return results


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else None


def _message(reply: _Reply, address: str) -> str:
    try:
        return str(json.loads(reply.body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"{address} answered with status {reply.status}"


def _form(fields: Mapping[str, str], name: str, content: bytes) -> tuple[bytes, str]:
    """A body of multipart/form-data with a file, and its type."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    ]
    ascii_name = name.encode("ascii", "replace").decode().replace('"', "_").replace("\\", "_")
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{ascii_name}"; '
        f"filename*=UTF-8''{quote(name)}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
    )
    return b"".join((*parts, content, f"\r\n--{boundary}--\r\n".encode())), f"multipart/form-data; boundary={boundary}"
