"""What a stream's end means: status and message to what is done about it, in one table.

Recognition ends only for what no other stream of the call can do better: no permission, an unknown method, an argument
that is wrong whatever the model. Everything else is tried again, with back-off, and named; a provider's next status,
or a proxy's in between, costs a call seconds, not its recognition.

Sources: https://cloud.google.com/speech-to-text/docs/reference/rpc, https://grpc.github.io/grpc/core/md_doc_statuscodes.html,
and messages that users of the service report.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

__all__ = ["LAST_MODEL", "Action", "Outcome", "outcome_of"]

LAST_MODEL = "default"
"""The model that is tried when another is refused; every language that is known at all has it."""


class Action(Enum):
    """What the session does."""

    ROTATE = "rotate"
    """A limit of the provider's, not a failure: the next stream at once."""
    RECONNECT = "reconnect"
    """The next stream after a back-off, with replay."""
    CHANGE_MODEL = "change model"
    """The next stream at once, with ``LAST_MODEL``."""
    BACK_OFF = "back off"
    """A quota: as ``RECONNECT``, but from a longer back-off on."""
    FAIL = "fail"
    """No stream of this call can succeed."""


@dataclass(slots=True, frozen=True)
class Outcome:
    """An action, and one sentence for the person who reads the log."""

    action: Action
    advice: str


_UNREACHABLE = Outcome(
    Action.RECONNECT,
    "The recognizer cannot be reached; trying again, and the audio is kept meanwhile. Check the network, or that "
    "SPEECH_EMULATOR_HOST names a running emulator (`fastcall emulator`).",
)
_TOKEN = Outcome(
    Action.RECONNECT,
    "Google's token endpoint gives no usable access token; trying again, and the audio is kept meanwhile. If it "
    "persists, check the network's way to it, and this machine's clock.",
)
_TRANSIENT = Outcome(Action.RECONNECT, "The recognizer broke off; trying again, and the audio is kept meanwhile.")
_BETWEEN = Outcome(
    Action.RECONNECT,
    "What answered is not the recognizer; trying again, and the audio is kept meanwhile. If it persists, check for a "
    "proxy between, and the endpoint's address.",
)
_MISSING = Outcome(
    Action.RECONNECT,
    "Trying again, and the audio is kept meanwhile. If it persists, check that GOOGLE_CLOUD_PROJECT is a project's id "
    "in which the Speech-to-Text API and billing are enabled, and GCP_STT_LOCATION a location.",
)
_UNEXPECTED = Outcome(
    Action.RECONNECT,
    "This status is not known; trying again, and the audio is kept meanwhile. If it persists, report this line.",
)
_LIMIT = Outcome(Action.ROTATE, "A limit of the recognizer's; the next stream goes on.")
_QUOTA = Outcome(
    Action.BACK_OFF,
    "The project's quota is used up: ask for more under 'Quotas' of the Speech-to-Text API, or take fewer calls.",
)
_MODEL = Outcome(
    Action.CHANGE_MODEL,
    "Set GCP_STT_MODEL=default, or choose a language that the model has in GCP_STT_LANGUAGE.",
)
_LOCATION = Outcome(
    Action.CHANGE_MODEL,
    "Choose a model that the location has in GCP_STT_MODEL, or a location that has it in GCP_STT_LOCATION.",
)
_NO_MODEL = (
    f"The model {LAST_MODEL} is refused too: choose a language that Speech-to-Text has in GCP_STT_LANGUAGE, such as "
    "he-IL or en-US, and with GCP_STT_LOCATION a location that has it."
)
_LANGUAGE = Outcome(
    Action.FAIL,
    "Set GCP_STT_LANGUAGE to a BCP 47 code that Speech-to-Text has, such as he-IL or en-US.",
)
_RESOURCE = Outcome(Action.FAIL, "Check that GOOGLE_CLOUD_PROJECT is a project's id and GCP_STT_LOCATION a location.")
_ARGUMENT = Outcome(
    Action.FAIL, "The recognizer refuses what a stream is opened with: check GCP_STT_LANGUAGE and GCP_STT_MODEL."
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
    "What refuses this is not the recognizer: check for a proxy between, and the endpoint's address.",
)
_CALM = Outcome(Action.BACK_OFF, "The peer asks for fewer requests; trying again more slowly.")
_METHOD = Outcome(Action.FAIL, "The endpoint does not serve StreamingRecognize: check its address.")

# What a message speaks of. The wording changes between models, versions and years; what it is about does not.
_LIMITS = r"maximum allowed stream duration|max duration|stream timed out|audio timeout"
_A_MODEL = r"\bmodels?\b|\bsupport feature"
_A_LANGUAGE = r"\b(language|locale)"
_A_LOCATION = r"\blocation\b"
_OF_BOTH = rf"(?s)(?=.*(?:{_A_MODEL}))(?=.*(?:{_A_LANGUAGE}|{_A_LOCATION}))"
# What native and grpcio say of an end that the recognizer has put no status to.
_HTTP = r"content type|HTTP status|http2 header with status"
_RESET = r"HTTP/2 error code|RST_STREAM"

# Statuses ("" for any), what the message speaks of ("" for anything), what it means. The first match counts.
_TABLE: tuple[tuple[str, str, Outcome], ...] = (
    ("OUT_OF_RANGE ABORTED", _LIMITS, _LIMIT),
    ("OUT_OF_RANGE", "streamed too", Outcome(Action.RECONNECT, "Audio came too slowly or too fast; trying again.")),
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
        Outcome(Action.RECONNECT, "The recognizer ended the stream although the call goes on; trying again."),
    ),
    ("", "", _UNEXPECTED),
)
_ROWS = tuple((frozenset(codes.split()), re.compile(kind, re.IGNORECASE), outcome) for codes, kind, outcome in _TABLE)


def outcome_of(code: str, message: str, *, model: str = "", has_worked: bool = False) -> Outcome:
    """What to do about a stream that ended with the gRPC status ``code`` and ``message``.

    :param model: which the stream was opened with: ``LAST_MODEL`` cannot be changed for another
    :param has_worked: the stream gave a result, so nothing that it was opened with was wrong; another is tried, and
        will say at once if that has changed
    """
    outcome = next(
        outcome for codes, kind, outcome in _ROWS if (not codes or code in codes) and (kind.search(message) is not None)
    )
    if has_worked and outcome.action in (Action.FAIL, Action.CHANGE_MODEL):
        return _TRANSIENT
    if outcome.action is Action.CHANGE_MODEL and model == LAST_MODEL:
        return Outcome(Action.FAIL, _NO_MODEL)
    return outcome
