"""What looks back: what happened, who did it, what the state was then, what changed since.

The commands ask the local index, which ``tclog.sync`` brings up to date first.
"""
