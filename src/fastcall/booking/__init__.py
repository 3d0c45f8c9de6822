"""A clerk who books tables on the telephone: an agent by rules, with a voice of prepared prompts."""
