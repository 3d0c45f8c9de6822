"""Google Cloud Speech-to-Text, v1p1beta1 and v2, by gRPC: requests, credentials, and two transports (our own HTTP/2,
and\ngrpcio).\n\nLoads nothing by itself: the recognizer is ``fastcall.google.recognizer.GoogleRecognizer``.\n"""
