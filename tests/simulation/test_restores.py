"""Whoever has seen what is lost is told so when a store was set back; nobody else is."""

from simulation.restores import SEEDS, Restore, check_hidden_loss, check_set_back
from tclog.testing.faults import NONE


def test_who_has_seen_what_is_lost_is_told_and_the_others_go_on():
    assert list(check_set_back()) == []


def test_a_loss_is_told_also_where_others_have_written_since():
    assert list(check_hidden_loss()) == []


def test_some_lose_what_they_have_seen_and_some_do_not():
    bereft = warm = done = 0
    for seed in range(SEEDS):
        restore = Restore(seed, local=False, faults=NONE)
        restore.run()
        bereft += len(restore.bereft)
        warm += 4
        done += sum(o.outcome == "ok" for o in restore.late())
    assert 0 < bereft < warm
    assert done > 50
