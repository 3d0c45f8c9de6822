"""The commands of the ``fastcall`` program, one module each."""
