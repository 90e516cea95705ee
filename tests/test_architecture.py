"""Who may import whom. `lint-imports` knows the arrows between our packages; here are the rules it cannot express."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ONLY_IN = {
    "onnxruntime": (
        "service/engine/decoder/runtime.py",
        "service/engine/decoder/device.py",
        "service/engine/decoder/prepacked.py",
        "service/engine/decoder/providers.py",
        "export/verify.py",
    ),
    "fastapi": ("service/app.py", "service/api/"),
    "uvicorn": ("service/server.py", "service/connection.py"),
    "redis": ("service/access/replicas.py",),
    "limits": ("service/access/",),
    "opentelemetry": ("service/tracing.py",),
    "prometheus_client": ("service/metrics.py", "service/model_metrics.py"),
    "torch": ("model/", "export/"),
    "sentencepiece": ("model/vocabulary.py", "model/extension.py", "model/tokenizers.py"),
    "sacrebleu": ("model/evaluation.py",),
    "click": ("attend/cli/",),
    "matplotlib": ("model/curves.py", "tools/attention.py"),
}
"""Package -> the only places that import it: an exchange of the package then is a change of these alone."""

SHARED_WITH_SERVICE = {
    "arguments", "bundle", "commands", "config", "corpus", "errors", "evaluation", "lexical", "shortlist", "spans",
    "tokenizers", "vocabulary",
}  # fmt: skip
"""Modules of `model` that `service` may import."""


ROOMS = ("model", "export", "service", "tools", "attend")


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything a file imports, inside functions too."""
    yield from names_in(ast.parse(path.read_text(encoding="utf-8")))


def names_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MOST_DEPTH = 9
"""Modules in the longest chain of imports from `python -m service` on, its own and those of `model`; with a chain twice
as long nobody sees what is below."""


def imports_when_run(path: Path) -> Iterator[str]:
    """The same, without what is imported for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    yield from names_in(tree)


def test_the_longest_chain_of_imports_is_short() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sources()}
    graph = {name: {other for other in imports_when_run(path) if other in modules} for name, path in modules.items()}

    @functools.cache
    def chain(name: str) -> tuple[str, ...]:
        return (name, *max((chain(other) for other in graph[name] - {name}), key=len, default=()))

    assert len(chain("service.__main__")) <= MOST_DEPTH, " > ".join(chain("service.__main__"))


def test_import_contracts() -> None:
    # Against sys.executable's own packages; the cache would be a file in the working tree.
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_is_imported_where_it_belongs_and_nowhere_else(package: str) -> None:
    importers = {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if any(name.partition(".")[0] == package for name in imports(path))
    }
    assert importers, f"nothing imports {package}: this rule checks nothing"
    assert [path for path in sorted(importers) if not path.startswith(ONLY_IN[package])] == []


def test_the_service_shares_only_the_torch_free_part_of_model() -> None:
    used = {
        name.split(".")[1]
        for path in (ROOT / "service").rglob("*.py")
        for name in imports(path)
        if name.startswith("model.")
    }
    assert used <= SHARED_WITH_SERVICE


@pytest.mark.parametrize("module", sorted(SHARED_WITH_SERVICE))
def test_what_the_service_shares_loads_no_torch(module: str) -> None:
    code = f"import sys, model.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
