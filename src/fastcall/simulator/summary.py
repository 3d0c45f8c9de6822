"""The results of calls, as a table and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fastcall.simulator.report import BUFFER_OVERFLOW, CallReport
from fastcall.simulator.twilio_client import FRAME_S, Lateness

__all__ = ["problems", "render_report", "report_json"]

MAX_PROBLEMS = 20
BYTES_A_SECOND = 8000
SHOWN_CALL = 12  # characters of a CallSid

COLUMNS = ("call", "said s", "lost", "back", "heard s", "first ms", "marks", "clears", "close", "result")


def problems(report: CallReport) -> list[str]:
    """The problems of one call, with Twilio's error codes."""
    found = [f"{violation.code}: {violation.detail}" for violation in report.violations]
    if report.error:
        found.append(f"{report.twilio_code}: {report.error}" if report.twilio_code else report.error)
    if report.frames_discarded:
        found.append(f"{BUFFER_OVERFLOW}: {report.frames_discarded} frames discarded: the server did not read")
    return found


def render_report(reports: Sequence[CallReport], lateness: Lateness, rows: int) -> list[str]:
    """A row per call, failed ones first, then totals.

    :param rows: maximum number of calls shown
    """
    chosen = sorted(reports, key=lambda report: report.ok)[:rows]
    table = [COLUMNS, *(_row(report) for report in chosen)]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS) - 1)]
    lines = [
        "  ".join([*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in table
    ]
    if len(reports) > len(chosen):
        lines.append(f"and {len(reports) - len(chosen)} more calls")
    return [*(lines if rows else []), *_totals(reports, lateness)]


def _row(report: CallReport) -> tuple[str, ...]:
    found = problems(report)
    hung_up = "" if report.hung_up_s is None else f"; the agent hung up after {report.hung_up_s:.1f} s"
    second = f"; second socket: {report.second_socket}" if report.second_socket else ""
    return (
        report.ids.call_sid[:SHOWN_CALL],
        f"{report.frames_sent * FRAME_S:.1f}",
        str(report.frames_discarded),
        str(report.messages_received),
        f"{report.audio_received_bytes / BYTES_A_SECOND:.1f}",
        "-" if (first_s := _first_s(report)) is None else f"{1000 * first_s:.0f}",
        f"{report.marks_echoed}/{report.marks_received}",
        str(report.clears_received),
        "-" if report.close_code is None else str(report.close_code),
        (found[0] if found else "ok") + hung_up + second,
    )


def _first_s(report: CallReport) -> float | None:
    """From the first frame to the first message of the server."""
    if report.first_frame_at is None or report.first_message_at is None:
        return None
    return report.first_message_at - report.first_frame_at


def _totals(reports: Sequence[CallReport], lateness: Lateness) -> list[str]:
    good = sum(report.ok for report in reports)
    lines = [
        f"calls: {good} succeeded, {len(reports) - good} failed",
        f"messages: {sum(r.messages_sent for r in reports)} sent, {sum(r.messages_received for r in reports)} back",
    ]
    p50, p99 = lateness.percentile_s(50), lateness.percentile_s(99)
    if p50 is not None and p99 is not None:
        lines.append(f"frames sent late by: p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms")
    known = [report.recognized for report in reports if report.recognized is not None]
    if known:
        lines.append(f"words recognized: in {sum(known)} of {len(known)} calls with speech")
    codes = Counter(report.close_code for report in reports if report.close_code is not None)
    if codes:
        lines.append("close codes: " + ", ".join(f"{code} ({count} x)" for code, count in sorted(codes.items())))
    seconds = Counter(report.second_socket for report in reports if report.second_socket)
    if seconds:
        lines.append("second sockets: " + ", ".join(f"{what} ({count} x)" for what, count in seconds.most_common()))
    lines.append(f"messages that Twilio would refuse: {sum(report.violation_count for report in reports)}")
    found = Counter(problem for report in reports for problem in problems(report))
    lines += [f"{count} x {problem}" for problem, count in found.most_common(MAX_PROBLEMS)]
    if len(found) > MAX_PROBLEMS:
        lines.append(f"and {len(found) - MAX_PROBLEMS} other problems")
    return lines


def report_json(reports: Sequence[CallReport], lateness: Lateness) -> str:
    """The report as one JSON object: ``calls``, and totals."""
    p50, p99 = lateness.percentile_s(50), lateness.percentile_s(99)
    whole = {
        "went_through": sum(report.ok for report in reports),
        "did_not": sum(not report.ok for report in reports),
        "late_p50_ms": None if p50 is None else 1000 * p50,
        "late_p99_ms": None if p99 is None else 1000 * p99,
        "calls": [_call_object(report) for report in reports],
    }
    return json.dumps(whole, indent=1)


def _call_object(report: CallReport) -> dict[str, Any]:
    first_s = _first_s(report)
    return {
        "call_sid": report.ids.call_sid,
        "stream_sid": report.ids.stream_sid,
        "ok": report.ok,
        "frames_sent": report.frames_sent,
        "frames_discarded": report.frames_discarded,
        "messages_sent": report.messages_sent,
        "messages_received": report.messages_received,
        "audio_received_s": report.audio_received_bytes / BYTES_A_SECOND,
        "first_message_ms": None if first_s is None else 1000 * first_s,
        "marks_received": report.marks_received,
        "marks_echoed": report.marks_echoed,
        "clears_received": report.clears_received,
        "words_recognized": report.recognized,
        "agent_hung_up_s": report.hung_up_s,
        "second_socket": report.second_socket,
        "close_code": report.close_code,
        "twilio_code": report.twilio_code,
        "problems": problems(report),
        "violations": report.violation_count,
    }
