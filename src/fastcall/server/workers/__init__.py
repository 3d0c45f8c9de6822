"""Several processes behind one port: the supervisor, its handle on a worker, and the worker itself."""
