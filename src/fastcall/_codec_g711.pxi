# The loops of G.711 and base64, in C for the instruction sets of processors. Included by _codec.pyx.

cdef extern from "_loops.h" nogil:
    ctypedef void (*Loop "fastcall_loop")(const void* source, void* target, Py_ssize_t samples) noexcept
    ctypedef int (*Base64Loop "fastcall_base64_loop")(const uint8_t* text, uint8_t* target, Py_ssize_t count) noexcept
    ctypedef struct Loops "fastcall_loops":
        const char* instructions
        Loop mulaw_decode
        Loop mulaw_encode
        Loop alaw_decode
        Loop alaw_encode
        Base64Loop base64
    const Loops* ALL_LOOPS "FASTCALL_ALL_LOOPS"
    int LOOPS_COUNT "FASTCALL_LOOPS_COUNT"
    bint has_loops "fastcall_has"(int index) noexcept
    const Loops* best_loops "fastcall_best_loops"() noexcept

cdef const Loops* loops = best_loops()


cdef int find_loops(const char* instructions) noexcept nogil:
    """Where these are in ALL_LOOPS, if this processor has them; else -1."""
    cdef int index
    for index in range(LOOPS_COUNT):
        if has_loops(index) and strcmp(ALL_LOOPS[index].instructions, instructions) == 0:
            return index
    return -1


def instruction_sets():
    """The names of the instruction sets whose loops this processor can run, from any machine's (``plain``) to the
    newest, which is the one in use."""
    return tuple([ALL_LOOPS[index].instructions.decode("ascii") for index in range(LOOPS_COUNT) if has_loops(index)])


def use_instructions(str instructions, /):
    """Takes the loops of this instruction set from now on, in all threads; returns the name of those before.

    All give the same bytes: this is for tests and measurements.

    :raises ValueError: this processor has none such
    """
    global loops
    cdef str before = loops.instructions.decode("ascii")
    cdef int index = find_loops(instructions.encode())
    if index < 0:
        raise ValueError(f"no loops for {instructions!r} here; there are {', '.join(instruction_sets())}")
    loops = &ALL_LOOPS[index]
    return before


cdef void resize_loop(
    const char* source, Py_ssize_t width, char* target, Py_ssize_t new_width, Py_ssize_t samples
) noexcept nogil:
    """PCM of ``width`` bytes a sample to ``new_width``. The bytes that both share are the high, the last ones."""
    cdef Py_ssize_t shared = min(width, new_width)
    cdef Py_ssize_t i
    for i in range(samples):
        memset(target, 0, new_width)
        memcpy(target + new_width - shared, source + width - shared, shared)
        source += width
        target += new_width
