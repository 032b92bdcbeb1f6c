"""Simulation for the protocol and for code built on it: many clients, one faulty store, one seed.

    report = simulate(seed=7)
    report.violations   # empty, or the promises that this schedule broke
    report.trace        # a digest: the same seed gives the same one
    shrink(report)      # a smaller schedule that breaks the same promise

The generators that run here are the very ones that ship; only time, randomness and the store are
the simulator's. ``python -m tclog.testing --seed 7`` replays one schedule.
"""

from tclog.testing.faults import Faults
from tclog.testing.scheduler import Operation, Plan, Simulation
from tclog.testing.shrink import shrink
from tclog.testing.workload import Report, Schedule, run_schedule, simulate

__all__ = [
    "Faults",
    "Operation",
    "Plan",
    "Report",
    "Schedule",
    "Simulation",
    "run_schedule",
    "shrink",
    "simulate",
]
