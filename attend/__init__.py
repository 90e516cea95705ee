"""Attend from Python and from a terminal: a translator, clients of the service, and the command `attend`.

from attend import Translator

with Translator.load() as translator:
    print(translator.translate("Je suis étudiant.", source="fr", target="en").text)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from attend.packages import check_packages

if TYPE_CHECKING:
    from attend.async_translator import AsyncTranslator
    from attend.client import AsyncClient, Client
    from attend.errors import AttendError, LoadError, PackagesError, RequestError, UnavailableError
    from attend.results import Translation, TranslationWarning
    from attend.translator import Translator

    __version__: str

__all__ = [
    "AsyncClient",
    "AsyncTranslator",
    "AttendError",
    "Client",
    "LoadError",
    "PackagesError",
    "RequestError",
    "Translation",
    "TranslationWarning",
    "Translator",
    "UnavailableError",
    "__version__",
]

_MODULES = {
    "AsyncClient": "attend.client",
    "AsyncTranslator": "attend.async_translator",
    "AttendError": "attend.errors",
    "Client": "attend.client",
    "LoadError": "attend.errors",
    "PackagesError": "attend.errors",
    "RequestError": "attend.errors",
    "Translation": "attend.results",
    "TranslationWarning": "attend.results",
    "Translator": "attend.translator",
    "UnavailableError": "attend.errors",
    "__version__": "service",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: a client needs nothing of what an engine needs."""
    if name not in _MODULES:
        raise AttributeError(f"module 'attend' has no attribute '{name}'")
    check_packages()
    return getattr(importlib.import_module(_MODULES[name]), name)
