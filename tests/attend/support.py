"""What tests of the command share."""

from __future__ import annotations

import subprocess


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a command says on standard error, which holds no traceback."""
    text = done.stderr.decode()
    assert "Traceback" not in text, text
    return text
