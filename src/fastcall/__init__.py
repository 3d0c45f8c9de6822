"""fastcall answers phone calls: live audio in, one streaming speech-to-text session a call, utterances out."""

from fastcall._version import __version__

__all__ = ["__version__"]
