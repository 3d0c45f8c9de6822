"""How many more file descriptors this process may open."""

from __future__ import annotations

import os
import resource

__all__ = ["RESERVE", "spare_descriptors"]

# Reserved for other uses than calls: connections to the recognizer, requests, files.
RESERVE = 32


def spare_descriptors() -> int:
    """The least number that may still be opened. Any thread; two system calls."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free
    except OSError:
        return 0
    os.close(lowest)
    return max(limit - lowest, 0) if limit != resource.RLIM_INFINITY else 1 << 30
