"""The documentation as a site: every page is in it, every link leads somewhere, and nothing comes from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {path.stem for path in tmp_path.glob("*.html")} > pages > {"index", "zh", "tutorial"}
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"?(?:https?:)?//", text), page
        assert not re.findall(r"<link[^>]* rel=\"?(?:stylesheet|preconnect)[^>]* href=\"?(?:https?:)?//", text), page
        assert "README.md" not in "".join(re.findall(r"href=\"([^\"]*)\"", text)), page


def test_what_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    for path in ROOT.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for name, copy in (("docs", shutil.copytree), ("README.md", shutil.copy)):
        (tmp_path / name).unlink()
        copy(ROOT / name, tmp_path / name)
    damages = {
        "docs/files.md": "[nowhere](nowhere.md)",
        "docs/page.md": "[no such heading](operations.md#no-such-heading)",
        "README.md": "[nowhere](docs/nowhere.md)",
        "docs/unlisted.md": "# A page that no menu names",
    }
    for page, added in damages.items():
        with (tmp_path / page).open("a", encoding="utf-8") as file:
            file.write(f"\n{added}\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert done.stderr.count("WARNING -") == len(damages), done.stderr
