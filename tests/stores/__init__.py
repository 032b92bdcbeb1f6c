"""Stores: one conformance suite for all, what is special in each, and the probe."""
