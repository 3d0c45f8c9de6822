"""The service manager's notification socket, sd_notify(3): ready, still alive, stopping. Nothing without systemd."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

from fastcall.errors import UsageError

__all__ = ["ServiceManager"]

log = logging.getLogger("fastcall")


class ServiceManager:
    """Reports the state of this process. One thread; never blocks.

    :param address: ``NOTIFY_SOCKET``: a path, or ``@`` and an abstract name; empty: nobody to notify
    :param watchdog_s: the interval in which it expects a sign of life; 0: none
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s if address else 0.0
        self._has_failed = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ServiceManager:
        """The one described by systemd in the environment of a service's main process.

        :raises UsageError: the environment is malformed
        """
        is_meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        text = environ.get("WATCHDOG_USEC", "0") if is_meant else "0"
        if not (text.isascii() and text.isdigit()):
            raise UsageError(f"WATCHDOG_USEC={text!r}: must be a whole number")
        return cls(environ.get("NOTIFY_SOCKET", ""), int(text) / 1e6)

    def tell(self, state: str) -> None:
        """Send ``READY=1``, ``WATCHDOG=1``, ``STOPPING=1``, or ``STATUS=`` and a line."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.sendto(state.encode(), self._address)
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                log.warning("cannot notify the service manager of %s: %s", state, error)
