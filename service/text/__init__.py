"""Text to segments and back, without losing a character."""
