"""LibreTranslate with our weights; it runs in an environment of its own (see README.md) and imports nothing of ours.

    FOLDER/bin/python benchmarks/libretranslate_server.py --port N

`ARGOS_PACKAGES_DIR` names the packages that `serve.py` writes. Two things are changed. LibreTranslate would download a
model that splits texts into sentences; here a line is a sentence, which costs nothing and is right for what is sent.
And our model wants the tag of the target language before each source and the end token after it.
"""

import sys

from argostranslate.sbd import MiniSBDSentencizer
from argostranslate.tokenizer import SentencePieceTokenizer
from libretranslate import main

TARGET_TAG, END = "<2en>", "</s>"
pieces = SentencePieceTokenizer.encode


def whole(self: MiniSBDSentencizer, text: str) -> list[str]:
    return [text]


def tagged(self: SentencePieceTokenizer, sentence: str) -> list[str]:
    return [TARGET_TAG, *pieces(self, sentence), END]


if __name__ == "__main__":
    MiniSBDSentencizer.split_sentences = whole
    SentencePieceTokenizer.encode = tagged
    sys.argv = [sys.argv[0], "--disable-web-ui", "--disable-files-translation", *sys.argv[1:]]
    main()
