"""What the bodies of /translate and /score have in common: validation, refusals in LibreTranslate's words, sizes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from service.errors import (
    InvalidFieldError,
    InvalidRequestError,
    MissingFieldError,
    ServiceError,
    TextLimitError,
    UnsupportedFormatError,
    UnsupportedLanguageError,
    UnsupportedPairError,
    shown,
)
from service.settings import Settings
from service.text.languages import Directions, language_name, nearest_code

_REQUIRED = ("q", "translation", "source", "target")


def _require_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON can spell half a surrogate pair; pydantic looks for it in some strings only.
        raise PydanticCustomError("string_unicode", "not text") from None
    return text


Text = Annotated[StrictStr, AfterValidator(_require_unicode)]
Texts = Annotated[Text, Field(min_length=1)] | Annotated[list[Text], Field(min_length=1)]


def _whole(value: object) -> object:
    """`4.0` is an integer in JSON, as its schema language has it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Of an integer; after its limits, or its schema would not have them."""

TimeoutMs = Annotated[
    Annotated[StrictInt, Field(ge=1), WHOLE] | None,
    Field(
        description="Milliseconds until the answer must be there; 504 when they are over, or at once if so much waits "
        "that they would not be enough. Default and largest value: the setting `ATTEND_MAX_TIMEOUT_MS`.",
    ),
]


MODEL_FIELD = "the name of a model, such as fr-en, or fr-en@2 for one of its versions"
ModelField = Annotated[
    Annotated[Text, Field(max_length=200)] | None,
    Field(
        description="The only model that may be used: `name`, or `name@version`. Default: for each pair the one with "
        "the highest priority, and of its versions the highest, or a canary.",
    ),
]


def texts_of(value: str | list[str]) -> tuple[str, ...]:
    """A text or an array of texts as a sequence, whichever it is."""
    return (value,) if isinstance(value, str) else tuple(value)


class PairRequest(BaseModel):
    """Fields of every request about texts in two languages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    q: Texts = Field(
        description="A text, or an array of texts. Line breaks and spacing come back as they were.", examples=["我爱你"]
    )
    source: Text = Field(
        min_length=1,
        description="Language code of `q`. `zh` takes Traditional Chinese too; `zt` says that all of it is.",
        examples=["zh"],
    )
    target: Text = Field(min_length=1, description="Language code to translate into.", examples=["en"])

    @property
    def texts(self) -> tuple[str, ...]:
        """`q` as a sequence, whichever shape it came in."""
        return texts_of(self.q)


_Body = TypeVar("_Body", bound=PairRequest)


def validate(schema: type[_Body], value: dict[str, Any], own_fields: Mapping[str, str]) -> _Body:
    """The body as `schema`; `own_fields` says of each field that LibreTranslate does not have what it may be.

    Raises:
        InvalidRequestError: LibreTranslate would refuse it too.
        InvalidFieldError: a field of our own is wrong, or unknown.
    """
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        # In the order of the fields; unknown ones come last.
        raise _refusal(error.errors(include_url=False, include_context=False), schema, own_fields) from None


def _refusal(details: list[ErrorDetails], schema: type[PairRequest], own_fields: Mapping[str, str]) -> ServiceError:
    """The first thing wrong with a body, in LibreTranslate's words where it has some."""
    detail, value = details[0], details[0]["input"]
    # Without a location it is the name itself that is no text.
    field = shown(detail["loc"][0] if detail["loc"] else value)
    if detail["type"] == "extra_forbidden" or not detail["loc"]:
        return InvalidFieldError(f"unknown field '{field}'; the fields are {', '.join(schema.model_fields)}")
    if field in own_fields:
        return InvalidFieldError(f"{field} must be {own_fields[field]}")
    if field == "alternatives":
        return InvalidRequestError("Invalid request: alternatives parameter is not a number")
    if field == "format":
        return UnsupportedFormatError(value)
    if field in _REQUIRED and (detail["type"] == "missing" or value in (None, "", [])):
        return MissingFieldError(field)
    # One value has several entries where several shapes are allowed.
    if any(other["type"] == "string_unicode" and other["loc"][:1] == detail["loc"][:1] for other in details):
        return InvalidRequestError(f"Invalid request: {field} parameter holds half a surrogate pair, which is no text")
    kind = "a string or an array of strings" if field in ("q", "translation") else "a string"
    return InvalidRequestError(f"Invalid request: {field} parameter must be {kind}")


def described_body(schema: type[BaseModel]) -> dict[str, Any]:
    """A route's `openapi_extra` for a body that it reads itself."""
    described = schema.model_json_schema()
    inner = described.pop("$defs", {})
    content = {"application/json": {"schema": _inlined(described, inner)}}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(described: Any, inner: Mapping[str, Any]) -> Any:
    """References in the schema of one route would be looked up in the whole document."""
    if isinstance(described, dict):
        if "$ref" in described:
            return inner[described["$ref"].rpartition("/")[2]]
        return {name: _inlined(value, inner) for name, value in described.items()}
    return [_inlined(value, inner) for value in described] if isinstance(described, list) else described


def check_texts(texts: Sequence[str], settings: Settings) -> None:
    """Refuse more than the settings allow.

    Raises:
        TextLimitError: too many texts or characters.
    """
    characters = sum(map(len, texts))
    for size, limit in ((len(texts), settings.max_texts), (characters, settings.max_characters)):
        if size > limit:
            raise TextLimitError(size, limit)


def check_timeout(timeout_ms: int | None, settings: Settings) -> None:
    """Refuse a longer time than the settings allow.

    Raises:
        InvalidFieldError: it is longer.
    """
    if (timeout_ms or 0) > settings.max_timeout_ms:
        raise InvalidFieldError(f"timeout_ms must be at most {settings.max_timeout_ms}, the limit of this service")


def language_of(written: str, directions: Directions) -> str:
    """The model's code for a language as a caller names it.

    Raises:
        UnsupportedLanguageError: it has none for it.
    """
    code = directions.find(written)
    if code is None:
        raise UnsupportedLanguageError(written, nearest_code(written, directions.codes.values()), directions.pairs)
    return code


def language_pair(source: str, target: str, directions: Directions, *, same: bool = False) -> tuple[str, str]:
    """Source and target, as a caller names them, as the model knows them; with `same` they may be one language.

    Raises:
        UnsupportedLanguageError: the model does not know one of them.
        UnsupportedPairError: the model does not translate this pair.
    """
    pair = language_of(source, directions), language_of(target, directions)
    if not directions.translates(*pair) and not (same and pair[0] == pair[1]):
        raise no_such_pair(*pair, directions)
    return pair


def no_such_pair(source: str, target: str, directions: Directions) -> UnsupportedPairError:
    """What a caller is told who asks for a pair that the model does not translate."""
    shown_target, shown_source = (f"{language_name(code)} ({code})" for code in (target, source))
    return UnsupportedPairError(shown_target, shown_source, directions.pairs)
