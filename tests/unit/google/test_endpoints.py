"""Google's endpoints, by version, location and universe."""

from __future__ import annotations

import pytest

from fastcall.errors import UsageError
from fastcall.google.endpoints import is_google_host, speech_endpoint


@pytest.mark.parametrize(
    ("version", "location", "universe", "endpoint"),
    [
        ("v1", "global", None, "speech.googleapis.com:443"),
        ("v1", "eu", None, "eu-speech.googleapis.com:443"),
        ("v1", "us", None, "us-speech.googleapis.com:443"),
        ("v2", "global", None, "speech.googleapis.com:443"),
        ("v2", "eu", None, "eu-speech.googleapis.com:443"),
        ("v2", "europe-west4", None, "europe-west4-speech.googleapis.com:443"),
        ("v1", "global", "apis-tpczero.example", "speech.apis-tpczero.example:443"),
        ("v2", "eu", "apis.example", "eu-speech.apis.example:443"),
    ],
)
def test_where_it_is(version: str, location: str, universe: str | None, endpoint: str) -> None:
    assert speech_endpoint(version, location, universe) == endpoint
    assert is_google_host(endpoint, universe)


@pytest.mark.parametrize("location", ["", "evil.example/", "a b", "x.y", "h:1"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_location_that_is_none_is_named(version: str, location: str) -> None:
    with pytest.raises(UsageError, match="GCP_STT_LOCATION"):
        speech_endpoint(version, location)


def test_version_1_has_no_regions() -> None:
    """Audio that is meant to stay in a region must not go to the global endpoint in silence."""
    with pytest.raises(UsageError, match=r"^GCP_STT_LOCATION=europe-west4: version 1 of the API has .*google-v2$"):
        speech_endpoint("v1", "europe-west4")


@pytest.mark.parametrize("universe", ["https://x", "a..b", "x/y", "."])
def test_a_universe_that_is_none_is_named(universe: str) -> None:
    with pytest.raises(UsageError, match="GOOGLE_CLOUD_UNIVERSE_DOMAIN"):
        speech_endpoint("v1", "global", universe)


@pytest.mark.parametrize(
    ("endpoint", "is_google"),
    [
        ("speech.googleapis.com:443", True),
        ("EU-Speech.GoogleAPIs.com:443", True),
        ("speech-x.p.googleapis.com:443", True),
        ("notgoogleapis.com:443", False),
        ("googleapis.com.example:443", False),
        ("127.0.0.1:50051", False),
        ("[::1]:50051", False),
    ],
)
def test_which_hosts_are_googles(endpoint: str, is_google: bool) -> None:
    assert is_google_host(endpoint) is is_google
