"""Speed and scale of tclog, measured beside others: ``scripts/bench`` runs all of it.

The driver needs nothing but Python. What is measured runs in environments of its own, below
``bench/.cache``: tclog from a wheel, Tracecraft from its package. Scripts in ``bench/work`` run
inside tclog's environment and print lines of JSON; everything that was measured is kept as such
lines, and the page docs/benchmarks.md is made from nothing but them.
"""
