"""A Twilio that places calls, for tests, demonstrations and load."""

from fastcall.adapters.simulator.caller import Conduct, TwilioCaller, check_url, place_calls
from fastcall.adapters.simulator.heard import HeardWords
from fastcall.adapters.simulator.listener import ListeningCaller
from fastcall.adapters.simulator.pacer import Pacer
from fastcall.adapters.simulator.report import CallReport, Received

__all__ = [
    "CallReport",
    "Conduct",
    "HeardWords",
    "ListeningCaller",
    "Pacer",
    "Received",
    "TwilioCaller",
    "check_url",
    "place_calls",
]
