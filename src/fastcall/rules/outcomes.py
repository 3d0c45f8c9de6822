"""What to tell a person when a recogniser stream has ended in an error.

One table, first match wins: status, a part of the message (or any), advice.
"""

from __future__ import annotations

__all__ = ["advice_for"]

_ADVICE: tuple[tuple[str, str, str], ...] = (
    (
        "UNAUTHENTICATED",
        "",
        "The credentials were not accepted: set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service "
        "account of a project in which the Speech-to-Text API is enabled.",
    ),
    (
        "PERMISSION_DENIED",
        "",
        "The account may not use Speech-to-Text: enable the API in its project and give it the role "
        "'Cloud Speech Client'.",
    ),
    (
        "INVALID_ARGUMENT",
        "not supported",
        "Choose another model or language: set GCP_STT_MODEL=default, or a language that the model has, in "
        "GCP_STT_LANGUAGE.",
    ),
    (
        "RESOURCE_EXHAUSTED",
        "",
        "The project's quota is used up: ask for more under 'Quotas' of the Speech-to-Text API, or take fewer calls.",
    ),
    (
        "UNAVAILABLE",
        "",
        "The recogniser cannot be reached: check the network, or that SPEECH_EMULATOR_HOST names a running "
        "emulator (`fastcall emulator`).",
    ),
    (
        "OUT_OF_RANGE",
        "",
        "The recogniser ended the stream at one of its limits.",
    ),
)


def advice_for(code: str, message: str) -> str:
    """One sentence that says what to do about a stream that ended with ``code`` and ``message``."""
    for status, part, advice in _ADVICE:
        if status == code and part in message:
            return advice
    return "This status is not expected; if it persists, report it with this line."
