"""The TwiML that a number's voice webhook is answered with.

Source: https://www.twilio.com/docs/voice/twiml/stream
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement, tostring

__all__ = ["busy_twiml", "connect_twiml", "redirect_twiml"]

# Name and value of a parameter together; Twilio's limit is "under 500 characters".
MAX_PARAMETER_CHARS = 499


def connect_twiml(stream_url: str, parameters: Mapping[str, str]) -> str:
    """Connect the call to the stream. Parameters come back in the stream's ``start``; empty ones and those that Twilio
    would refuse for their length are left out."""
    response = Element("Response")
    stream = SubElement(SubElement(response, "Connect"), "Stream", url=stream_url)
    for name, value in parameters.items():
        if value and len(name) + len(value) <= MAX_PARAMETER_CHARS:
            SubElement(stream, "Parameter", name=_xml_text(name), value=_xml_text(value))
    return _document(response)


def busy_twiml() -> str:
    """Refuse the call with the busy signal; it costs the caller nothing."""
    response = Element("Response")
    SubElement(response, "Reject", reason="busy")
    return _document(response)


def redirect_twiml(url: str) -> str:
    """Let another webhook take the call."""
    response = Element("Response")
    SubElement(response, "Redirect", method="POST").text = url
    return _document(response)


def _document(response: Element) -> str:
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(response, encoding="unicode") + "\n"


# XML 1.0 section 2.2: what no document may hold, escaped or not.
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _xml_text(text: str) -> str:
    return _NO_XML.sub("", text)
