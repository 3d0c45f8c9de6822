"""HPACK, RFC 7541: decoding in full, encoding in its simplest form (literals, no table, no Huffman)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Final

__all__ = ["MAX_HEADER_LIST_BYTES", "Decoder", "HpackError", "encode"]

MAX_HEADER_LIST_BYTES: Final = 65_536
_TABLE_BYTES: Final = 4096  # SETTINGS_HEADER_TABLE_SIZE stays at its default
_ENTRY_OVERHEAD: Final = 32

Header = tuple[bytes, bytes]

# Appendix A: names, those with a value as name=value.
_STATIC_TEXT: Final = """
:authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https :status=200
:status=204 :status=206 :status=304 :status=400 :status=404 :status=500 accept-charset
accept-encoding=gzip,_deflate accept-language accept-ranges accept access-control-allow-origin age allow
authorization cache-control content-disposition content-encoding content-language content-length
content-location content-range content-type cookie date etag expect expires from host if-match
if-modified-since if-none-match if-range if-unmodified-since last-modified link location max-forwards
proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie
strict-transport-security transfer-encoding user-agent vary via www-authenticate
"""


def _static_entry(text: str) -> Header:
    name, _, value = text.partition("=")
    return name.encode(), value.replace("_", " ").encode()


_STATIC: Final = tuple(_static_entry(entry) for entry in _STATIC_TEXT.split())

# Appendix B as the lengths of the codes: the code is canonical, so lengths and the order of symbols define it.
_CODES_BY_LENGTH: Final[dict[int, bytes]] = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: bytes.fromhex("808283a2b8c2e0e2"),
    21: bytes.fromhex("99a1a7acb0b1b3d1d8d9e3e5e6"),
    22: bytes.fromhex("8184858688929a9ca0a3a4a9aaadb2b5b9babbbdbec4c6e4e8e9"),
    23: bytes.fromhex("0187898a8b8c8d8f93959697989b9d9ea5a6a8aeafb4b6b7bcbfc5e7ef"),
    24: bytes.fromhex("098e9091949fabced7e1eced"),
    25: bytes.fromhex("c7cfeaeb"),
    26: bytes.fromhex("c0c1c8c9cacdd2d5dadbeef0f2f3ff"),
    27: bytes.fromhex("cbccd3d4d6dddedff1f4f5f6f7f8fafbfcfdfe"),
    28: bytes.fromhex("02030405060708" + "0b0c0e0f1011121314151718191a1b1c1d1e1f7fdcf9"),
    30: bytes.fromhex("0a0d16"),  # and the end-of-string symbol, which must not occur
}


class HpackError(Exception):
    """The header block cannot be decoded: the connection is lost (COMPRESSION_ERROR)."""


@cache
def _huffman_codes() -> dict[tuple[int, int], int]:
    """(length, code) -> byte."""
    codes, code, previous = {}, 0, 5
    for length, symbols in _CODES_BY_LENGTH.items():
        code <<= length - previous
        previous = length
        for symbol in symbols:
            codes[length, code] = symbol
            code += 1
    return codes


def _huffman_decode(data: bytes) -> bytes:
    codes = _huffman_codes()
    out = bytearray()
    code = length = 0
    for byte in data:
        for shift in range(7, -1, -1):
            code = code << 1 | (byte >> shift & 1)
            length += 1
            symbol = codes.get((length, code))
            if symbol is not None:
                out.append(symbol)
                code = length = 0
            elif length >= 30:
                raise HpackError("invalid Huffman code")
    if length > 7 or code != (1 << length) - 1:
        raise HpackError("invalid Huffman padding")
    return bytes(out)


class Decoder:
    """Decodes the header blocks of one connection, in order."""

    def __init__(self) -> None:
        self._dynamic: deque[Header] = deque()
        self._size = 0
        self._limit = _TABLE_BYTES
        # The same strings come with each stream: remember what they decode to.
        self._huffman_seen: dict[bytes, bytes] = {}

    def decode(self, block: bytes) -> list[Header]:
        """Raises HpackError; the decoder must not be used after that."""
        headers: list[Header] = []
        total = at = 0
        while at < len(block):
            byte = block[at]
            if byte & 0x80:
                index, at = _integer(block, at, 7)
                headers.append(self._entry(index))
            elif byte & 0x40:
                header, at = self._literal(block, at, 6)
                self._insert(header)
                headers.append(header)
            elif byte & 0x20:
                limit, at = _integer(block, at, 5)
                self._resize(limit)
                continue
            else:
                header, at = self._literal(block, at, 4)
                headers.append(header)
            total += len(headers[-1][0]) + len(headers[-1][1]) + _ENTRY_OVERHEAD
            if total > MAX_HEADER_LIST_BYTES:
                raise HpackError("header list too large")
        return headers

    def _entry(self, index: int) -> Header:
        if 1 <= index <= len(_STATIC):
            return _STATIC[index - 1]
        index -= len(_STATIC) + 1
        if 0 <= index < len(self._dynamic):
            return self._dynamic[index]
        raise HpackError("index outside of the tables")

    def _literal(self, block: bytes, at: int, bits: int) -> tuple[Header, int]:
        index, at = _integer(block, at, bits)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = self._string(block, at)
        value, at = self._string(block, at)
        return (name, value), at

    def _string(self, block: bytes, at: int) -> tuple[bytes, int]:
        if at >= len(block):
            raise HpackError("truncated header block")
        is_huffman = block[at] & 0x80
        length, at = _integer(block, at, 7)
        end = at + length
        if end > len(block):
            raise HpackError("truncated header block")
        raw = block[at:end]
        if not is_huffman:
            return raw, end
        text = self._huffman_seen.get(raw)
        if text is None:
            text = _huffman_decode(raw)
            if len(self._huffman_seen) < 200:
                self._huffman_seen[raw] = text
        return text, end

    def _insert(self, header: Header) -> None:
        self._dynamic.appendleft(header)
        self._size += len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD
        self._evict()

    def _resize(self, limit: int) -> None:
        if limit > _TABLE_BYTES:
            raise HpackError("dynamic table larger than allowed")
        self._limit = limit
        self._evict()

    def _evict(self) -> None:
        while self._size > self._limit:
            name, value = self._dynamic.pop()
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """An integer with a prefix of `bits` bits, and where the next thing begins."""
    mask = (1 << bits) - 1
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in range(0, 28, 7):
        if at >= len(block):
            break
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise HpackError("invalid integer")


def encode(headers: Iterable[tuple[str, str]]) -> bytes:
    """Literals without indexing: never touches a table, so it needs no state and no agreement."""
    out = bytearray()
    for name, value in headers:
        out.append(0)
        for text in (name.encode("ascii"), value.encode("latin-1")):
            out += _length(len(text))
            out += text
    return bytes(out)


def _length(value: int) -> bytes:
    if value < 127:
        return bytes([value])
    out = bytearray([127])
    value -= 127
    while value >= 128:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
