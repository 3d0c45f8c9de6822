"""Which models exist for which languages and locations, according to clients' reports and Google's pages.

None means "all". The tables serve to test how an application handles a refusal; for what exists today, see
Google's own tables.
"""

from __future__ import annotations

from typing import Final

__all__ = ["V1_LIMITED_MODELS", "V1_MODELS", "V2_MODELS", "canonical_language", "covers"]

_OLD_CODES: Final = {"he": "iw", "he-il": "iw-IL"}

V1_MODELS: Final = frozenset(
    {
        "",
        "default",
        "command_and_search",
        "latest_long",
        "latest_short",
        "phone_call",
        "telephony",
        "telephony_short",
        "video",
        "medical_conversation",
        "medical_dictation",
    }
)
"""Models of v1 and v1p1beta1; "" lets Google choose. Those without an entry below support every language."""


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ENHANCED: Final = _codes(
    "en-us en-gb en-au en-in de-de es-es es-us fr-fr fr-ca it-it ja-jp pt-br ru-ru nl-nl cmn-hans-cn"
)
_LATEST: Final = _ENHANCED | _codes("hi-in ko-kr pl-pl pt-pt tr-tr uk-ua vi-vn da-dk fi-fi")

V1_LIMITED_MODELS: Final[dict[str, frozenset[str]]] = {
    "latest_long": _LATEST,
    "latest_short": _LATEST,
    "phone_call": _ENHANCED - {"cmn-hans-cn"},
    "telephony": _ENHANCED,
    "telephony_short": _ENHANCED,
    "video": frozenset({"en-us", "en-gb"}),
    "medical_conversation": frozenset({"en-us"}),
    "medical_dictation": frozenset({"en-us"}),
}

_CHIRP_2: Final = _codes(
    "cmn-hans-cn cmn-hant-tw yue-hant-hk en-au en-in en-gb en-us fr-ca fr-fr de-de it-it ja-jp ko-kr pt-br es-es es-us"
)
_CHIRP_3_LOCATIONS: Final = _codes(
    "us eu asia-northeast1 asia-southeast1 asia-south1 europe-west2 europe-west3 northamerica-northeast1"
)

V2_MODELS: Final[dict[str, tuple[frozenset[str] | None, frozenset[str] | None]]] = {
    "long": (None, None),
    "short": (None, None),
    "telephony": (None, _ENHANCED),
    "telephony_short": (None, _ENHANCED),
    "latest_long": (None, _LATEST),
    "latest_short": (None, _LATEST),
    "chirp_2": (frozenset({"us-central1", "europe-west4"}), _CHIRP_2),
    "chirp_3": (_CHIRP_3_LOCATIONS, _LATEST | _CHIRP_2 | {"iw-il", "auto"}),
}
"""Model of v2 -> (locations, languages)."""


def canonical_language(code: str) -> str:
    """The code as in Google's messages: Hebrew is `iw`."""
    return _OLD_CODES.get(code.lower(), code)


def covers(table: frozenset[str] | None, name: str) -> bool:
    return table is None or name.lower() in table
