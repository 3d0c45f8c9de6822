"""TwiML: as documented, and whatever a parameter holds, an XML document that says it."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from fastcall.twilio.twiml import busy_twiml, connect_twiml, own_parameters, redirect_twiml


def test_a_call_is_connected_to_the_stream() -> None:
    assert connect_twiml("wss://example.com/media", {"From": "+1", "empty": ""}) == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Response><Connect><Stream url="wss://example.com/media"><Parameter name="From" value="+1" />'
        "</Stream></Connect></Response>\n"
    )


def test_a_parameter_that_twilio_would_refuse_is_left_out() -> None:
    root = ElementTree.fromstring(connect_twiml("wss://h/", {"a": "x" * 499, "b": "x" * 498}).encode())
    assert [parameter.get("name") for parameter in root.iter("Parameter")] == ["b"]


@given(st.text(min_size=1, max_size=50))
def test_whatever_a_caller_is_called_the_document_is_xml(text: str) -> None:
    root = ElementTree.fromstring(connect_twiml("wss://h/media", {"From": text}).encode("utf-8", "surrogatepass"))
    value = next(root.iter("Parameter")).get("value")
    assert value is not None
    assert set(value) <= set(text)


def test_markup_in_a_parameter_stays_text() -> None:
    evil = '"/><Dial>+1900</Dial><x y="&'
    root = ElementTree.fromstring(connect_twiml("wss://h/media", {"From": evil}).encode())
    assert [element.tag for element in root.iter()] == ["Response", "Connect", "Stream", "Parameter"]
    assert next(root.iter("Parameter")).get("value") == evil


def test_busy_and_redirect() -> None:
    assert '<Response><Reject reason="busy" /></Response>' in busy_twiml()
    assert '<Redirect method="POST">https://h/a?b=1&amp;c=2</Redirect>' in redirect_twiml("https://h/a?b=1&c=2")


def test_what_the_address_says_is_told_from_what_twilio_says() -> None:
    query = [
        ("tenant", "1"),
        ("tenant", "2"),
        ("", "x"),
        ("Tone", "z"),
        ("ToZip", "9"),
        ("fastcall_x", "no"),
        ("CallSid", "CA1"),
        ("AnsweredBy", "human"),
        ("MachineDetectionDuration", "2400"),
    ]
    assert own_parameters(query) == {"tenant": "2", "Tone": "z"}
    assert len(own_parameters((f"n{number}", "x") for number in range(1000))) == 64
