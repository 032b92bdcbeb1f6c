"""Chains: append, read, and the fold, as generators that yield store requests.

Nothing here does I/O except ``drive`` (which hands requests to a store) and ``heads`` (a disposable
cache on the local disk).
"""
