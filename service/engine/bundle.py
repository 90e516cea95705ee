"""What a bundle says of itself, read in one place for the service and for its engines. Without the runtime."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from model.bundle import VOCABULARY_FILE, Manifest, read_manifest
from model.errors import BundleError
from model.lexical import LexicalTable, lexical_tables
from model.shortlist import SHORTLIST_FILE, Shortlist, load_shortlist
from model.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle's manifest and the words of its model."""

    directory: Path
    manifest: Manifest
    vocabulary: Vocabulary

    @classmethod
    def read(cls, directory: Path) -> Bundle:
        """The bundle in a directory.

        Raises:
            BundleError: it is missing or damaged.
            VocabularyError: its vocabulary is.
        """
        manifest = read_manifest(directory)
        vocabulary = Vocabulary.load(directory / VOCABULARY_FILE)
        if len(vocabulary) != manifest.vocabulary_size:
            raise BundleError(
                f"{directory}: {len(vocabulary)} pieces in the vocabulary, not as many as the manifest says"
            )
        return cls(directory, manifest, vocabulary)

    def shortlist(self) -> Shortlist | None:
        """Which tokens a sentence's output may have; None: all of the vocabulary."""
        if "columns" not in self.manifest.graphs:
            return None
        return load_shortlist(self.directory / SHORTLIST_FILE, self.vocabulary)

    def lexical_tables(self) -> dict[str, LexicalTable]:
        """How pieces translate each other, by direction, for those that are aligned by `hmm`."""
        return dict(lexical_tables(self.directory, self.manifest, self.vocabulary))
