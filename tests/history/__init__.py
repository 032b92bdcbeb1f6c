"""Tests of history: the index, sync, and what reads them."""
