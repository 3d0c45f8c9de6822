"""An agent that books tables by phone: rule-based, with prerecorded prompts."""

from fastcall.demo.agent import attend, say_prepared
from fastcall.demo.voice import Prompt, join, load_prompts

__all__ = ["Prompt", "attend", "join", "load_prompts", "say_prepared"]
