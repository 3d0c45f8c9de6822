"""The commands of the ``fastcall`` program, a module each."""
