"""Twilio's signature, by the vectors that Twilio publishes, and by the spellings of a URL that are accepted."""

from __future__ import annotations

import pytest

from fastcall.errors import UsageError
from fastcall.twilio.signature import PublicUrl, is_signed, signature_of

TOKEN = "12345"
# https://www.twilio.com/docs/usage/security#validating-requests
DOCUMENTED = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675309"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
]


@pytest.mark.parametrize(
    ("url", "parameters", "signature"),
    [
        ("https://mycompany.com/myapp.php?foo=1&bar=2", DOCUMENTED, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com/myapp.php?foo=1&bar=2", DOCUMENTED[::-1], "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("wss://example.com/twilio/media", [], "Ko8aymfVk0cCegaxVKH0ZCvSyf4="),
        ("wss://example.com/twilio/media/", [], "2FSgdRajF1AcedC3OxeCdxXJk50="),
    ],
)
def test_the_signature_is_twilios(url: str, parameters: list[tuple[str, str]], signature: str) -> None:
    assert signature_of(TOKEN, url, parameters) == signature
    assert is_signed(signature, tokens=["other", TOKEN], urls=["wss://elsewhere/", url], parameters=parameters)
    assert not is_signed(signature, tokens=["other"], urls=[url], parameters=parameters)
    assert not is_signed(signature, tokens=[TOKEN], urls=[url + "x"], parameters=parameters)
    assert not is_signed(signature, tokens=[TOKEN], urls=[url], parameters=[*parameters, ("x", "y")])


@pytest.mark.parametrize("signature", ["", "Ko8aymfVk0cCegaxVKH0ZCvSyf4", "\udcff", "é", "=" * 10_000])
def test_what_is_no_signature_is_none(signature: str) -> None:
    assert not is_signed(signature, tokens=[TOKEN], urls=["wss://example.com/twilio/media"])


def test_nothing_is_signed_without_a_token() -> None:
    assert not is_signed(signature_of("", "wss://example.com/"), tokens=[], urls=["wss://example.com/"])


@pytest.mark.parametrize(
    ("public", "stream_url", "spellings"),
    [
        (
            "https://example.com",
            "wss://example.com/media",
            {
                "wss://example.com/media",
                "wss://example.com/media/",
                "wss://example.com:443/media",
                "wss://example.com:443/media/",
            },
        ),
        (
            "wss://Example.com:8443/calls/",
            "wss://Example.com:8443/calls/media",
            {
                "wss://Example.com/calls/media",
                "wss://Example.com/calls/media/",
                "wss://Example.com:8443/calls/media",
                "wss://Example.com:8443/calls/media/",
            },
        ),
        (
            "http://[::1]:8080",
            "ws://[::1]:8080/media",
            {"ws://[::1]/media", "ws://[::1]/media/", "ws://[::1]:8080/media", "ws://[::1]:8080/media/"},
        ),
    ],
)
def test_a_stream_is_signed_with_or_without_port_and_slash(public: str, stream_url: str, spellings: set[str]) -> None:
    url = PublicUrl.parse(public)
    assert url.stream_url("/media") == stream_url
    assert set(url.stream_spellings("/media")) == set(url.stream_spellings("/media/")) == spellings


def test_a_webhook_is_signed_with_its_query() -> None:
    url = PublicUrl.parse("wss://example.com")
    assert "https://example.com/twiml?a=%41&b=" in url.webhook_spellings("/twiml", "a=%41&b=")
    assert all(spelling.startswith("https://") for spelling in url.webhook_spellings("/twiml", ""))


@pytest.mark.parametrize(
    "text",
    ["example.com", "ftp://example.com", "https://", "https://a b", "https://user:pw@h/?a=b", "https://user:pw@h:x"],
)
def test_what_is_no_public_url_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="FASTCALL_PUBLIC_URL") as refused:
        PublicUrl.parse(text)
    assert "pw" not in str(refused.value)


def test_credentials_are_dropped_before_signing_or_are_not() -> None:
    """Twilio's page says that they are; its libraries differ. No stream is sent there with them, no log shows them."""
    url = PublicUrl.parse("https://user:pw@example.com:8443/calls")
    plain, given = "https://example.com/calls/twiml?a=b", "https://user:pw@example.com:8443/calls/twiml?a=b"
    assert {plain, given} <= set(url.webhook_spellings("/twiml", "a=b"))
    assert "wss://user:pw@example.com/calls/media" in url.stream_spellings("/media")
    assert len(set(url.stream_spellings("/media"))) == 8
    assert url.stream_url("/media") == "wss://example.com:8443/calls/media"
    assert "pw" not in repr(url) + str(url)
