"""The rules of the five primitives: pure functions from state and command to event, and back.

Each primitive is one module with the same five names: ``State``, ``EMPTY``, ``decide``, ``evolve``
and ``pack``/``unpack`` (the state as JSON inside a version). No clock, no randomness, no I/O.
"""
