"""The same weights in the forms that the peers of `serve.py` read."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

from benchmarks.ctranslate2_model import write_ctranslate2
from export.write import write_bundle
from model.bundle import Limits
from model.checkpoint import VOCABULARY_FILE, load_checkpoint


@dataclasses.dataclass(frozen=True, slots=True)
class Models:
    """Where they are."""

    vocabulary: Path
    ctranslate2: Path
    whole_vocabulary_bundle: Path
    argos_packages: Path


def write_models(checkpoint_directory: Path, scratch: Path) -> Models:
    """int8 for everyone; nothing is written where they are already."""
    vocabulary = checkpoint_directory / VOCABULARY_FILE
    models = Models(vocabulary, scratch / "ctranslate2", scratch / "bundle", scratch / "packages")
    complete = scratch / "complete"
    if complete.exists():
        return models
    checkpoint = load_checkpoint(checkpoint_directory)
    write_ctranslate2(checkpoint, models.ctranslate2, "int8")
    # Plain calls of ONNX Runtime know nothing of our shortlists.
    limits = Limits(source_tokens=256, target_tokens=512)
    write_bundle(
        checkpoint_directory,
        models.whole_vocabulary_bundle,
        "int8",
        bundle_version="bench",
        limits=limits,
        shortlist=False,
    )
    # Two, because with fewer LibreTranslate looks for more on the network.
    for source, target in (("fr", "en"), ("en", "fr")):
        package = models.argos_packages / f"{source}_{target}"
        shutil.copytree(models.ctranslate2, package / "model")
        shutil.copy(vocabulary, package / "sentencepiece.model")
        metadata = {"from_code": source, "from_name": source, "to_code": target, "to_name": target, "type": "translate"}
        (package / "metadata.json").write_text(json.dumps({**metadata, "package_version": "1", "argos_version": "1.5"}))
    complete.touch()
    return models
