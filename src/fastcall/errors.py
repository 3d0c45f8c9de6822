"""The exceptions of fastcall.

::

    FastcallError                  the base; never raised itself
    ├── UsageError                 incorrect usage: the message says what to do; commands exit with status 2
    ├── RecognizerError            the recognizer cannot be reached or refused, with its status
    ├── BacklogError               a bounded queue is full
    └── ClosedError                a method of a closed object was called

Input from the network never raises out of fastcall: errors of a peer are counted, logged and answered
(``fastcall.events.Rejected``), because a caller's bad message must never affect another call.
"""

from __future__ import annotations

__all__ = ["BacklogError", "ClosedError", "FastcallError", "RecognizerError", "UsageError", "missing_extra"]

# The extra that installs each package.
EXTRAS = {
    "aiohappyeyeballs": "server",
    "aiohttp": "server",
    "google": "server",
    "grpc": "server",
    "numpy": "server",
    "pocketsphinx": "emulator",
    "prometheus_client": "server",
    "uvloop": "server",
    "webrtcvad": "server",
    "websockets": "server",
    "yaml": "emulator",
}


def missing_extra(error: ImportError) -> str | None:
    """What to install for a missing package; None if none of our extras contains it."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return f"the package {package!r} is not installed; run: pip install 'fastcall[{EXTRAS[package]}]'"


class FastcallError(Exception):
    """Base of all errors of fastcall. It is never raised itself."""

    def __init__(self, message: str) -> None:
        if type(self) is FastcallError:
            raise TypeError("FastcallError is the base class: raise one of its subclasses")
        super().__init__(message)


class UsageError(FastcallError):
    """The program was started, or a function called, in a way that cannot work.

    The message is one sentence that says what to do. Commands print it and exit with status 2.
    """


class RecognizerError(FastcallError):
    """The recognizer failed or cannot be reached.

    :param code: name of the gRPC status, such as ``"UNAVAILABLE"``
    :param message: the recognizer's message
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class BacklogError(FastcallError):
    """The input was refused: the queue is so long that it would be processed too late to be useful."""


class ClosedError(FastcallError):
    """The object is closed and accepts no more input."""
