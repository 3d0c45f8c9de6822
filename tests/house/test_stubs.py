"""What is public in the compiled core is documented. Whether its stubs are true `make check` asks stubtest."""

from __future__ import annotations


def test_every_public_name_of_the_core_is_documented():
    from fastcall import _codec

    public = [getattr(_codec, name) for name in dir(_codec) if not name.startswith("_") and name != "BUILD"]
    public += [
        value
        for kind in (_codec.AudioRing, _codec.AudioTrack, _codec.Debouncer)
        for name, value in vars(kind).items()
        if name[0] != "_"
    ]
    missing = [item for item in public if not getattr(item, "__doc__", None)]
    # Members that Cython makes of `cdef readonly` have no docstring; the class's own says what they are.
    assert [item.__name__ for item in missing] == ["capacity_samples", "sample_bytes"]
