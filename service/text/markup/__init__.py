"""Texts with mark-up as texts to translate, and back."""
