"""The TwiML that a number's voice webhook is answered with.

Source: https://www.twilio.com/docs/voice/twiml/stream
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import Element, SubElement, tostring

__all__ = ["busy_twiml", "connect_twiml", "own_parameters", "redirect_twiml"]

# Name and value of a parameter together; Twilio's limit is "under 500 characters".
MAX_PARAMETER_CHARS = 499
# A start may have 100, those of the server among them.
MAX_OWN_PARAMETERS = 64

# What Twilio itself sends with a webhook; by GET it is in the query, among what the webhook's address has.
# https://www.twilio.com/docs/voice/twiml#request-parameters
_TWILIOS = re.compile(
    "AccountSid|AddOns|ApiVersion|ApplicationSid|Call(Sid|Status|Token)|Confidence|DialCall.*|Digits|Direction|Error(Code|Url)"
    "|FinishedOnKey|ForwardedFrom|ParentCallSid|Recording.*|SipHeader_.*|Sip(CallId|Domain|DomainSid|SourceIp)|SpeechResult"
    "|Stir.*|CallerName|(Called|Caller|From|To)(City|Country|State|Zip)?|bodySHA256|msg"
)
_OURS = "fastcall_"


def own_parameters(query: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What the webhook's address says beside what Twilio does, for the stream's parameters: of
    ``/twiml?tenant=acme``, ``tenant``. Names that begin as the server's own do are left out.

    :param query: the fields of the request's query; of a name that comes twice the last counts
    :return: at most 64
    """
    found = {
        name: value for name, value in query if name and not name.startswith(_OURS) and not _TWILIOS.fullmatch(name)
    }
    return dict(list(found.items())[:MAX_OWN_PARAMETERS])


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
