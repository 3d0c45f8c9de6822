"""Deterministic simulation of calls: caller, session, provider and clock in one process, from one seed."""
