"""A simulated Twilio that places calls, for tests, demonstrations and load."""

from fastcall.simulator.caller import Conduct, TwilioCaller, check_url, place_calls
from fastcall.simulator.heard import HeardWords
from fastcall.simulator.listener import ListeningCaller
from fastcall.simulator.pacer import Pacer
from fastcall.simulator.report import CallReport, Received

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
