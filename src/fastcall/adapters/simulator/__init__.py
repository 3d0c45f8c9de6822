"""A Twilio that places calls, for tests, demonstrations and load."""

from fastcall.adapters.simulator.caller import TwilioCaller, check_url, place_calls
from fastcall.adapters.simulator.report import CallReport, Received

__all__ = ["CallReport", "Received", "TwilioCaller", "check_url", "place_calls"]
