"""Google Cloud Speech-to-Text, v1p1beta1 and v2, over gRPC: requests, credentials, and two transports (``native``:
HTTP/2 by libnghttp2 on the event loop; ``grpcio``).

Imports nothing itself: the recognizer is ``fastcall.google.recognizer.GoogleRecognizer``.
"""
