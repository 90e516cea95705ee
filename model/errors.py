"""Errors a person can act on: what is wrong, where, and what to do."""


class ModelError(Exception):
    """Root of every error this package raises on bad input; the text is one sentence for a person."""


class DataError(ModelError):
    """A file of parallel text, or one line of it, cannot be used."""


class RecipeError(ModelError):
    """A training recipe is missing, malformed or contradicts itself."""


class CheckpointError(ModelError):
    """A checkpoint is missing, damaged or does not fit the code or the vocabulary."""


class VocabularyError(ModelError):
    """A vocabulary is missing, damaged or lacks what the model needs."""


class BundleError(ModelError):
    """An exported bundle is missing, damaged or of another format version."""
