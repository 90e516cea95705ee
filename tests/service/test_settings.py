"""Start-up: settings, commands, what is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest

from service.__main__ import main
from service.settings import Settings, SettingsError, load_settings, settings_table
from tests.bundles import ROOT


def test_defaults_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTEND_PORT", "8123")
    monkeypatch.setenv("ATTEND_THREADS", "")
    monkeypatch.setenv("ATTEND_LOG_LEVEL", "WARNING")
    settings = load_settings()
    assert (settings.port, settings.host, settings.threads, settings.device) == (8123, "127.0.0.1", 0, "auto")
    assert settings.log_level == "warning"
    with pytest.raises(pydantic.ValidationError):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "ATTEND_TRUSTED_PROXIES",
            "10.0.0.1,proxy",
            "ATTEND_TRUSTED_PROXIES=10.0.0.1,proxy: 'proxy' does not appear to be an IPv4 or IPv6 network",
        ),
        ("ATTEND_ROOT_PATH", "base", "ATTEND_ROOT_PATH=base: string should match pattern"),
        ("ATTEND_PORT", "abc", "ATTEND_PORT=abc: input should be a valid integer, "),
        ("ATTEND_DEVICE", "gpu", "ATTEND_DEVICE=gpu: input should be 'auto', 'cpu' or 'cuda'"),
        ("ATTEND_CANARY", "fr-en=0.5", "ATTEND_CANARY=fr-en=0.5: a canary is written name@version=share, with a share"),
        ("ATTEND_MODELS", "/none", "ATTEND_MODELS: /none is no directory"),
        ("ATTEND_BEAM_SIZE", "9", "ATTEND_BEAM_SIZE=9: input should be less than or equal to 8"),
        ("ATTEND_PROT", "1", "ATTEND_PROT is not a setting; the settings are ATTEND_ADMIN_PORT, ATTEND_BEAM_SIZE, "),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_exit_2(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert main([]) == main(["serve"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(message)


def test_variables_kubernetes_adds_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTEND_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("ATTEND_PORT_80_TCP", "tcp://10.0.0.1:80")
    assert load_settings().port == 8000
    monkeypatch.setenv("ATTEND_PORT", "tcp://10.0.0.1:80")
    with pytest.raises(SettingsError, match="ATTEND_PORT=tcp"):
        load_settings()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_documented_settings_are_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    table = capsys.readouterr().out
    assert table == settings_table()
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page.endswith(f"\n\n{table}"), "renew its table with: python -m service settings"


def test_a_missing_bundle_is_one_sentence_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ATTEND_BUNDLE", str(tmp_path / "none"))
    assert main([]) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path}/none/manifest.json: no such file")


def test_the_service_imports_no_torch_and_no_runtime_before_it_loads() -> None:
    code = "import sys, os, service.__main__; print('torch' in sys.modules, 'onnxruntime' in sys.modules)"
    code += "; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.split() == ["False", "False", "1"]
