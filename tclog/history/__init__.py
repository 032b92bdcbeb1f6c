"""History: the whole log at once. What happened, who did it, what was so then, what changed since.

Everything here reads: from the local index, which ``sync`` brings up to date first, or, where the
store itself is in question (``fsck``, ``clone``), from the store.
"""
