"""Files that are translated: their texts out, translations in, everything else as it was; and where they wait."""
