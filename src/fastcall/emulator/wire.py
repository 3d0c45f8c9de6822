"""The messages of the three versions on the wire: tables of fields, and a codec made from each.

The tables hold the fields that the emulator reads or writes, with Google's numbers; protobuf skips the
others. They are its own statement of the protocol (tests compare them with Google's published types), in a
descriptor pool of their own, so that they never collide with google-cloud-speech in the same process. Also, loading
them takes milliseconds where importing the client library takes half a second.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["TABLES", "build_messages"]

Fields = dict[str, tuple[int, str]]
Table = dict[str, Fields]

# A type ending in "*" is repeated; one that starts with a capital is another message of the table. Enums are
# int32, which is the same on the wire.
_COMMON: Final[Table] = {
    "Duration": {"seconds": (1, "int64"), "nanos": (2, "int32")},
    "VoiceActivityTimeout": {"speech_start_timeout": (1, "Duration"), "speech_end_timeout": (2, "Duration")},
    "Phrase": {"value": (1, "string"), "boost": (2, "float")},
}

_VERSION_1: Final[Table] = {
    **_COMMON,
    "StreamingRecognizeRequest": {
        "streaming_config": (1, "StreamingRecognitionConfig"),
        "audio_content": (2, "bytes"),
    },
    "StreamingRecognitionConfig": {
        "config": (1, "RecognitionConfig"),
        "single_utterance": (2, "bool"),
        "interim_results": (3, "bool"),
        "enable_voice_activity_events": (5, "bool"),
        "voice_activity_timeout": (6, "VoiceActivityTimeout"),
    },
    "RecognitionConfig": {
        "encoding": (1, "int32"),
        "sample_rate_hertz": (2, "int32"),
        "language_code": (3, "string"),
        "speech_contexts": (6, "SpeechContext*"),
        "audio_channel_count": (7, "int32"),
        "enable_word_time_offsets": (8, "bool"),
        "model": (13, "string"),
        "use_enhanced": (14, "bool"),
        "enable_word_confidence": (15, "bool"),
        "adaptation": (20, "SpeechAdaptation"),
    },
    "SpeechContext": {"phrases": (1, "string*"), "boost": (4, "float")},
    "SpeechAdaptation": {"phrase_sets": (1, "PhraseSet*")},
    "PhraseSet": {"phrases": (2, "Phrase*")},
    "StreamingRecognizeResponse": {
        "results": (2, "StreamingRecognitionResult*"),
        "speech_event_type": (4, "int32"),
        "total_billed_time": (5, "Duration"),
        "speech_event_time": (8, "Duration"),
        "request_id": (10, "int64"),
    },
    "StreamingRecognitionResult": {
        "alternatives": (1, "SpeechRecognitionAlternative*"),
        "is_final": (2, "bool"),
        "stability": (3, "float"),
        "result_end_time": (4, "Duration"),
        "language_code": (6, "string"),
    },
    "SpeechRecognitionAlternative": {
        "transcript": (1, "string"),
        "confidence": (2, "float"),
        "words": (3, "WordInfo*"),
    },
    "WordInfo": {
        "start_time": (1, "Duration"),
        "end_time": (2, "Duration"),
        "word": (3, "string"),
        "confidence": (4, "float"),
    },
}

_VERSION_2: Final[Table] = {
    **_COMMON,
    "StreamingRecognizeRequest": {
        "recognizer": (3, "string"),
        "audio": (5, "bytes"),
        "streaming_config": (6, "StreamingRecognitionConfig"),
    },
    "StreamingRecognitionConfig": {
        "config": (1, "RecognitionConfig"),
        "streaming_features": (2, "StreamingRecognitionFeatures"),
    },
    "StreamingRecognitionFeatures": {
        "enable_voice_activity_events": (1, "bool"),
        "interim_results": (2, "bool"),
        "voice_activity_timeout": (3, "VoiceActivityTimeout"),
    },
    "RecognitionConfig": {
        "features": (2, "RecognitionFeatures"),
        "adaptation": (6, "SpeechAdaptation"),
        "explicit_decoding_config": (8, "ExplicitDecodingConfig"),
        "model": (9, "string"),
        "language_codes": (10, "string*"),
    },
    "RecognitionFeatures": {
        "enable_word_time_offsets": (2, "bool"),
        "enable_word_confidence": (3, "bool"),
    },
    "ExplicitDecodingConfig": {
        "encoding": (1, "int32"),
        "sample_rate_hertz": (2, "int32"),
        "audio_channel_count": (3, "int32"),
    },
    "SpeechAdaptation": {"phrase_sets": (1, "AdaptationPhraseSet*")},
    "AdaptationPhraseSet": {"inline_phrase_set": (2, "PhraseSet")},
    "PhraseSet": {"phrases": (3, "Phrase*")},
    "StreamingRecognizeResponse": {
        "speech_event_type": (3, "int32"),
        "metadata": (5, "RecognitionResponseMetadata"),
        "results": (6, "StreamingRecognitionResult*"),
        "speech_event_offset": (7, "Duration"),
    },
    "RecognitionResponseMetadata": {"total_billed_duration": (6, "Duration"), "request_id": (9, "string")},
    "StreamingRecognitionResult": {
        "alternatives": (1, "SpeechRecognitionAlternative*"),
        "is_final": (2, "bool"),
        "stability": (3, "float"),
        "result_end_offset": (4, "Duration"),
        "language_code": (6, "string"),
    },
    "SpeechRecognitionAlternative": {
        "transcript": (1, "string"),
        "confidence": (2, "float"),
        "words": (3, "WordInfo*"),
    },
    "WordInfo": {
        "start_offset": (1, "Duration"),
        "end_offset": (2, "Duration"),
        "word": (3, "string"),
        "confidence": (4, "float"),
    },
}

TABLES: Final[dict[str, Table]] = {"v1": _VERSION_1, "v1p1beta1": _VERSION_1, "v2": _VERSION_2}


def build_messages(version: str) -> dict[str, Any]:
    """The protobuf classes of one version, by message name."""
    package = f"fastcall.emulator.{version}"
    proto = descriptor_pb2.FileDescriptorProto(name=f"{version}.proto", package=package, syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in TABLES[version].items():
        message = proto.message_type.add(name=name)
        for field_name, (number, type_name) in fields.items():
            field = message.field.add(name=field_name, number=number)
            repeated = type_name.endswith("*")
            base = type_name.rstrip("*")
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if base[0].isupper():
                field.type = kinds.TYPE_MESSAGE
                field.type_name = f".{package}.{base}"
            else:
                field.type = getattr(kinds, f"TYPE_{base.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    descriptors = pool.FindFileByName(proto.name).message_types_by_name
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in descriptors.items()}
