"""Google Cloud Speech-to-Text, v1p1beta1 and v2, by gRPC, and whatever speaks its protocol."""

from fastcall.adapters.google.dialects import Version1, Version2
from fastcall.adapters.google.recognizer import GoogleRecognizer

__all__ = ["GoogleRecognizer", "Version1", "Version2"]
