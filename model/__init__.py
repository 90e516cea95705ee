"""The Transformer of "Attention Is All You Need", its vocabulary, its training, and the bundle contract.

`config`, `vocabulary` and `bundle` are free of torch: they are what the running service shares with training.
"""
