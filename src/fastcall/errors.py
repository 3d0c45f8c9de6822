"""What fastcall raises.

::

    FastcallError                  the base; never raised itself
    ├── UsageError                 started or called wrongly: the message says what to do; a command exits with 2
    ├── RecognizerError            the recognizer cannot be reached or refused, with its status
    ├── BacklogError               more waits already than is kept
    └── ClosedError                a call on something that was closed before

Nothing from the wire raises out of fastcall: a peer's mistakes are counted, logged and answered
(``fastcall.twilio.messages.Rejected``), because one caller's bad message must never touch another call.
"""

from __future__ import annotations

__all__ = ["BacklogError", "ClosedError", "FastcallError", "RecognizerError", "UsageError", "missing_extra"]

# The extra that brings each package.
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
    """What to install for a package that is not there; None if no extra of ours brings it."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return f"the package {package!r} is not installed; run: pip install 'fastcall[{EXTRAS[package]}]'"


class FastcallError(Exception):
    """Base of all errors of fastcall. Catch it; it is not raised itself."""

    def __init__(self, message: str) -> None:
        if type(self) is FastcallError:
            raise TypeError("FastcallError is the base class: raise one of its subclasses")
        super().__init__(message)


class UsageError(FastcallError):
    """The program was started or a function was called in a way that cannot work.

    The message is one sentence that says what to do about it. Commands print it and exit with status 2.
    """


class RecognizerError(FastcallError):
    """The recognizer could not serve.

    :param code: name of the gRPC status, such as ``"UNAVAILABLE"``
    :param message: what the recognizer said
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class BacklogError(FastcallError):
    """What was given is not taken: so much waits already that it would come too late to be of use."""


class ClosedError(FastcallError):
    """The object was closed; it takes nothing more."""
