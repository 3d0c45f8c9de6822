"""What each end of a stream means."""

from __future__ import annotations

import pytest

from fastcall.rules.outcomes import Action, outcome_of

MODEL = "Invalid recognition 'config': The phone_call model is currently not supported for language : iw-IL."
CHIRP = 'The language "uk-UA" is not supported by the model "telephony" in the location named "global".'


@pytest.mark.parametrize(
    ("code", "message", "action"),
    [
        ("OUT_OF_RANGE", "Exceeded maximum allowed stream duration of 305 seconds.", Action.ROTATE),
        ("OUT_OF_RANGE", "Audio Timeout Error: Long duration elapsed without audio. …", Action.ROTATE),
        ("OUT_OF_RANGE", "Audio data is being streamed too fast. …", Action.RECONNECT),
        ("ABORTED", "Max duration of 5 minutes reached for stream.", Action.ROTATE),
        ("ABORTED", "Stream timed out after receiving no more client requests.", Action.ROTATE),
        ("ABORTED", "something else", Action.RECONNECT),
        *((code, "", Action.RECONNECT) for code in ("UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "CANCELLED", "OK")),
        ("RESOURCE_EXHAUSTED", "Quota exceeded for quota metric …", Action.BACK_OFF),
        ("INVALID_ARGUMENT", MODEL, Action.CHANGE_MODEL),
        ("INVALID_ARGUMENT", CHIRP, Action.CHANGE_MODEL),
        (
            "INVALID_ARGUMENT",
            'The model "chirp_2" does not exist in the location named "us".',
            Action.CHANGE_MODEL,
        ),
        ("INVALID_ARGUMENT", "Recognizer does not support feature: word_time_offsets", Action.CHANGE_MODEL),
        ("INVALID_ARGUMENT", "Invalid resource field value in the request.", Action.FAIL),
        ("INVALID_ARGUMENT", "bad encoding..", Action.FAIL),
        ("UNAUTHENTICATED", "", Action.FAIL),
        ("PERMISSION_DENIED", "", Action.FAIL),
        ("UNIMPLEMENTED", "", Action.FAIL),
        ("OUT_OF_RANGE", "a new limit", Action.FAIL),
        ("SOMETHING_NEW", "", Action.FAIL),
    ],
)
def test_each_row(code: str, message: str, action: Action) -> None:
    outcome = outcome_of(code, message)
    assert outcome.action is action
    assert outcome.advice.endswith(".")
