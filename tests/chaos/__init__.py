"""Chaos: real processes, a real store, faults, kills and stops; then the promises are checked."""
