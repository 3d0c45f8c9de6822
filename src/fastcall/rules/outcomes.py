"""What a stream's end means: status and message to what is done about it, in one table.

Unknown ends fail loudly: a table that guesses would hide the next change of the provider's.

Sources: https://cloud.google.com/speech-to-text/docs/reference/rpc, https://grpc.github.io/grpc/core/md_doc_statuscodes.html,
and messages that users of the service report.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Action", "Outcome", "outcome_of"]


class Action(Enum):
    """What the session does."""

    ROTATE = "rotate"
    """A limit of the provider's, not a failure: the next stream at once."""
    RECONNECT = "reconnect"
    """The next stream after a back-off, with replay."""
    CHANGE_MODEL = "change model"
    """The next stream at once, with the model ``default``; if that is refused too, fail."""
    BACK_OFF = "back off"
    """A quota: as ``RECONNECT``, but from a longer back-off on."""
    FAIL = "fail"
    """No stream of this call can succeed."""


@dataclass(slots=True, frozen=True)
class Outcome:
    """An action, and one sentence for the person who reads the log."""

    action: Action
    advice: str


_UNREACHABLE = (
    "The recogniser cannot be reached; trying again, and the audio is kept meanwhile. Check the network, or that "
    "SPEECH_EMULATOR_HOST names a running emulator (`fastcall emulator`)."
)
_TRANSIENT = "The recogniser broke off; trying again, and the audio is kept meanwhile."
_LIMIT = "A limit of the recogniser's; the next stream goes on."
_MODEL = "Set GCP_STT_MODEL=default, or choose a language that the model has in GCP_STT_LANGUAGE."
_LOCATION = "Choose a model that the location has in GCP_STT_MODEL, or a location that has it in GCP_STT_LOCATION."

# Status, a part of the message ("" for any), what it means. The first match counts.
_TABLE: tuple[tuple[str, str, Outcome], ...] = (
    ("OUT_OF_RANGE", "maximum allowed stream duration", Outcome(Action.ROTATE, _LIMIT)),
    ("OUT_OF_RANGE", "Audio Timeout Error", Outcome(Action.ROTATE, _LIMIT)),
    ("OUT_OF_RANGE", "streamed too", Outcome(Action.RECONNECT, "Audio came too slowly or too fast; trying again.")),
    ("ABORTED", "Max duration", Outcome(Action.ROTATE, _LIMIT)),
    ("ABORTED", "Stream timed out", Outcome(Action.ROTATE, _LIMIT)),
    ("ABORTED", "", Outcome(Action.RECONNECT, _TRANSIENT)),
    ("UNAVAILABLE", "", Outcome(Action.RECONNECT, _UNREACHABLE)),
    ("INTERNAL", "", Outcome(Action.RECONNECT, _TRANSIENT)),
    ("DEADLINE_EXCEEDED", "", Outcome(Action.RECONNECT, _TRANSIENT)),
    ("CANCELLED", "", Outcome(Action.RECONNECT, _TRANSIENT)),
    ("UNKNOWN", "Stream removed", Outcome(Action.RECONNECT, _TRANSIENT)),
    ("OK", "", Outcome(Action.RECONNECT, "The recogniser ended the stream although the call goes on; trying again.")),
    (
        "RESOURCE_EXHAUSTED",
        "",
        Outcome(
            Action.BACK_OFF,
            "The project's quota is used up: ask for more under 'Quotas' of the Speech-to-Text API, or take fewer "
            "calls.",
        ),
    ),
    ("INVALID_ARGUMENT", "not supported for language", Outcome(Action.CHANGE_MODEL, _MODEL)),
    ("INVALID_ARGUMENT", "is not supported by the model", Outcome(Action.CHANGE_MODEL, _MODEL)),
    ("INVALID_ARGUMENT", "does not exist in the location", Outcome(Action.CHANGE_MODEL, _LOCATION)),
    ("INVALID_ARGUMENT", "does not support feature", Outcome(Action.CHANGE_MODEL, _MODEL)),
    (
        "INVALID_ARGUMENT",
        "Invalid resource field value",
        Outcome(Action.FAIL, "Check that GOOGLE_CLOUD_PROJECT is a project's id and GCP_STT_LOCATION a location."),
    ),
    (
        "UNAUTHENTICATED",
        "",
        Outcome(
            Action.FAIL,
            "The credentials were not accepted: set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service "
            "account of a project in which the Speech-to-Text API is enabled.",
        ),
    ),
    (
        "PERMISSION_DENIED",
        "",
        Outcome(
            Action.FAIL,
            "The account may not use Speech-to-Text: enable the API in its project and give it the role "
            "'Cloud Speech Client'.",
        ),
    ),
    ("UNIMPLEMENTED", "", Outcome(Action.FAIL, "The endpoint does not serve StreamingRecognize: check its address.")),
)

_UNKNOWN = Outcome(Action.FAIL, "This status is not expected; if it persists, report it with this line.")


def outcome_of(code: str, message: str) -> Outcome:
    """What to do about a stream that ended with the gRPC status ``code`` and ``message``."""
    for status, part, outcome in _TABLE:
        if status == code and part in message:
            return outcome
    return _UNKNOWN
