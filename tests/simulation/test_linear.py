"""The black-box check accepts what a variable could have answered, and rejects the rest."""

import itertools
import random

import pytest

from tclog.testing import Faults, simulate
from tclog.testing.linear import NEVER, Call, Value, histories_of, is_linearizable


def wrote(begin, end, version, value, **more):
    return Call("set", begin, end, value, answer=Value(version, value), **more)


def read(begin, end, version=0, value=None):
    return Call("get", begin, end, answer=Value(version, value))


def lost(begin, value, **more):
    return Call("set", begin, NEVER, value, **more)


ACCEPTED = {
    "nothing": [],
    "one after the other": [wrote(0, 1, 1, "a"), read(2, 3, 1, "a"), wrote(4, 5, 2, "b")],
    "a read beside a write sees the old": [wrote(0, 9, 1, "a"), read(1, 2)],
    "a read beside a write sees the new": [wrote(0, 9, 1, "a"), read(1, 2, 1, "a")],
    "two writes at once, in the other order": [wrote(0, 9, 2, "a"), wrote(1, 8, 1, "b")],
    "an unknown write that never was": [lost(0, "a"), read(5, 6)],
    "an unknown write that came late": [lost(0, "a"), read(5, 6), read(7, 8, 1, "a")],
    "an unknown write under a guard that failed": [
        wrote(0, 1, 1, "a"),
        lost(2, "b", if_version=0),
        read(3, 4, 1, "a"),
    ],
    "a refused guard": [
        wrote(0, 1, 1, "a"),
        Call("guarded", 2, 3, "b", if_version=0, answer=Value(1, "a"), refused=True),
    ],
    "sums": [
        Call("incr", 0, 9, 1, answer=Value(2, 2)),
        Call("incr", 0, 9, 1, answer=Value(1, 1)),
        read(10, 11, 2, 2),
    ],
    "texts": [
        Call("append", 0, 1, "a", answer=Value(1, "a")),
        Call("append", 2, 3, "b", answer=Value(2, "a\nb")),
    ],
}
REJECTED = {
    "a read of what nobody wrote": [read(0, 1, 1, "a")],
    "a read that misses what was acknowledged": [wrote(0, 1, 1, "a"), read(2, 3)],
    "a read of an old value": [wrote(0, 1, 1, "a"), wrote(2, 3, 2, "b"), read(4, 5, 1, "a")],
    "reads that go back": [wrote(0, 20, 1, "a"), read(1, 2, 1, "a"), read(3, 4)],
    "one version twice": [wrote(0, 9, 1, "a"), wrote(0, 9, 1, "b")],
    "the second before the first": [wrote(0, 1, 2, "a"), wrote(2, 3, 1, "b")],
    "a lost sum": [
        Call("incr", 0, 9, 1, answer=Value(1, 1)),
        Call("incr", 0, 9, 1, answer=Value(1, 1)),
    ],
    "a guard let in": [
        wrote(0, 1, 1, "a"),
        Call("guarded", 2, 3, "b", if_version=0, answer=Value(2, "b")),
    ],
    "a guard refused without reason": [
        Call("guarded", 2, 3, "b", if_version=0, answer=Value(0, None), refused=True)
    ],
    "a refusal that tells what is not there": [
        wrote(0, 1, 1, "a"),
        Call("guarded", 2, 3, "b", if_version=0, answer=Value(1, "x"), refused=True),
    ],
    "an unknown write before it began": [read(0, 1, 1, "a"), lost(2, "a")],
    "an unknown write seen, then gone": [lost(0, "a"), read(1, 2, 1, "a"), read(3, 4)],
}


@pytest.mark.parametrize("calls", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_it_accepts(calls):
    assert is_linearizable(calls) is True


@pytest.mark.parametrize("calls", REJECTED.values(), ids=REJECTED.keys())
def test_it_rejects(calls):
    assert is_linearizable(calls) is False


# The numbers of versions have no gaps: nothing foreign stands between them.
SOUND = Faults(foreign=0)


def histories(seeds):
    for seed in seeds:
        report = simulate(seed, clients=4, operations=15, work=("memory",), faults=SOUND)
        yield from histories_of(report.done).values()


def test_the_order_in_which_calls_are_given_does_not_matter():
    rng = random.Random(1)
    for calls in histories(range(3)):
        rng.shuffle(calls)
        assert is_linearizable(calls) is True


def test_a_search_that_grows_too_big_is_given_up():
    many = [lost(0, str(number)) for number in range(150)]
    assert is_linearizable([*many, read(1, 2, 151, "x")]) is None
    assert is_linearizable([lost(0, str(number)) for number in range(300)]) is None


def corrupted(calls, rng):
    """Change one answer: another value, an older or a newer version."""
    places = [i for i, call in enumerate(calls) if call.answer is not None and call.answer.version]
    place = rng.choice(places)
    answer = calls[place].answer
    changed = rng.choice(
        (
            answer._replace(value="never written"),
            answer._replace(version=answer.version - 1),
            answer._replace(version=answer.version + 1),
        )
    )
    return [*calls[:place], calls[place]._replace(answer=changed), *calls[place + 1 :]]


def test_corrupted_histories_are_rejected():
    rng = random.Random(7)
    tried, rejected = 0, 0
    for calls in histories(range(20)):
        if any(call.answer is not None and call.answer.version for call in calls):
            assert is_linearizable(calls) is True
            tried += 1
            rejected += is_linearizable(corrupted(calls, rng)) is False
    assert tried > 40
    # The few that stay are legal: a write of unknown fate may stand at the number that was skipped.
    assert rejected > 0.9 * tried
    print(f"{rejected} of {tried} corrupted histories were rejected")


def test_swapped_answers_are_rejected():
    # As a store would give them that shows the newer value first and the older one after it.
    tried = 0
    for calls in histories(range(20)):
        reads = sorted((c for c in calls if c.name == "get"), key=lambda call: call.invoked_us)
        for earlier, later in itertools.pairwise(reads):
            apart = earlier.returned_us < later.invoked_us
            if apart and earlier.answer.version < later.answer.version:
                rest = [call for call in calls if call is not earlier and call is not later]
                swapped = [
                    earlier._replace(answer=later.answer),
                    later._replace(answer=earlier.answer),
                ]
                assert is_linearizable([*rest, *swapped]) is False
                tried += 1
    assert tried > 20
