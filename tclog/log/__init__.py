"""The log of a project: open it, act, read. One file for each primitive's operations."""
