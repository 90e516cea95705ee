"""Every setting of the service: environment variables `ATTEND_*`, read here and nowhere else, once, at start-up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "ATTEND_"
Device = Literal["auto", "cpu", "cuda"]
# Kubernetes announces a Service named "attend" to its neighbours with variables of these names.
_KUBERNETES = (f"{PREFIX}SERVICE_", f"{PREFIX}PORT_")


class SettingsError(Exception):
    """A setting is unknown or out of range; the text is one sentence for a person."""


class Settings(BaseSettings):
    """The settings of one process."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    bundle: Path = Field(Path("bundles/attend-zh-fr-en-int8"), description="Directory of the model to serve.")
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 lets the system choose.")
    device: Device = Field("auto", description="Where the model runs; auto: CUDA if it works.")
    threads: int = Field(0, ge=0, le=1024, description="Threads of one model run; 0: as many as there are cores.")
    max_rows: int = Field(256, ge=8, description="Rows (sentences times beams) of one running batch.")
    max_texts: int = Field(1000, ge=1, description="Texts of one request.")
    max_characters: int = Field(100_000, ge=1, description="Characters of one request, all its texts together.")
    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024, description="Size of one request body.")
    max_alternatives: int = Field(7, ge=0, le=7, description="Alternatives a request may ask for.")
    beam_size: int = Field(1, ge=1, le=8, description="Beam size of requests that name none; 1 is greedy.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe message logged.")

    @field_validator("device", "log_level", mode="before")
    @classmethod
    def _in_lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


def load_settings() -> Settings:
    """The settings of this process's environment.

    Raises:
        SettingsError: a variable is unknown or its value impossible; names the variable.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known and not name.startswith(_KUBERNETES):
            raise SettingsError(f"{name} is not a setting; the settings are {', '.join(sorted(known))}")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}={first['input']}: {_lower_first(first['msg'])}") from None


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
