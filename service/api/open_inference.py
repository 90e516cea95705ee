"""The Open Inference Protocol, version 2, over REST, with the binary tensor extension: what Triton's clients speak.

Each bundle is a model. Inputs: `text` BYTES [-1], `target` and `source` BYTES [1], which may be parameters as well;
output: `translation` BYTES in the shape of `text`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service import __version__
from service.api.core import Wish, admitted, answered, default_options
from service.api.dependencies import State
from service.api.problems import problems
from service.api.requests import json_object, read_body
from service.errors import InvalidRequestError, UnavailableError
from service.model_names import SEPARATOR
from service.settings import Settings
from service.state import Model, ServiceState
from service.text.languages import AUTO

if TYPE_CHECKING:
    from service.models.entry import Entry

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

_HEADER_LENGTH = "Inference-Header-Content-Length"
_LENGTH = struct.Struct("<I")
_MICROSECONDS = 1000
"""Of a millisecond."""
_OUTPUT = "translation"
_INPUTS = ("text", "source", "target")
_STATUSES = (400, 404, 408, 413, 415, 500, 503, 504)


@dataclasses.dataclass(frozen=True, slots=True)
class _Tensor:
    """An input."""

    shape: tuple[int, ...]
    data: tuple[str, ...]


@router.get("")
async def server_metadata() -> dict[str, Any]:
    """Name, version and extensions of the server."""
    return {"name": "attend", "version": __version__, "extensions": ["binary_tensor_data"]}


@router.get("/health/live", responses=problems(503))
async def server_live(state: State) -> dict[str, bool]:
    """Whether the process is fine."""
    if not state.is_alive:
        raise UnavailableError(state.failure or "the engine has stopped")
    return {"live": True}


@router.get("/health/ready", responses=problems(503))
async def server_ready(state: State) -> dict[str, bool]:
    """Whether requests are answered. The specification's text has `live` here, its list `ready`."""
    _open(state)
    return {"ready": True, "live": True}


_TRITONS = {"loading": "LOADING", "ready": "READY", "unloading": "UNLOADING"}


@router.get("/repository/index", responses=problems(503))
@router.post("/repository/index", responses=problems(503), include_in_schema=False)
async def repository_index(state: State) -> list[dict[str, str]]:
    """Every model. One that is not in memory is loaded when it is wanted."""
    _open(state)
    return [
        {
            "name": entry.model.name,
            "version": entry.model.version,
            "state": _TRITONS.get(entry.state, "UNAVAILABLE"),
            "reason": entry.failure or ("" if entry.state in _TRITONS else entry.state),
        }
        for entry in state.models.entries.values()
    ]


@router.get("/models/{name}", responses=problems(404, 503))
@router.get("/models/{name}/versions/{version}", responses=problems(404, 503), include_in_schema=False)
async def model_metadata(state: State, name: str, version: str | None = None) -> dict[str, Any]:
    """Inputs and outputs of the model."""
    entry = _entry(state, name, version)
    one = {"datatype": "BYTES", "shape": [1]}
    return {
        "name": entry.model.name,
        "versions": [entry.model.version] if version else _versions(state, name),
        "platform": "onnx_onnxv1",
        "inputs": [
            {"name": "text", "datatype": "BYTES", "shape": [-1]},
            {"name": "source", **one},
            {"name": "target", **one},
        ],
        "outputs": [{"name": _OUTPUT, "datatype": "BYTES", "shape": [-1]}],
    }


@router.get("/models/{name}/ready", responses=problems(404, 503))
@router.get("/models/{name}/versions/{version}/ready", responses=problems(404, 503), include_in_schema=False)
async def model_ready(state: State, name: str, version: str | None = None) -> dict[str, Any]:
    """Whether the model translates now."""
    entry = _entry(state, name, version)
    if entry.memory is not None and not entry.is_ready:
        raise UnavailableError(f"the model {entry.model} is {entry.state}")
    return {"name": entry.model.name, "ready": True}


_STRINGS = {"type": "array", "items": {"type": "string"}}
_INPUT = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"enum": list(_INPUTS)},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 8},
        "datatype": {"const": "BYTES"},
        "data": _STRINGS,
    },
}
_ASKED_OUTPUT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"const": _OUTPUT},
        "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
    },
}
_PARAMETERS = {
    "type": "object",
    "properties": {
        "source": {"type": "string"},
        "target": {"type": "string"},
        "timeout": {"type": "integer", "minimum": 0, "description": "In microseconds; 0: the most there is."},
        "binary_data_output": {"type": "boolean"},
    },
}
_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "minItems": 1, "items": _INPUT},
        "outputs": {"type": "array", "items": _ASKED_OUTPUT},
    },
}
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST}}}}


@router.post("/models/{name}/infer", responses=problems(*_STATUSES), openapi_extra=_BODY)
@router.post("/models/{name}/versions/{version}/infer", responses=problems(*_STATUSES), include_in_schema=False)
async def infer(request: Request, state: State, name: str, version: str | None = None) -> Response:
    """Translate the texts of a tensor."""
    began = time.monotonic()
    with admitted(request, state) as model:
        written = _written(name, version)
        entry = model.translator.entry(written)
        body = await read_body(request, state.settings)
        wanted, binary = _parsed(body, request.headers.get(_HEADER_LENGTH), state.settings)
        tensors = dict(_tensors(wanted, binary))
        parameters = _parameters(wanted)
        text = tensors.get("text")
        if text is None:
            raise InvalidRequestError("input 'text' is missing")
        in_binary = _is_binary_wanted(wanted, parameters)
        wish = Wish(
            texts=text.data,
            source=_one("source", tensors, parameters, AUTO),
            target=_one("target", tensors, parameters, None),
            options=default_options(state.settings),
            timeout_ms=_timeout_ms(parameters, state.settings),
            model=written,
        )
        done = await answered(request, state.settings, model, wish, began)
    texts = [each.text for each in done.texts]
    reply: dict[str, Any] = {"model_name": entry.model.name, "model_version": entry.model.version}
    if "id" in wanted:
        reply["id"] = wanted["id"]
    return _response(reply, texts, text.shape, in_binary=in_binary)


def _open(state: ServiceState) -> Model:
    """The models, if any is served.

    Raises:
        UnavailableError: none is.
    """
    if state.admission.is_closed:
        raise UnavailableError("the service is shutting down")
    return state.model()


def _written(name: str, version: str | None) -> str:
    return name if version is None else f"{name}{SEPARATOR}{version}"


def _entry(state: ServiceState, name: str, version: str | None) -> Entry:
    """A model, without a version its default one.

    Raises:
        UnavailableError: none is served.
        NotFoundError: this one is not.
    """
    return _open(state).translator.entry(_written(name, version))


def _versions(state: ServiceState, name: str) -> list[str]:
    entries = state.models.current().ordered
    return [entry.model.version for entry in entries if entry.model.name == name]


def _parsed(body: bytes, header_length: str | None, settings: Settings) -> tuple[dict[str, Any], bytes]:
    """The JSON part of a body, and the bytes of its tensors."""
    if header_length is None:
        return json_object(body, settings), b""
    if not header_length.isdecimal() or int(header_length) > len(body):
        raise InvalidRequestError(f"{_HEADER_LENGTH} must be the length of the JSON part of the body")
    return json_object(body[: int(header_length)], settings), body[int(header_length) :]


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequestError("parameters must be an object")
    return parameters


def _tensors(wanted: dict[str, Any], binary: bytes) -> Iterator[tuple[str, _Tensor]]:
    inputs = wanted.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(each, dict) for each in inputs):
        raise InvalidRequestError("inputs must be an array of objects")
    place = 0
    for each in inputs:
        name = each.get("name")
        if name not in _INPUTS:
            raise InvalidRequestError(f"unknown input; the inputs are {', '.join(_INPUTS)}")
        if each.get("datatype") != "BYTES":
            raise InvalidRequestError(f"datatype of input '{name}' must be BYTES")
        shape = _shape(name, each.get("shape"))
        size = _parameters(each).get("binary_data_size")
        if size is None:
            data = tuple(_strings(name, each.get("data")))
        else:
            if not _is_count(size) or place + size > len(binary):
                raise InvalidRequestError(f"binary_data_size of input '{name}' does not fit the body")
            size = int(size)
            data = tuple(_unpacked(name, binary[place : place + size]))
            place += size
        if len(data) != math.prod(shape):
            raise InvalidRequestError(f"input '{name}' has {len(data)} elements, but its shape says {math.prod(shape)}")
        yield name, _Tensor(shape, data)
    if place != len(binary):
        raise InvalidRequestError("the body is longer than its tensors")


def _is_count(value: Any) -> bool:
    """Whether it is a size; `4.0` is one in JSON."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool) and value >= 0


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or not shape or len(shape) > 8 or not all(map(_is_count, shape)):
        raise InvalidRequestError(f"shape of input '{name}' must be an array of sizes")
    return tuple(map(int, shape))


def _strings(name: str, data: Any) -> Iterator[str]:
    """Strings of an array, nested or flat. Its depth is bounded already."""
    if isinstance(data, list):
        for each in data:
            yield from [each] if isinstance(each, str) else _strings(name, each)
        return
    raise InvalidRequestError(f"data of input '{name}' must be an array of strings")


def _unpacked(name: str, data: bytes) -> Iterator[str]:
    """Strings, each after its length in four bytes."""
    place = 0
    while place < len(data):
        if place + _LENGTH.size > len(data):
            raise InvalidRequestError(f"the bytes of input '{name}' end too early")
        (length,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        if place + length > len(data):
            raise InvalidRequestError(f"the bytes of input '{name}' end too early")
        try:
            yield data[place : place + length].decode()
        except UnicodeDecodeError:
            raise InvalidRequestError(f"input '{name}' is not UTF-8") from None
        place += length


def _one(name: str, tensors: dict[str, _Tensor], parameters: dict[str, Any], default: str | None) -> str:
    """A language code, of an input or a parameter."""
    value: Any = parameters.get(name, default)
    if name in tensors:
        if len(tensors[name].data) != 1:
            raise InvalidRequestError(f"input '{name}' must have one element")
        value = tensors[name].data[0]
    if not isinstance(value, str) or not value:
        raise InvalidRequestError(f"'{name}' must be a language code, as an input or a parameter")
    return value


def _timeout_ms(parameters: dict[str, Any], settings: Settings) -> int | None:
    """Triton's parameter `timeout`, in microseconds; a longer one than is allowed is that."""
    timeout: Any = parameters.get("timeout")
    if timeout is None or timeout == 0:
        return None
    if not _is_count(timeout):
        raise InvalidRequestError("parameter 'timeout' must be a number of microseconds")
    return min(max(int(timeout) // _MICROSECONDS, 1), settings.max_timeout_ms)


def _is_binary_wanted(wanted: dict[str, Any], parameters: dict[str, Any]) -> bool:
    """Whether the output is to come as bytes."""
    outputs = wanted.get("outputs")
    if outputs is None:
        return parameters.get("binary_data_output") is True
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        raise InvalidRequestError("outputs must be an array of objects")
    if any(each.get("name") != _OUTPUT for each in outputs):
        raise InvalidRequestError(f"unknown output; the output is {_OUTPUT}")
    asked = [_parameters(each).get("binary_data") for each in outputs]
    return asked[0] is True if asked else False


def _response(reply: dict[str, Any], texts: Sequence[str], shape: Sequence[int], *, in_binary: bool) -> Response:
    output: dict[str, Any] = {"name": _OUTPUT, "datatype": "BYTES", "shape": list(shape)}
    if not in_binary:
        body = json.dumps({**reply, "outputs": [{**output, "data": texts}]}, ensure_ascii=False).encode()
        return Response(body, media_type="application/json")
    encoded = [text.encode() for text in texts]
    packed = b"".join(_LENGTH.pack(len(each)) + each for each in encoded)
    output["parameters"] = {"binary_data_size": len(packed)}
    header = json.dumps({**reply, "outputs": [output]}).encode()
    return Response(header + packed, media_type="application/octet-stream", headers={_HEADER_LENGTH: str(len(header))})
