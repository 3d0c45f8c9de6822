"""Fuzzers of what reads bytes from the wire. The judge of each is the slow path: the same events, or the same error.

``harness`` makes inputs and runs them, ``targets`` says what they are tried on. To add a target, write its class in a
module of its own and name it in ``targets.TARGETS``: the suite, ``make fuzz`` and ``python -m fuzz`` then run it too.
"""
