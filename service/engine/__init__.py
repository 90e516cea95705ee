"""Decoding: jobs in, hypotheses out. Knows neither text nor HTTP."""
