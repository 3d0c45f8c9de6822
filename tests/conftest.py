"""Fixtures and settings for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The machine may be busy with other work: examples count, the clock does not.
settings.register_profile("fastcall", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastcall")
