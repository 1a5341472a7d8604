"""Carrying a decision out, with proofs."""
