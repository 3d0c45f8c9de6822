"""What each end of a stream means."""

from __future__ import annotations

import pytest

from fastcall.google.grpc_status import STATUS_NAMES
from fastcall.recognition.status_policy import LAST_MODEL, Action, outcome_of

REFUSED_MODELS = [
    ("INVALID_ARGUMENT", "Invalid recognition 'config': The phone_call model is not supported for language x."),
    ("INVALID_ARGUMENT", 'The language "uk-UA" is not supported by the model "telephony" in the location "global".'),
    ("INVALID_ARGUMENT", 'Speech does not support the "gu-IN" language code for the "chirp_2" model.'),
    ("INVALID_ARGUMENT", "The requested locale is not available for the latest_long model."),
    ("INTERNAL", "The requested locale is not available for the latest_long model."),
    ("INTERNAL", 'Recognizer does not support the "gu-IN" language code for the "chirp_2" model'),
    ("NOT_FOUND", 'The model "chirp_2" is not found in the location "us".'),
    ("FAILED_PRECONDITION", 'Model "chirp" has no locale he-IL.'),
    ("UNIMPLEMENTED", "Language he-IL is not implemented by this model."),
    ("INVALID_ARGUMENT", 'The model "chirp_2" does not exist in the location named "us".'),
    ("INVALID_ARGUMENT", "Incorrect model specified."),
    ("INVALID_ARGUMENT", "The video model is only available in en-US."),
    ("INVALID_ARGUMENT", "Recognizer does not support feature: word_time_offsets"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "message", "action"),
    [
        ("OUT_OF_RANGE", "Exceeded maximum allowed stream duration of 305 seconds.", Action.ROTATE),
        ("OUT_OF_RANGE", "Audio Timeout Error: Long duration elapsed without audio. …", Action.ROTATE),
        ("OUT_OF_RANGE", "Audio data is being streamed too fast. …", Action.RECONNECT),
        ("OUT_OF_RANGE", "a new limit", Action.RECONNECT),
        ("ABORTED", "Max duration of 5 minutes reached for stream.", Action.ROTATE),
        ("ABORTED", "Stream timed out after receiving no more client requests.", Action.ROTATE),
        ("RESOURCE_EXHAUSTED", "Quota exceeded for quota metric …", Action.BACK_OFF),
        ("INVALID_ARGUMENT", "Invalid resource field value in the request.", Action.FAIL),
        ("INVALID_ARGUMENT", "Invalid recognition 'config': bad language code..", Action.FAIL),
        ("INVALID_ARGUMENT", "bad encoding..", Action.FAIL),
        ("UNAUTHENTICATED", "", Action.FAIL),
        ("PERMISSION_DENIED", "", Action.FAIL),
        ("UNIMPLEMENTED", "", Action.FAIL),
        ("INTERNAL", "the model's server is overloaded", Action.RECONNECT),
        ("SOMETHING_NEW", "", Action.RECONNECT),
    ],
)
def test_each_row(code: str, message: str, action: Action) -> None:
    outcome = outcome_of(code, message)
    assert outcome.action is action
    assert outcome.advice.endswith(".")


def test_only_what_cannot_get_better_ends_recognition() -> None:
    final = {code for code in STATUS_NAMES if outcome_of(code, "").action is Action.FAIL}
    assert final == {"INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"}


def test_a_token_that_cannot_be_had_is_no_fault_of_the_network_to_the_recognizer() -> None:
    for words in (
        "no access token within 10 s: oauth2.googleapis.com/token: HTTP 502",
        "the access token was not accepted: x",
    ):
        outcome = outcome_of("UNAVAILABLE", words)
        assert outcome.action is Action.RECONNECT
        assert "token endpoint" in outcome.advice
    assert "token" not in outcome_of("UNAVAILABLE", "connection refused").advice


@pytest.mark.parametrize(("code", "message"), REFUSED_MODELS)
def test_a_refused_model_is_known_by_what_the_message_speaks_of(code: str, message: str) -> None:
    outcome = outcome_of(code, message, model="chirp_2")
    assert outcome.action is Action.CHANGE_MODEL
    assert "GCP_STT_MODEL" in outcome.advice
    last = outcome_of(code, message, model=LAST_MODEL)
    assert last.action is Action.FAIL
    assert "GCP_STT_LANGUAGE" in last.advice


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("Invalid recognition 'config': bad language code..", "GCP_STT_LANGUAGE"),
        ('Invalid language_codes: "xx".', "GCP_STT_LANGUAGE"),
        ('The locale "xx" is unknown.', "GCP_STT_LANGUAGE"),
        ('The model "chirp_2" does not exist in the location named "us".', "GCP_STT_LOCATION"),
        ("Invalid resource field value in the request.", "GOOGLE_CLOUD_PROJECT"),
    ],
)
def test_the_advice_names_the_setting(message: str, name: str) -> None:
    assert name in outcome_of("INVALID_ARGUMENT", message, model="chirp_2").advice


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"])
@pytest.mark.parametrize("message", ["", "The model is not supported for the language."])
def test_a_stream_that_worked_was_opened_with_nothing_wrong(code: str, message: str) -> None:
    assert outcome_of(code, message, has_worked=True).action is Action.RECONNECT


@pytest.mark.parametrize(("code", "message"), [("UNKNOWN", "the peer answered with HTTP status 500"), ("INTERNAL", "")])
def test_what_is_tried_again_is_named(code: str, message: str) -> None:
    assert "retrying" in outcome_of(code, message).advice
