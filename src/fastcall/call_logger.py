"""A logger that adds the call to each line."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastcall.formats import call_fields, log_marks
from fastcall.twilio.stream_key import StreamKey

__all__ = ["CallLogger", "call_logger"]


class CallLogger(logging.LoggerAdapter[logging.Logger]):
    """Appends a call's fields to each line. Any thread.

    :param fields: text to append, such as ``call=CA123``; empty: nothing is appended
    :param extra: attributes of the record, for formatters that show the call in a separate field
    """

    def __init__(self, logger: logging.Logger, fields: str = "", extra: Mapping[str, str] | None = None) -> None:
        super().__init__(logger, extra or {})
        self._fields = fields

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """See ``logging.Logger.log``. The fields are passed as an argument, so they may contain percent signs."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        if self._fields:
            super().log(level, f"{msg} %s", *args, self._fields, **kwargs)
        else:
            super().log(level, msg, *args, **kwargs)


def call_logger(name: str, key: StreamKey) -> CallLogger:
    """The logger ``name``, for lines about this call."""
    return CallLogger(logging.getLogger(name), call_fields(key), log_marks(key))
