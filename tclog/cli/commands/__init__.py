"""One file for each command: ``tclog X`` is in ``x.py``, ``tclog X Y`` in ``x/y.py``."""
