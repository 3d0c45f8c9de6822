"""A clerk who books tables on the telephone: an agent by rules, with a voice of prepared prompts."""

from fastcall.booking.agent import attend, say_prepared
from fastcall.booking.voice import Prompt, join, load_prompts

__all__ = ["Prompt", "attend", "join", "load_prompts", "say_prepared"]
