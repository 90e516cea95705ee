"""How far a run is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm


class Progress:
    """Speed and time left of a training run."""

    def __init__(self, total: int, done: int, quiet: bool = False) -> None:
        hidden = quiet or not sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, unit="step", disable=hidden, dynamic_ncols=True)
        self._quiet = quiet
        self._total = total
        self._first = self._step = done
        self._started = self._reported = time.monotonic()

    def update(self, step: int, tokens: int, text: str) -> float:
        """Show step `step`, `tokens` target tokens after the last report; returns target tokens a second since then."""
        now = time.monotonic()
        speed = tokens / max(now - self._reported, 1e-9)
        left = (self._total - step) * (now - self._started) / max(step - self._first, 1)
        text = f"{text} {speed:,.0f} tok/s"
        if self._bar.disable:
            self.say(f"step {step}/{self._total} {text} {left / 60:.1f} min left")
        else:
            self._bar.set_postfix_str(text)
            self._bar.update(step - self._step)
        self._step, self._reported = step, now
        return round(speed, 1)

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._quiet:
            return
        self._bar.write(text, file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        """Finish the bar."""
        self._bar.close()
