"""The TwiML with which a number's voice webhook is answered.

Source: https://www.twilio.com/docs/voice/twiml/stream
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import Element, SubElement, tostring

__all__ = ["PASSED_ON", "busy_twiml", "connect_twiml", "own_parameters", "redirect_twiml"]

# Name and value of a parameter together; Twilio's limit is "under 500 characters".
MAX_PARAMETER_CHARS = 499
# A start may have 100, including the server's.
MAX_OWN_PARAMETERS = 64

PASSED_ON = ("From", "To", "Direction", "AnsweredBy")
"""What of a webhook's request the stream gets as parameters: who called whom, and who has answered."""

# What Twilio sends with a webhook; with GET it is in the query, among the webhook address's own fields.
# https://www.twilio.com/docs/voice/twiml#request-parameters
_TWILIOS = re.compile(
    "AccountSid|AddOns|AnsweredBy|ApiVersion|ApplicationSid|Call(Sid|Status|Token)|Confidence|DialCall.*|Digits|Direction"
    "|Error(Code|Url)|FinishedOnKey|ForwardedFrom|MachineDetectionDuration|ParentCallSid|Recording.*|SipHeader_.*"
    "|Sip(CallId|Domain|DomainSid|SourceIp)|SpeechResult"
    "|Stir.*|CallerName|(Called|Caller|From|To)(City|Country|State|Zip)?|bodySHA256|msg"
)
_OURS = "fastcall_"


def own_parameters(query: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The webhook address's own query fields, for the stream's parameters: of ``/twiml?tenant=acme``,
    ``tenant``. Names with the server's own prefix are left out.

    :param query: the fields of the request's query; of a repeated name the last counts
    :return: at most 64
    """
    found = {
        name: value for name, value in query if name and not name.startswith(_OURS) and not _TWILIOS.fullmatch(name)
    }
    return dict(list(found.items())[:MAX_OWN_PARAMETERS])


def connect_twiml(stream_url: str, parameters: Mapping[str, str]) -> str:
    """Connect the call to the stream. Parameters come back in the stream's ``start``; empty ones, and those too long
    for Twilio, are left out."""
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
    """Redirect the call to another webhook."""
    response = Element("Response")
    SubElement(response, "Redirect", method="POST").text = url
    return _document(response)


def _document(response: Element) -> str:
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(response, encoding="unicode") + "\n"


# XML 1.0 section 2.2: characters that no document may contain, escaped or not.
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _xml_text(text: str) -> str:
    return _NO_XML.sub("", text)
