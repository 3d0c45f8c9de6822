"""End-of-turn models: the probability that a caller's turn is over, from its audio and text.

What lives here: the worker process that runs the model (``worker``) and its queue in the server's process
(``model_process``), the adapter for Smart Turn (``smart_turn``) with its input features (``log_mel``), and the start of
the model that the settings name (``loading``). What a probability means for a turn is decided elsewhere.
"""
