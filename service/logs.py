"""Log lines as JSON, each with the id of the request it belongs to. No line ever holds a text or an address."""

from __future__ import annotations

import contextvars
import datetime
import json
import logging
import sys
from typing import Any, Literal

LogFormat = Literal["auto", "json", "text"]

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
"""Of the request that is being handled; empty outside of one. Threads started for it know it too."""

trace_id: contextvars.ContextVar[str] = contextvars.ContextVar("trace_id", default="")
"""Of the same request, 32 hexadecimal digits; empty if nobody traces it."""

# Made once: json.dumps makes an encoder for every call that names options.
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


class _JsonFormatter(logging.Formatter):
    """One JSON object a line. A record's `fields`, given as `extra={"fields": {...}}`, become keys of it."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        if trace_id.get():
            line["trace_id"] = trace_id.get()
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


class _TextFormatter(logging.Formatter):
    """For a person who watches."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        return super().format(record) + fields


def configure_logging(level: str, log_format: LogFormat) -> None:
    """Send everything to standard output in one form, uvicorn's lines too."""
    is_text = sys.stdout.isatty() if log_format == "auto" else log_format == "text"
    log_to_stdout(level.upper(), _TextFormatter() if is_text else _JsonFormatter())
    logging.captureWarnings(True)


def logging_in_use() -> tuple[int, logging.Formatter | None]:
    """What `log_to_stdout` needs for another process to log as this one does."""
    root = logging.getLogger()
    formatters = [handler.formatter for handler in root.handlers if isinstance(handler, logging.StreamHandler)]
    return root.level, formatters[0] if formatters else None


def log_to_stdout(level: int | str, formatter: logging.Formatter | None) -> None:
    """Send everything of at least this level to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # What no line shows need not be looked up for every line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # the caller's file; documented, for all its underscore
