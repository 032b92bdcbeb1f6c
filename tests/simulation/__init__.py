"""Seeded schedules of the shipped protocol, and planted bugs that they must catch."""
