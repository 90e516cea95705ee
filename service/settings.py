"""Every setting of the service: environment variables `ATTEND_*`, read here and nowhere else, once, at start-up."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.access.addresses import check_networks
from service.access.config import Access, AccessConfig
from service.access.rate import Rate
from service.engine.types import Device, EngineConfig
from service.errors import SettingsError as SettingsError
from service.logs import LogFormat
from service.model_names import parse_canaries
from service.shipped import shipped_bundle

PREFIX = "ATTEND_"
# A request that is allowed must find room, and what goes for those that name nothing must be allowed.
_ORDER = (("beam_size", "max_beam_size"), ("max_tokens", "max_bulk_queue_tokens"))
# Kubernetes announces a Service named "attend" to its neighbours with variables of these names.
_KUBERNETES = (f"{PREFIX}SERVICE_", f"{PREFIX}PORT_")


_SECRET = ("keys", "redis")


class Settings(BaseSettings):
    """The settings of one process."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    bundle: Path = Field(default_factory=shipped_bundle, description="Directory of the model to serve.")
    models: Path | None = Field(
        None, description="Directory of bundles that are served together, one in each directory, in place of one."
    )
    pivot: str = Field(
        "auto",
        description="Languages, separated by commas, through which two models translate pairs that none does alone; "
        "`*`: any; `none`; auto: any with `ATTEND_MODELS`, else none.",
    )
    canary: str = Field(
        "", description="Versions that get a share of the requests for their model: `fr-en@2=0.1,zh-en@4=0.05`."
    )
    lazy: bool = Field(False, description="Load models when they are first wanted; the preferred one at the start.")
    model_memory: int = Field(
        0, ge=0, description="Bytes of the files of all models in memory; above it the one not used for longest leaves."
    )
    prepacked: Path | None = Field(
        None,
        description="Directory, on a disk, for weights as this machine's processor takes them, which engines share; "
        "else each has its own in memory.",
    )
    watch_ms: int = Field(
        0, ge=0, description="Time between two looks at the directory of `ATTEND_MODELS` for what has changed; 0: none."
    )
    admin_port: int = Field(
        0, ge=0, le=65535, description="Port on 127.0.0.1 for `/admin`, which loads and unloads models; 0: none."
    )
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on; `::`: every one of IPv4 and of IPv6; `unix:` and a path: a Unix socket.",
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 lets the system choose.")
    tls_certificate: Path | None = Field(
        None, description="File with the certificate (PEM, with those between it and the root): HTTPS and no HTTP."
    )
    tls_key: Path | None = Field(
        None, description="File with its private key, without a passphrase; none: it is in the same file."
    )
    device: Device = Field("auto", description="Where the model runs; auto: CUDA if it works.")
    sessions: int = Field(
        0, ge=0, le=64, description="Engines, each with a process and rows of its own; 0: one a core, at most 8."
    )
    threads: int = Field(0, ge=0, le=1024, description="Threads of one model run; 0: the cores by the sessions.")
    max_rows: int = Field(256, ge=8, description="Rows (sentences times beams) that run at once, in all sessions.")
    hang_timeout_ms: int = Field(
        10_000,
        ge=1000,
        description="A process that has work, says nothing and uses no processor for this time is ended and started "
        "again; one that uses the processor after six times as long.",
    )
    max_requests: int = Field(1000, ge=1, description="Requests to translate or score under way at once; more are 503.")
    max_queue_tokens: int = Field(
        8192,
        ge=512,
        description="Source tokens of small requests (up to 512 each) that may wait to be started; once full, all are "
        "503 until an eighth is free.",
    )
    max_bulk_queue_tokens: int = Field(
        131_072, ge=1, description="The same for larger requests, which wait in a queue of their own."
    )
    max_timeout_ms: int = Field(
        120_000, ge=1, description="Time a request has if it names no `timeout_ms`, and the most it may name."
    )
    max_texts: int = Field(1000, ge=1, description="Texts of one request.")
    max_characters: int = Field(100_000, ge=1, description="Characters of one request, all its texts together.")
    max_tokens: int = Field(131_072, ge=1, description="Source tokens of one request, all its sentences together.")
    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024, description="Size of one request body.")
    max_file_bytes: int = Field(
        16 * 1024 * 1024, ge=1024, description="Size of the body of a request that brings a file to translate."
    )
    max_unpacked_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="Size of all parts of a packed file (docx, epub, ...), unpacked."
    )
    glossaries: Path | None = Field(
        None,
        description="Directory of glossaries: NAME.tsv, in each line a term, a tab, and its translation; "
        "NAME.tsv.sha256, if there is one, is compared with it.",
    )
    files: Path | None = Field(None, description="Directory for translated files; else they are kept in memory.")
    max_files_bytes: int = Field(
        64 * 1024 * 1024, ge=0, description="Size of all translated files that are kept; 0: files are not translated."
    )
    files_timeout_ms: int = Field(1_800_000, ge=1000, description="Time after which a translated file is deleted.")
    max_json_depth: int = Field(16, ge=2, le=500, description="Arrays and objects inside one another in a body.")
    max_alternatives: int = Field(7, ge=0, le=7, description="Alternatives a request may ask for.")
    internals: bool = Field(
        False,
        description="Serve `/internals`, the numbers inside the network for a sentence, which the page `/learn` shows.",
    )
    max_beam_size: int = Field(8, ge=1, le=8, description="Beam size a request may ask for.")
    beam_size: int = Field(
        4,
        ge=1,
        le=8,
        description="Beam size of requests that name none, at most the one they may ask for; 1 is greedy.",
    )
    strict_fields: bool = Field(False, description="Refuse unknown fields of `/translate`, which else are ignored.")
    cors_origins: str = Field(
        "*", description="Origins whose pages may call the service, separated by commas; `*`: all; `none`: no others."
    )
    root_path: str = Field(
        "", pattern=r"^(/[^/?#]+)*$", description="Path before all others, where a proxy does not take it away."
    )
    trusted_proxies: str = Field(
        "",
        description="Proxies whose `X-Forwarded-*` headers count: addresses or networks, `unix` for a Unix socket, `*` "
        "for all, separated by commas. Nobody's count who is not named.",
    )
    keys: str = Field(
        "",
        description="Keys, hashed: `NAME:RIGHTS:HASH`, separated by spaces; `python -m service keys add --print-only`.",
    )
    keys_file: Path | None = Field(
        None, description="File of keys, made by `python -m service keys`; read again when it changes."
    )
    key_required: bool = Field(
        True,
        description="Where there are keys, whether requests without one are refused; else they have their address.",
    )
    metrics_access: Access = Field(
        "open", description="Who may read `/metrics`: all, `key`: with that right, or `port`: on `ATTEND_PRIVATE_PORT`."
    )
    pages_access: Access = Field(
        "open", description="The same for `/`, `/status`, `/docs` and what they load; `key`: any key."
    )
    private_port: int | None = Field(
        None, ge=0, le=65535, description="A second port, for what is served there alone; it answers all else too."
    )
    private_host: str = Field("127.0.0.1", min_length=1, description="Address of that port.")
    rate_key_requests: str = Field(
        "", description="Requests of one key, such as `100/minute` or `10/second;5000/hour`; more are 429. Empty: any."
    )
    rate_key_characters: str = Field("", description="Characters to translate of one key, likewise.")
    rate_key_sentences: int | None = Field(None, ge=1, description="Sentences of one key that run or wait at once.")
    rate_address_requests: str = Field(
        "", description="The same of one address (IPv6: of one /64) for requests without a key; also wrong keys."
    )
    rate_address_characters: str = Field("", description="Characters to translate of one address without a key.")
    rate_address_sentences: int | None = Field(
        None, ge=1, description="Sentences of one address without a key that run or wait at once."
    )
    quota_characters: int | None = Field(
        None, ge=1, description="Characters of one key in a month (UTC); needs `ATTEND_USAGE_FILE` or `ATTEND_REDIS`."
    )
    usage_file: Path | None = Field(
        None, description="File in which the characters of each key are counted; else this is since the start."
    )
    redis: str = Field(
        "", description="Address of Redis, `redis://HOST:PORT/0`: replicas count rates and characters together."
    )
    keep_alive_ms: int = Field(
        75_000,
        ge=1,
        description="A connection on which no request begins for so long is closed; proxies keep theirs for less.",
    )
    header_timeout_ms: int = Field(
        10_000,
        ge=1,
        description="Time the headers of a request may take, from its first byte; then the connection is closed.",
    )
    body_timeout_ms: int = Field(10_000, ge=1, description="Time to receive the body of a request; longer is 408.")
    write_timeout_ms: int = Field(
        30_000, ge=1, description="A connection that has not taken an answer after this time is closed."
    )
    shutdown_timeout_ms: int = Field(
        25_000, ge=0, description="Time that requests under way have after SIGTERM; what is left then is 503."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe message logged.")
    cache_bytes: int = Field(
        0, ge=0, description="Memory for translated sentences, which are not translated again; 0: none is kept."
    )
    cache_sharing: Literal["key", "all"] = Field(
        "key", description="Whose sentences answer a request: those of its key (without one: of all without), or all."
    )
    log_format: LogFormat = Field(
        "auto", description="One JSON object a line, or text for a person; auto: text on a terminal."
    )
    slow_request_ms: int = Field(
        5000, ge=0, description="A request that takes so long is logged with where its time went; 0: none is."
    )
    otlp_endpoint: str = Field(
        "", description="Where spans are sent, OTLP over HTTP: `http://collector:4318/v1/traces`; empty: nowhere."
    )

    @field_validator("device", "log_level", "log_format", mode="before")
    @classmethod
    def _in_lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("pivot")
    @classmethod
    def _are_codes(cls, value: str) -> str:
        return ",".join(filter(None, map(str.strip, value.lower().split(",")))) or "none"

    @field_validator("canary")
    @classmethod
    def _are_canaries(cls, value: str) -> str:
        parse_canaries(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        return check_networks(value)

    @field_validator("rate_key_requests", "rate_key_characters", "rate_address_requests", "rate_address_characters")
    @classmethod
    def _are_rates(cls, value: str) -> str:
        Rate.parse(value)
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        for least, most in _ORDER:
            # A limit on beams alone also limits what requests get that name none.
            chosen = least in self.model_fields_set or least != "beam_size"
            if chosen and getattr(self, least) > getattr(self, most):
                raise ValueError(f"{variable(least)} must not be larger than {variable(most)}")
        if self.tls_key is not None and self.tls_certificate is None:
            raise ValueError(f"{variable('tls_certificate')} must name the certificate of {variable('tls_key')}")
        if self.max_alternatives >= self.max_beam_size:
            raise ValueError(f"{variable('max_alternatives')} must be smaller than {variable('max_beam_size')}")
        if self.quota_characters is not None and not (self.redis or self.usage_file):
            needed = f"{variable('redis')} or {variable('usage_file')}"
            raise ValueError(f"{variable('quota_characters')} needs {needed}, to be counted where a restart finds it")
        if self.redis and self.usage_file:
            raise ValueError(f"{variable('usage_file')} has no use where {variable('redis')} counts")
        if "key" in (self.metrics_access, self.pages_access) and not (self.keys or self.keys_file):
            raise ValueError(f"{variable('keys_file')} or {variable('keys')} must name a key for what is behind one")
        if "port" in (self.metrics_access, self.pages_access) and self.private_port is None:
            raise ValueError(f"{variable('private_port')} must name the port that is to serve them")
        return self

    @property
    def usual_beam_size(self) -> int:
        """Beam size of requests that name none."""
        return min(self.beam_size, self.max_beam_size)

    def access_config(self) -> AccessConfig:
        """What the guard needs of it."""
        return AccessConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(AccessConfig)})

    def engine_config(self) -> EngineConfig:
        """What the engines need of it."""
        return EngineConfig(
            directory=self.bundle,
            device=self.device,
            sessions=self.sessions,
            threads=self.threads,
            max_rows=self.max_rows,
            waiting_tokens=self.max_queue_tokens,
            bulk_waiting_tokens=self.max_bulk_queue_tokens,
            hang_seconds=self.hang_timeout_ms / 1000,
            prepacked=self.prepacked,
        )


def variable(setting: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + setting.upper()


def load_settings() -> Settings:
    """The settings of this process's environment.

    Raises:
        SettingsError: a variable is unknown or its value impossible; names the variable.
    """
    known = {variable(name) for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known and not name.startswith(_KUBERNETES):
            raise SettingsError(f"{name} is not a setting; the settings are {', '.join(sorted(known))}")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:
            raise SettingsError(first["msg"].removeprefix("Value error, ")) from None
        message = _lower_first(first["msg"].removeprefix("Value error, "))
        name = str(first["loc"][0])
        raise SettingsError(f"{variable(name)}{_shown(name, first['input'])}: {message}") from None


def settings_table() -> str:
    """Every setting with its default and range, as Markdown; `docs/settings.md` holds it."""
    lines = ["| variable | default | values | |", "| --- | --- | --- | --- |"]
    schema = Settings.model_json_schema()["properties"]
    for name, field in Settings.model_fields.items():
        default = "the shipped one" if field.default_factory is not None else f"`{field.default}`"
        lines.append(f"| `{variable(name)}` | {default} | {_range(schema[name])} | {field.description} |")
    return "\n".join(lines) + "\n"


def _range(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None:
        return ""
    return f"at least {least}" if most is None else f"{least} to {most}"


def _shown(name: str, value: object) -> str:
    """What was set, unless it may hold a secret."""
    return "" if name in _SECRET else f"={value}"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
