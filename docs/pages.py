"""What MkDocs is told beside `mkdocs.yml`: pages of the repository that are not in `docs`, and where links lead."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "README.md": "overview.md",
    "SECURITY.md": "reporting.md",
    "model/pretrained/MODEL_CARD.md": "model-card.md",
    "model/pretrained/EVERYDAY.md": "everyday.md",
    "model/recipes/README.md": "recipes.md",
    "model/recipes/multi30k/README.md": "multi30k.md",
}
"""Pages by where they lie in the repository, and what they are called in the site."""
_ORIGINS = {page: origin for origin, page in ELSEWHERE.items()}
_LINK = re.compile(r"(\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^()\s]+)\)|(<img src=)\"([^\"]+)\"")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie elsewhere."""
    for origin, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / origin).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page whose links lead to pages of the site; what is in the repository alone becomes plain text."""
    source = page.file.src_uri
    folder = posixpath.dirname(_ORIGINS.get(source, f"docs/{source}"))
    parts = _CODE.split(markdown)
    parts[::2] = [_LINK.sub(lambda link: _turned(link, folder), part) for part in parts[::2]]
    return "".join(parts)


def _turned(link: re.Match[str], folder: str) -> str:
    text, target = link[1] or link[3], link[2] or link[4]
    if target.startswith("#") or ":" in target:
        return link[0]
    path, mark, anchor = target.partition("#")
    found = posixpath.normpath(posixpath.join(folder, path))
    if found in ELSEWHERE or found.startswith("docs/"):
        inside = ELSEWHERE.get(found, found.removeprefix("docs/"))
        return f'{text}"{inside}"' if link[3] else f"{text}({inside}{mark}{anchor})"
    # A link that leads nowhere stays, for MkDocs to complain.
    return text[1:-1] if (ROOT / found).exists() else link[0]
