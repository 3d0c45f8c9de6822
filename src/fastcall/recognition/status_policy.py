"""What a stream's end means: maps status and message to an action, in one table.

Recognition ends only for errors that every stream of the call would have: no permission, an unknown method, an argument
that is wrong whatever the model. Everything else is retried, with back-off, and reported; an unexpected status of a
provider or a proxy costs a call seconds, not its recognition.

Sources: https://cloud.google.com/speech-to-text/docs/reference/rpc, https://grpc.github.io/grpc/core/md_doc_statuscodes.html,
and messages that users of the service report.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

__all__ = ["LAST_MODEL", "Action", "Outcome", "outcome_of"]

LAST_MODEL = "default"
"""The model to try when another is refused; every supported language has it."""


class Action(Enum):
    """What the session does."""

    ROTATE = "rotate"
    """A limit of the provider, not a failure: the next stream at once."""
    RECONNECT = "reconnect"
    """The next stream after a back-off, with replay."""
    CHANGE_MODEL = "change model"
    """The next stream at once, with ``LAST_MODEL``."""
    BACK_OFF = "back off"
    """A quota: as ``RECONNECT``, but with a longer initial back-off."""
    FAIL = "fail"
    """No stream of this call can succeed."""


@dataclass(slots=True, frozen=True)
class Outcome:
    """An action, and advice for the reader of the log."""

    action: Action
    advice: str


_UNREACHABLE = Outcome(
    Action.RECONNECT,
    "The recognizer cannot be reached; retrying, and keeping the audio. Check the network, or that "
    "SPEECH_EMULATOR_HOST names a running emulator (`fastcall emulator`).",
)
_TOKEN = Outcome(
    Action.RECONNECT,
    "Google's token endpoint gives no usable access token; retrying, and keeping the audio. If it "
    "persists, check the network connection to it, and this machine's clock.",
)
_TRANSIENT = Outcome(Action.RECONNECT, "The recognizer ended the stream; retrying, and keeping the audio.")
_BETWEEN = Outcome(
    Action.RECONNECT,
    "The response is not from the recognizer; retrying, and keeping the audio. If it persists, check for a "
    "proxy in between, and the endpoint's address.",
)
_MISSING = Outcome(
    Action.RECONNECT,
    "Retrying, and keeping the audio. If it persists, check that GOOGLE_CLOUD_PROJECT is a project's id "
    "in which the Speech-to-Text API and billing are enabled, and GCP_STT_LOCATION a location.",
)
_UNEXPECTED = Outcome(
    Action.RECONNECT,
    "Unknown status; retrying, and keeping the audio. If it persists, report this line.",
)
_LIMIT = Outcome(Action.ROTATE, "A limit of the recognizer; continuing with the next stream.")
_QUOTA = Outcome(
    Action.BACK_OFF,
    "The project's quota is exhausted: request more under 'Quotas' of the Speech-to-Text API, or accept fewer calls.",
)
_MODEL = Outcome(
    Action.CHANGE_MODEL,
    "Set GCP_STT_MODEL=default, or set GCP_STT_LANGUAGE to a language that the model supports.",
)
_LOCATION = Outcome(
    Action.CHANGE_MODEL,
    "Set GCP_STT_MODEL to a model available in the location, or GCP_STT_LOCATION to a location that has the model.",
)
_NO_MODEL = (
    f"The model {LAST_MODEL} is refused too: set GCP_STT_LANGUAGE to a language that Speech-to-Text supports, such as "
    "he-IL or en-US, and GCP_STT_LOCATION to a location that has it."
)
_LANGUAGE = Outcome(
    Action.FAIL,
    "Set GCP_STT_LANGUAGE to a BCP 47 code that Speech-to-Text supports, such as he-IL or en-US.",
)
_RESOURCE = Outcome(Action.FAIL, "Check that GOOGLE_CLOUD_PROJECT is a project's id and GCP_STT_LOCATION a location.")
_ARGUMENT = Outcome(
    Action.FAIL, "The recognizer refuses the stream's configuration: check GCP_STT_LANGUAGE and GCP_STT_MODEL."
)
_CREDENTIALS = Outcome(
    Action.FAIL,
    "The credentials were not accepted: set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account of a "
    "project in which the Speech-to-Text API is enabled.",
)
_PERMISSION = Outcome(
    Action.FAIL,
    "The account may not use Speech-to-Text: enable the API in its project and give it the role 'Cloud Speech Client'.",
)
_REFUSED_BEFORE = Outcome(
    Action.FAIL,
    "The refusal is not from the recognizer: check for a proxy in between, and the endpoint's address.",
)
_CALM = Outcome(Action.BACK_OFF, "The peer asks for fewer requests; retrying more slowly.")
_METHOD = Outcome(Action.FAIL, "The endpoint does not serve StreamingRecognize: check its address.")

# Topics of messages. The wording changes between models, versions and years; the topics do not.
_LIMITS = r"maximum allowed stream duration|max duration|stream timed out|audio timeout"
_A_MODEL = r"\bmodels?\b|\bsupport feature"
_A_LANGUAGE = r"\b(language|locale)"
_A_LOCATION = r"\blocation\b"
_OF_BOTH = rf"(?s)(?=.*(?:{_A_MODEL}))(?=.*(?:{_A_LANGUAGE}|{_A_LOCATION}))"
# Messages of native and grpcio for an end without a status of the recognizer.
_HTTP = r"content type|HTTP status|http2 header with status"
_RESET = r"HTTP/2 error code|RST_STREAM"

# Statuses ("" for any), topic of the message ("" for any), outcome. The first match counts.
_TABLE: tuple[tuple[str, str, Outcome], ...] = (
    ("OUT_OF_RANGE ABORTED", _LIMITS, _LIMIT),
    ("OUT_OF_RANGE", "streamed too", Outcome(Action.RECONNECT, "Audio was sent too slowly or too fast; retrying.")),
    ("INVALID_ARGUMENT", rf"(?s)^(?!.*{_A_LANGUAGE})(?=.*{_A_LOCATION}).*\bmodel", _LOCATION),
    ("INVALID_ARGUMENT", _A_MODEL, _MODEL),
    ("INTERNAL UNKNOWN NOT_FOUND FAILED_PRECONDITION OUT_OF_RANGE UNIMPLEMENTED", _OF_BOTH, _MODEL),
    ("INVALID_ARGUMENT", _A_LANGUAGE, _LANGUAGE),
    ("INVALID_ARGUMENT", "resource field", _RESOURCE),
    ("INVALID_ARGUMENT", "", _ARGUMENT),
    ("UNAUTHENTICATED", "", _CREDENTIALS),
    ("PERMISSION_DENIED UNIMPLEMENTED", _HTTP, _REFUSED_BEFORE),
    ("PERMISSION_DENIED", _RESET, _BETWEEN),
    ("PERMISSION_DENIED", "", _PERMISSION),
    ("UNIMPLEMENTED", "", _METHOD),
    ("RESOURCE_EXHAUSTED", _RESET, _CALM),
    ("RESOURCE_EXHAUSTED", "message larger than", _TRANSIENT),
    ("RESOURCE_EXHAUSTED", "", _QUOTA),
    ("UNAVAILABLE", "access token", _TOKEN),
    ("UNAVAILABLE", "", _UNREACHABLE),
    ("UNKNOWN INTERNAL", _HTTP, _BETWEEN),
    ("UNKNOWN INTERNAL ABORTED CANCELLED DEADLINE_EXCEEDED DATA_LOSS", "", _TRANSIENT),
    ("NOT_FOUND FAILED_PRECONDITION", "", _MISSING),
    (
        "OK",
        "",
        Outcome(Action.RECONNECT, "The recognizer ended the stream although the call continues; retrying."),
    ),
    ("", "", _UNEXPECTED),
)
_ROWS = tuple((frozenset(codes.split()), re.compile(kind, re.IGNORECASE), outcome) for codes, kind, outcome in _TABLE)


def outcome_of(code: str, message: str, *, model: str = "", has_worked: bool = False) -> Outcome:
    """What to do about a stream that ended with the gRPC status ``code`` and ``message``.

    :param model: which the stream was opened with: ``LAST_MODEL`` cannot be changed for another
    :param has_worked: the stream gave a result, so its configuration was valid; another is tried, and will fail at
        once if that has changed
    """
    outcome = next(
        outcome for codes, kind, outcome in _ROWS if (not codes or code in codes) and (kind.search(message) is not None)
    )
    if has_worked and outcome.action in (Action.FAIL, Action.CHANGE_MODEL):
        return _TRANSIENT
    if outcome.action is Action.CHANGE_MODEL and model == LAST_MODEL:
        return Outcome(Action.FAIL, _NO_MODEL)
    return outcome
