"""What a bundle says of itself, read in one place for the service and for its engines. Without the runtime."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from model.bundle import Manifest, check_files, read_manifest
from model.lexical import LexicalTable, lexical_tables
from model.shortlist import SHORTLIST_FILE, Shortlist, load_shortlist
from model.tokenizers import Tokenizer, load_tokenizer


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle's manifest and the words of its model."""

    directory: Path
    manifest: Manifest
    vocabulary: Tokenizer

    @classmethod
    def read(cls, directory: Path) -> Bundle:
        """The bundle in a directory.

        Raises:
            BundleError: it is missing or damaged.
            VocabularyError: its vocabulary is.
        """
        manifest = read_manifest(directory)
        # The others are compared by the engines; a damaged vocabulary is not even tried to be read.
        check_files(directory, manifest, ".spm")
        return cls(directory, manifest, load_tokenizer(directory, manifest))

    def shortlist(self) -> Shortlist | None:
        """Which tokens a sentence's output may have; None: all of the vocabulary."""
        if not self.manifest.has_shortlist:
            return None
        manifest = self.manifest
        return load_shortlist(
            self.directory / SHORTLIST_FILE, self.vocabulary, manifest.special_ids, manifest.decoder.suppressed_ids
        )

    def lexical_tables(self) -> dict[str, LexicalTable]:
        """How pieces translate each other, by direction, for those that are aligned by `hmm`."""
        return lexical_tables(self.directory, self.manifest, self.vocabulary)
