"""Foreign clients that write wrong store times into a step: no live lease ends by them."""

from simulation.interleaving import World
from tclog.chain.fold import place_after
from tclog.chain.read import read_head
from tclog.chain.seal import seal_draft, seal_next
from tclog.clock import parse_us, stamp
from tclog.domain.decision import Draft
from tclog.errors import Refused
from tclog.event import chain_id, event_key, slot_key
from tclog.log import claims
from tclog.store.base import Create, Put

HOUR_US = 3_600_000_000
STEP = chain_id("step", "s")
NOTE = Draft("step.note", {"note": {"type": "text", "value": "hi"}})
TAKEOVER = Draft("step.takeover", {"fence": 1, "from": "alice", "lease_ms": 60_000})


def forge(client, draft, **stamps):
    """Commit an event in a version that tells store times of its own."""
    head = yield from read_head(client, STEP)
    event, raw = seal_draft(client, draft, (STEP,))
    yield Put(event_key(event.at, STEP, event.id), raw)
    told = {name: stamp(parse_us(head.stored) + us) for name, us in stamps.items()}
    place = place_after(head)._replace(**told)
    version = seal_next(client, STEP, head, place, (event,), None)
    yield Create(slot_key(STEP, version.seq), version.raw)


def check_foreign_stamps():
    """A note with an early stamp, and a takeover with a late one, while a lease of an hour runs."""
    forgeries = {
        "a note": (NOTE, {"prev_stored": -2 * HOUR_US}),
        "a takeover": (TAKEOVER, {"now": 2 * HOUR_US}),
    }
    for what, (draft, stamps) in forgeries.items():
        world = World()
        alice, bob = world.client("alice"), world.client("bob")
        world.run(claims.claim_step(alice, "s", lease_s=3600))
        world.run(forge(world.client("mallory"), draft, **stamps))
        if not isinstance(world.run(claims.claim_step(bob, "s")), Refused):
            yield f"{what} with a wrong stamp ended a live lease"
        if isinstance(world.run(claims.renew_step(alice, "s", fence=1)), Refused):
            yield f"{what} with a wrong stamp took a claim away"
        world.now_us += 2 * HOUR_US
        if isinstance(world.run(claims.claim_step(bob, "s")), Refused):
            yield f"after {what} with a wrong stamp a lease never ends"
