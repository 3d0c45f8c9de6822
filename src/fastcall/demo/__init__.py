"""A clerk who books tables on the telephone: an agent by rules, with a voice of prepared prompts."""

from fastcall.demo.agent import attend, say_prepared
from fastcall.demo.voice import Prompt, join, load_prompts

__all__ = ["Prompt", "attend", "join", "load_prompts", "say_prepared"]
