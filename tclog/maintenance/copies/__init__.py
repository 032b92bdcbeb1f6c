"""Copies of a log: into another store by ``clone``, as lines of JSON by ``export``, and back."""
