"""A corpus on a cluster of three nodes, simulated on this machine, of which one dies in the middle."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attend.support import said
from tests.attend.test_command import attend, command, environment
from tests.bundles import ROOT

QUICK = ("-s", "fr", "-t", "en", "--beam-size", "1", "-q", "--chunk", "8", "--commit-every", "0")
WAIT_SECONDS = 300.0
NODE = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three nodes; what joins it gets its address by a variable."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Workers find the packages where this process does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    if "CI" not in os.environ:
        pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        for _ in range(2):
            found.add_node(**NODE)
        yield found
    finally:
        found.shutdown()


def test_a_node_that_dies_costs_no_line(cluster: Any, tmp_path: Path) -> None:
    corpus, output, partial = tmp_path / "in.txt", tmp_path / "out.txt", tmp_path / "out.txt.partial"
    corpus.write_text("".join(f"Il a {number} ans et il habite à Paris.\n" for number in range(400)), encoding="utf-8")
    process = subprocess.Popen(
        command("translate", corpus, "-o", output, *QUICK, "--ray"), cwd=tmp_path, stderr=subprocess.PIPE,
        env={**environment(), "PYTHONPATH": os.environ["PYTHONPATH"], "RAY_ADDRESS": cluster.address},
    )  # fmt: skip
    try:
        until = time.monotonic() + WAIT_SECONDS
        while not (partial.exists() and partial.stat().st_size) and process.poll() is None:
            assert time.monotonic() < until, "nothing was translated"
            time.sleep(0.05)
        assert not output.exists(), "it was done before a node could die"
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
        _, told = process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, told.decode()) == (0, "")
    lines = output.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 400
    assert all(str(number) in line for number, line in enumerate(lines))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.txt"]


def test_without_ray_it_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ModuleNotFoundError('no ray', name='ray')", encoding="utf-8")
    (tmp_path / "in.txt").write_text("Bonjour.\n", encoding="utf-8")
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    done = attend("translate", "in.txt", "-o", "out.txt", *QUICK, "--ray", cwd=tmp_path, PYTHONPATH=paths)
    assert (done.returncode, "Ray is not installed" in said(done)) == (2, True)
