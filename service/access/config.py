"""What the guard is told by the settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

Access = Literal["open", "key", "port"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AccessConfig:
    """Keys, rates and usage; each field is the setting of its name."""

    keys: str = ""
    keys_file: Path | None = None
    key_required: bool = True
    metrics_access: Access = "open"
    pages_access: Access = "open"
    trusted_proxies: str = ""
    rate_key_requests: str = ""
    rate_key_characters: str = ""
    rate_key_sentences: int | None = None
    rate_address_requests: str = ""
    rate_address_characters: str = ""
    rate_address_sentences: int | None = None
    quota_characters: int | None = None
    usage_file: Path | None = None
    redis: str = ""
    max_timeout_ms: int = 120_000
