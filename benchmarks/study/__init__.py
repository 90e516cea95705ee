"""The architectures of the literature before and around the Transformer, trained alike and compared with numbers."""
