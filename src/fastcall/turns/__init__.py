"""Who speaks when: the machine of a call, barge-in, speculation. Pure: no clock, no loop, no socket."""
