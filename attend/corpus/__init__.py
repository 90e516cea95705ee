"""Texts by the million: one line in, one line out, in order, and after any interruption exactly where it stopped."""
