"""Fixtures and settings for all tests."""

from __future__ import annotations

import os
from dataclasses import fields

from hypothesis import HealthCheck, settings

from fastcall.settings import Settings
from thoroughness import amount

# The machine may be busy with other work: examples count, the clock does not.
settings.register_profile(
    "fastcall",
    max_examples=amount(30, thorough=100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fastcall")

# A developer's own settings are not the tests'; those that choose the uplink of a run are (`make test-uplinks`).
for item in fields(Settings):
    if item.metadata["env"] not in (None, "STT_UPLINK", "STT_TLS_ROOTS"):
        os.environ.pop(item.metadata["env"], None)
