"""mu-law and A-law under the names of the standard library's ``audioop``, which Python 3.13 no longer has.

Same arguments, same bytes, same errors. :mod:`fastcall.audioop` also has all other names of ``audioop``.
This module imports only the compiled codec. Fragments are any C-contiguous buffer (bytes, bytearray,
memoryview, array, numpy array); linear samples are signed, little-endian, ``width`` bytes each.

Sources: ITU-T Recommendation G.711 (11/1988); https://docs.python.org/3.12/library/audioop.html
"""

from fastcall._codec import alaw2lin, error, lin2alaw, lin2ulaw, ulaw2lin

__all__ = ["alaw2lin", "error", "lin2alaw", "lin2ulaw", "ulaw2lin"]
