"""Sync: fill the local index from the store, and read the store as a whole.

The packages above it list objects, read packs and check versions by these modules.
"""
