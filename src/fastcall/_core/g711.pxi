# The loops of G.711 and base64, in C for several instruction sets. Included by _codec.pyx.

cdef extern from "kernels.h" nogil:
    ctypedef void (*Kernel "fastcall_kernel")(const void* source, void* target, Py_ssize_t samples) noexcept
    ctypedef int (*Base64Kernel "fastcall_base64_kernel")(
        const uint8_t* text, uint8_t* target, Py_ssize_t count
    ) noexcept
    ctypedef struct Kernels "fastcall_kernels":
        const char* instructions
        Kernel mulaw_decode
        Kernel mulaw_encode
        Kernel alaw_decode
        Kernel alaw_encode
        Base64Kernel base64
    const Kernels* ALL_KERNELS "FASTCALL_ALL_KERNELS"
    int KERNELS_COUNT "FASTCALL_KERNELS_COUNT"
    bint has_kernels "fastcall_has"(int index) noexcept
    const Kernels* best_kernels "fastcall_best_kernels"() noexcept

cdef const Kernels* kernels = best_kernels()


cdef int find_kernels(const char* instructions) noexcept nogil:
    """The index in ALL_KERNELS, if this processor supports the set; else -1."""
    cdef int index
    for index in range(KERNELS_COUNT):
        if has_kernels(index) and strcmp(ALL_KERNELS[index].instructions, instructions) == 0:
            return index
    return -1


def instruction_sets():
    """The names of the instruction sets that this processor supports, from the portable one (``plain``) to the newest,
    which is used by default."""
    return tuple([
        ALL_KERNELS[index].instructions.decode("ascii") for index in range(KERNELS_COUNT) if has_kernels(index)
    ])


def use_instructions(str instructions, /):
    """Selects the loops of this instruction set for all threads; returns the name of the previous set.

    All return the same bytes: this is for tests and measurements.

    :raises ValueError: this processor does not support it
    """
    global kernels
    cdef str before = kernels.instructions.decode("ascii")
    cdef int index = find_kernels(instructions.encode())
    if index < 0:
        raise ValueError(f"no loops for {instructions!r} here; there are {', '.join(instruction_sets())}")
    kernels = &ALL_KERNELS[index]
    return before


cdef void resize_loop(
    const char* source, Py_ssize_t width, char* target, Py_ssize_t new_width, Py_ssize_t samples
) noexcept nogil:
    """Converts PCM from ``width`` to ``new_width`` bytes per sample; the high bytes, which are the last, are kept."""
    cdef Py_ssize_t shared = min(width, new_width)
    cdef Py_ssize_t i
    for i in range(samples):
        memset(target, 0, new_width)
        memcpy(target + new_width - shared, source + width - shared, shared)
        source += width
        target += new_width
