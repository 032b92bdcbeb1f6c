"""Helpers that only the tests import."""
