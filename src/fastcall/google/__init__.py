"""Google Cloud Speech-to-Text, v1p1beta1 and v2, over gRPC: requests, credentials, and two transports (our own HTTP/2,
and grpcio).

Imports nothing by itself: the recognizer is ``fastcall.google.recognizer.GoogleRecognizer``.
"""
