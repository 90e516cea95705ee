"""The manifests of `docker/kubernetes`: rendered, checked against the schemas of three versions of Kubernetes, and held
against the service that they start."""

from __future__ import annotations

import copy
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from service.app import create_app
from service.settings import load_settings
from tests.docker.support import ROOT

MANIFESTS = ROOT / "docker/kubernetes"
OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())
VERSIONS = ("1.28", "1.33", "1.37")
LEAST_KUBECTL = (1, 21)
KINDS = {
    "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy", "ServiceMonitor",
}  # fmt: skip
MONITOR = json.loads((ROOT / "tests/docker/service-monitor.schema.json").read_text(encoding="utf-8"))
FREE = {"matchLabels", "labels", "requests", "limits"}
"""Fields whose own fields have any name."""

Manifest = dict[str, Any]


@functools.cache
def kubectl() -> str | None:
    """The path of a kubectl that has kustomize and knows components, or nothing."""
    path = shutil.which("kubectl")
    if path is None:
        return None
    said = subprocess.run([path, "version", "--client", "-o", "json"], capture_output=True, text=True, check=True)
    version = json.loads(said.stdout)["clientVersion"]
    return path if (int(version["major"]), int(version["minor"].rstrip("+"))) >= LEAST_KUBECTL else None


@functools.cache
def rendered(overlay: str) -> str:
    path = kubectl()
    if path is None:
        reason = f"there is no kubectl {'.'.join(map(str, LEAST_KUBECTL))} or newer to render the manifests"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    command = [path, "kustomize", str(MANIFESTS / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def manifests(overlay: str) -> dict[str, Manifest]:
    """By kind: there is one of each."""
    found = list(yaml.safe_load_all(rendered(overlay)))
    by_kind = {each["kind"]: each for each in found}
    assert len(by_kind) == len(found)
    return by_kind


def container(overlay: str) -> Manifest:
    (only,) = manifests(overlay)["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(only)


def check(manifest: Manifest, version: str) -> None:
    """Raises `ValidationError` for what an API server of that version would refuse, or drop as unknown."""
    if manifest["kind"] == "ServiceMonitor":
        jsonschema.validate(manifest, MONITOR)
    else:
        assert kubernetes_validate.validate(manifest, version, strict=True) == version, "there is no schema of it"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_valid(overlay: str, version: str) -> None:
    found = manifests(overlay)
    assert found.keys() == KINDS
    for manifest in found.values():
        check(manifest, version)


def innermost(value: Any) -> Iterator[Manifest]:
    """Every object whose fields the schema names, and that has no such object in it."""
    if isinstance(value, list):
        for inner in value:
            yield from innermost(inner)
    elif isinstance(value, dict):
        found = [each for field, inner in value.items() if field not in FREE for each in innermost(inner)]
        yield from found or [value]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_misspelt_field_is_refused_wherever_it_is(kind: str) -> None:
    """What the validation is worth."""
    manifest = manifests("keys")[kind]
    for number in range(len(list(innermost(manifest)))):
        damaged = copy.deepcopy(manifest)
        list(innermost(damaged))[number]["misspelt"] = 1
        with pytest.raises(jsonschema.ValidationError):
            check(damaged, VERSIONS[-1])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_keep_to_the_restricted_standard(overlay: str) -> None:
    """Kubernetes' Pod Security Standards, profile "restricted"."""
    pod = manifests(overlay)["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    assert {kind for volume in pod.get("volumes", ()) for kind in volume.keys() - {"name"}} <= allowed
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"}
    rights = container(overlay)["securityContext"]
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert rights["readOnlyRootFilesystem"] is True
    assert not rights.keys() & {"privileged", "procMount", "runAsUser", "seLinuxOptions"}
    assert all("hostPort" not in port for port in container(overlay)["ports"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_name_one_another(overlay: str) -> None:
    found = manifests(overlay)
    deployment = found["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(constraint["labelSelector"]["matchLabels"] for constraint in spread),
    ]
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    monitor = found["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= found["Service"]["metadata"]["labels"].items()
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_are_those_of_the_container(overlay: str) -> None:
    found = manifests(overlay)
    names = {port["name"] for port in container(overlay)["ports"]}
    served = {port["name"]: port["targetPort"] for port in found["Service"]["spec"]["ports"]}
    assert set(served.values()) == names
    assert {endpoint["port"] for endpoint in found["ServiceMonitor"]["spec"]["endpoints"]} <= served.keys()
    opened = {port["port"] for rule in found["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]}
    assert opened == names


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_service_takes_the_settings(overlay: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Paths are those of volumes, which are a directory here."""
    described = container(overlay)
    mounts = [mount["mountPath"] for mount in described.get("volumeMounts", ())]
    for variable in described["env"]:
        value = variable.get("value")
        for mount in mounts:
            value = value.replace(mount, str(tmp_path)) if value and value.startswith(mount) else value
        monkeypatch.setenv(variable["name"], "redis://:secret@redis:6379/0" if value is None else value)
    settings = load_settings()
    ports = {port["name"]: port["containerPort"] for port in described["ports"]}
    assert ports == {"http": settings.port, "private": settings.private_port}
    assert settings.metrics_access == settings.pages_access == "port"
    pod = manifests(overlay)["Deployment"]["spec"]["template"]["spec"]
    before = int(described["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > before + settings.shutdown_timeout_ms / 1000 + 5


def test_probes_ask_what_the_service_answers() -> None:
    answered = create_app(load_settings()).openapi()["paths"].keys()
    for overlay in OVERLAYS:
        probes = {kind: container(overlay)[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        paths = {kind: probe["path"] for kind, probe in probes.items()}
        assert paths == {"startup": "/health/startup", "liveness": "/health/live", "readiness": "/health/ready"}
        assert {probe["port"] for probe in probes.values()} == {"http"}
        assert set(paths.values()) <= answered


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_autoscaler_looks_at_metrics_that_there_are(overlay: str) -> None:
    metrics = manifests(overlay)["HorizontalPodAutoscaler"]["spec"]["metrics"]
    names = [metric["pods"]["metric"]["name"] for metric in metrics]
    assert names == ["attend_queue_tokens", "attend_running_rows"]
    described = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` | gauge |" in described for name in names)


def test_replicas_call_nobody_but_redis_and_the_resolver() -> None:
    for overlay in ("cpu", "gpu"):
        policy = manifests(overlay)["NetworkPolicy"]["spec"]
        assert (policy["policyTypes"], policy.get("egress", [])) == (["Ingress", "Egress"], [])
    opened = manifests("keys")["NetworkPolicy"]["spec"]["egress"]
    assert sorted({port["port"] for rule in opened for port in rule["ports"]}) == [53, 6379]
