"""The scan of media messages: what it takes, what it leaves, and that it never misreads.

The invariant: whatever the bytes, ``scan_media`` gives None or exactly what ``json`` and ``base64`` give.
"""

from __future__ import annotations

import base64
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from fastcall._codec import instruction_sets, scan_media, use_instructions

STREAM_SID = "MZ0123456789abcdef0123456789abcdef"
AUDIO = bytes(range(96, 256))


def fields(**media):
    """The fields of a media message as Twilio sends it; ``media`` replaces some of its object's."""
    return {
        "event": "media",
        "sequenceNumber": "3",
        "media": {
            "track": "inbound",
            "chunk": "1",
            "timestamp": "155",
            "payload": base64.b64encode(AUDIO).decode(),
            **media,
        },
        "streamSid": STREAM_SID,
    }


def compact(message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


MESSAGE = compact(fields())
EXPECTED = (STREAM_SID, 155, AUDIO, 1, 3)


@pytest.fixture(params=instruction_sets())
def _instructions(request):
    """The test runs once with the base64 loop of each instruction set that this processor has."""
    before = use_instructions(request.param)
    yield
    use_instructions(before)


each_instruction_set = pytest.mark.usefixtures("_instructions")


def test_a_message_as_twilio_sends_it():
    assert scan_media(MESSAGE) == EXPECTED == reference.scan_media(MESSAGE)


@pytest.mark.parametrize("wrap", [bytearray, memoryview, lambda data: memoryview(b"{" + data)[1:]])
def test_any_buffer_of_bytes(wrap):
    assert scan_media(wrap(MESSAGE)) == EXPECTED


def test_every_order_of_keys():
    message = fields()
    for outer in itertools.permutations(message):
        for inner in itertools.permutations(message["media"]):
            turned = {key: message[key] for key in outer} | {"media": {key: message["media"][key] for key in inner}}
            assert scan_media(compact(turned)) == EXPECTED


def test_space_wherever_json_allows_it():
    spaced = MESSAGE
    for mark in (b"{", b"}", b":", b","):
        spaced = spaced.replace(mark, b" \t\r\n" + mark + b"\n\r\t ")
    assert scan_media(spaced) == EXPECTED
    assert scan_media(json.dumps(fields(), indent=2).encode()) == EXPECTED


def test_counters_may_be_missing():
    message = fields()
    del message["sequenceNumber"], message["media"]["chunk"]
    assert scan_media(compact(message)) == (*EXPECTED[:3], -1, -1)


def test_the_stream_need_not_be_named():
    message = fields()
    del message["streamSid"]
    assert scan_media(compact(message)) == ("", *EXPECTED[1:])


@each_instruction_set
def test_payloads_of_every_padding():
    for count in (*range(1, 100), 160, 240, 16_383, 16_384):
        audio = (AUDIO * 103)[:count]
        message = compact(fields(payload=base64.b64encode(audio).decode()))
        assert scan_media(message) == (STREAM_SID, 155, audio, 1, 3), count


@pytest.mark.parametrize("timestamp", ["0", "5", "007", "9999999999"])
def test_timestamps(timestamp):
    assert scan_media(compact(fields(timestamp=timestamp)))[1] == int(timestamp)


@pytest.mark.parametrize("key", ["event", "media"])
def test_a_missing_field(key):
    message = fields()
    del message[key]
    assert scan_media(compact(message)) is None


@pytest.mark.parametrize("key", ["track", "timestamp", "payload"])
def test_a_missing_field_of_media(key):
    message = fields()
    del message["media"][key]
    assert scan_media(compact(message)) is None


@pytest.mark.parametrize(
    "media",
    [
        {"track": "outbound"},
        {"track": "inbound_track"},
        {"timestamp": ""},
        {"timestamp": "-1"},
        {"timestamp": "+1"},
        {"timestamp": "1.5"},
        {"timestamp": " 1"},
        {"timestamp": "1_0"},
        {"timestamp": "12345678901"},
        {"timestamp": "١"},
        {"timestamp": 155},
        {"timestamp": None},
        {"payload": ""},
        {"payload": "AAA"},
        {"payload": "===="},
        {"payload": "A==="},
        {"payload": "AA=A"},
        {"payload": "AB=="},  # bits left over that are not zero
        {"payload": "AAB="},
        {"payload": "AAAA===="},
        {"payload": "AA==AAAA"},
        {"payload": "AA A"},
        {"payload": "AA-_"},
        {"payload": "AA\nA"},
        {"payload": "AA\\A"},
        {"payload": "AAAÄ"},
        {"payload": "////é"},
        {"payload": base64.b64encode(bytes(16_385)).decode()},
        {"payload": None},
        {"payload": ["AAAA"]},
        {"payload": {"payload": "AAAA"}},
        {"chunk": 1},
        {"chunk": ""},
        {"chunk": "-1"},
        {"chunk": "12345678901"},
        {"chunk": "1\\u0031"},
        {"chunk": "é"},
        {"extra": "1"},
        {"event": "media"},
    ],
)
def test_what_is_left_to_json(media):
    assert scan_media(compact(fields(**media))) is None
    assert scan_media(json.dumps(fields(**media), ensure_ascii=False).encode()) is None


@pytest.mark.parametrize(
    "other",
    [
        {"event": "start"},
        {"event": "MEDIA"},
        {"event": "media\x00"},
        {"streamSid": ""},
        {"streamSid": "M" * 65},
        {"streamSid": "MZ\x7f"},
        {"streamSid": "MZ\\"},
        {"streamSid": "MZé"},
        {"streamSid": None},
        {"sequenceNumber": 3},
        {"sequenceNumber": "\t"},
        {"sequenceNumber": "x"},
        {"unknown": "1"},
        {"media": "AAAA"},
        {"media": {}},
        {"media": []},
    ],
)
def test_other_fields_that_are_left_to_json(other):
    assert scan_media(compact(fields() | other)) is None
    assert scan_media(json.dumps(fields() | other, ensure_ascii=False).encode()) is None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b" ",
        b"{}",
        b"[]",
        b"null",
        b'"media"',
        b"{",
        b'{"',
        b'{"event"',
        b'{"event":',
        b'{"event":"media",}',
        b"\xef\xbb\xbf" + MESSAGE,
        MESSAGE.decode().encode("utf-16"),
        MESSAGE + b"}",
        MESSAGE + b"\x00",
        MESSAGE + MESSAGE,
        MESSAGE[:-1] + b",}",
        MESSAGE.replace(b",", b",,", 1),
        MESSAGE.replace(b'"', b"'"),
        MESSAGE.replace(b'"event"', b'"event" "event"'),
        MESSAGE.replace(b'{"event"', b'{"event":"media","event"'),
        MESSAGE.replace(b'"chunk"', b'"chunk":"1","chunk"'),
        MESSAGE.replace(b'"event"', b'"\\u0065vent"'),
        MESSAGE.replace(b'"media":{', b'"media":{"media":{'),
    ],
)
def test_broken_and_unusual_messages(message):
    assert scan_media(message) is None


def test_cut_at_every_byte():
    assert [cut for cut in range(len(MESSAGE)) if scan_media(MESSAGE[:cut]) is not None] == []


def test_cut_at_every_byte_with_the_rest_in_memory():
    """The scan may not look past the end of the buffer, where the rest of the message happens to lie."""
    whole = memoryview(MESSAGE)
    assert [cut for cut in range(len(MESSAGE)) if scan_media(whole[:cut]) is not None] == []


def test_with_every_byte_appended():
    taken = {byte for byte in range(256) if scan_media(MESSAGE + bytes([byte])) is not None}
    assert taken == set(b" \t\r\n")


@each_instruction_set
def test_every_byte_replaced_by_every_byte():
    """All 100,000 single errors: taken wrongly, never; what is taken is what json and base64 give."""
    taken = 0
    for at in range(len(MESSAGE)):
        broken = bytearray(MESSAGE)
        for byte in range(256):
            broken[at] = byte
            found = scan_media(broken)
            if found is not None:
                taken += 1
                assert found == reference.scan_media(bytes(broken))
    assert taken > len(AUDIO) * 64  # other base64, other digits and other stream SIDs are as good


@given(data=st.data())
def test_any_mutation_is_read_as_json_reads_it_or_not_at_all(data):
    message = bytearray(MESSAGE)
    piece = st.one_of(
        st.binary(max_size=3),
        st.sampled_from(
            [b'"', b"\\", b"{", b"}", b",", b":", b"=", b" ", b'"event":"media"', b'"payload":"AAAA"', b"\\u0041"]
        ),
    )
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(message)))
        stop = data.draw(st.integers(start, min(len(message), start + 12)))
        message[start:stop] = data.draw(piece)
    found = scan_media(message)
    assert found is None or found == reference.scan_media(bytes(message))


texts = st.one_of(st.sampled_from(["media", "inbound", "155", STREAM_SID, "AAAA", "AA==", ""]), st.text(max_size=6))
values = st.recursive(
    st.one_of(texts, st.none(), st.integers(), st.booleans()),
    lambda inner: st.dictionaries(st.sampled_from(["track", "timestamp", "payload", "chunk", "x"]), inner),
    max_leaves=6,
)


@given(
    message=st.dictionaries(st.sampled_from(["event", "media", "streamSid", "sequenceNumber", "y"]), values),
    ascii_only=st.booleans(),
)
def test_any_json_is_read_as_json_reads_it_or_not_at_all(message, ascii_only):
    text = json.dumps(message, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = scan_media(text)
    assert found is None or found == reference.scan_media(text)


@pytest.mark.parametrize("wrong", ["text", None, 7])
def test_what_is_no_buffer(wrong):
    with pytest.raises(TypeError, match="bytes-like"):
        scan_media(wrong)


def test_the_buffer_is_given_back():
    for message in (MESSAGE, MESSAGE[:-1], MESSAGE.replace(b"=", b"!")):
        data = bytearray(message)
        scan_media(data)
        data.append(0)
