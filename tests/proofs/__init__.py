"""Proofs that take minutes, as programs: each has a verb of its own in the Makefile."""
