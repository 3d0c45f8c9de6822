"""Asyncio helpers: child processes, callbacks, watchdogs of the loop, queues.

Nothing here knows what a call, a recognizer or Twilio is.
"""
