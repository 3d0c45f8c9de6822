# Marks among the frames that the fast path hands over. Included by _codec.pyx.

@cython.final
cdef class MarkFilter:
    """Finds the ordinary mark messages in what a ``WebSocketFastPath`` hands over: each chunk is one frame, or a part
    of one. One connection, in order, from its first frame. Loop thread only.

    When it cannot follow, because a frame's head came in two parts or a chunk has more than one frame, it finds nothing
    any more; the WebSocket implementation handles all.
    """

    cdef uint64_t left  # missing payload bytes of the frame
    cdef bint is_lost
    cdef bint in_fragments

    def take(self, bytes chunk not None, /):
        """The message, if the chunk is one whole frame with a mark that ``scan_mark`` reads; else None."""
        cdef const uint8_t* frame = <const uint8_t*>PyBytes_AS_STRING(chunk)
        cdef uint8_t[MESSAGE_LIMIT_BYTES] message
        cdef Message found
        cdef Py_ssize_t length = self.follow(frame, len(chunk))
        cdef Py_ssize_t head = len(chunk) - length
        if length < 0:
            return None
        unmask(frame + head, frame + head - 4, message, length)
        if not read_mark_message(<const char*>message, <const char*>message + length, &found):
            return None
        return PyBytes_FromStringAndSize(<const char*>message, length)

    cdef Py_ssize_t follow(self, const uint8_t* at, Py_ssize_t count) noexcept nogil:
        """The length of the text, if this is a whole frame that may have a mark; else -1."""
        cdef Py_ssize_t head
        cdef bint was_in_fragments = self.in_fragments
        if self.is_lost:
            return -1
        if self.left:
            self.is_lost = <uint64_t>count > self.left
            self.left -= <uint64_t>count
            return -1
        head = head_bytes(at, count)
        if count < head:
            self.is_lost = True
            return -1
        if at[0] & 0x0F < CLOSE_OPCODE:
            self.in_fragments = at[0] & 0x80 == 0
        self.left = payload_bytes(at)
        self.is_lost = <uint64_t>(count - head) > self.left
        self.left -= <uint64_t>(count - head)
        if self.is_lost or self.left or was_in_fragments or not may_be_media(at, count):
            return -1
        return count - head
