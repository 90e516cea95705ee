"""A rate as settings and keys say it."""

from __future__ import annotations

import dataclasses

from limits import RateLimitItem, parse_many


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """`100/minute`, or several with a semicolon between them."""

    items: tuple[RateLimitItem, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Of the text of a setting or a key; an empty one is no limit.

        Raises:
            ValueError: it is no rate; the text is one sentence.
        """
        if not text.strip():
            return cls()
        try:
            items = tuple(parse_many(text))
        except ValueError:
            raise ValueError(f"'{text}' is no rate; one is 100/minute, or 10/second;500/hour") from None
        if any(item.amount < 1 for item in items):
            raise ValueError(f"'{text}' allows nothing")
        return cls(items)

    def __bool__(self) -> bool:
        return bool(self.items)
