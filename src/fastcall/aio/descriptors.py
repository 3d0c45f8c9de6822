"""How many more descriptors this process may have."""

from __future__ import annotations

import os
import resource

__all__ = ["RESERVE", "spare_descriptors"]

# What a process needs beside its calls: connections to the recognizer, requests, a file now and then.
RESERVE = 32


def spare_descriptors() -> int:
    """At least how many may still be opened. Any thread; two system calls."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free
    except OSError:
        return 0
    os.close(lowest)
    return max(limit - lowest, 0) if limit != resource.RLIM_INFINITY else 1 << 30
