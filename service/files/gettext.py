"""gettext catalogues (.po): what has no translation yet gets one; comments, flags, contexts and old entries stay."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polib

from service.errors import InvalidRequestError

_PLURALS = re.compile(r"nplurals\s*=\s*(\d+)")
_USUAL_PLURALS, _MOST_PLURALS = 2, 6
_WIDTH = 78


class Catalogue:
    """A catalogue whose `msgid` is in the source language."""

    def __init__(self, source: str) -> None:
        try:
            self._file = polib.pofile(source, wrapwidth=_wrapped_at(source), check_for_duplicates=False)
        except (OSError, UnicodeDecodeError, ValueError):
            raise InvalidRequestError("Invalid request: the file is no gettext catalogue") from None
        self._line_break = "\r\n" if "\r\n" in source else "\n"
        self._wanted = [entry for entry in self._file if not entry.obsolete and entry.msgid and not _is_done(entry)]
        self.texts = [text for entry in self._wanted for text in _texts(entry)]

    def written(self, translations: Sequence[str], target: str) -> str:
        """The catalogue with the translations in it."""
        remaining = iter(translations)
        for entry in self._wanted:
            found = [next(remaining) for _ in _texts(entry)]
            if entry.msgid_plural:
                entry.msgstr_plural = {form: found[min(form, 1)] for form in range(self._plural_forms())}
            else:
                entry.msgstr = found[0]
        return str(self._file).replace("\n", self._line_break)

    def _plural_forms(self) -> int:
        stated = _PLURALS.search(self._file.metadata.get("Plural-Forms", ""))
        return min(int(stated.group(1)), _MOST_PLURALS) if stated else _USUAL_PLURALS


def _texts(entry: polib.POEntry) -> tuple[str, ...]:
    return (entry.msgid, entry.msgid_plural) if entry.msgid_plural else (entry.msgid,)


def _is_done(entry: polib.POEntry) -> bool:
    return bool(entry.msgstr or any(entry.msgstr_plural.values()))


def _wrapped_at(source: str) -> int:
    """Where its lines were broken; those of a file that is not wrapped are long."""
    return _WIDTH if all(len(line) <= _WIDTH + 2 for line in source.splitlines()) else 0
