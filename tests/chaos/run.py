"""One run: set up a project, let the agents loose on it, let it come to rest, judge it."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from support.project import NAME, BucketObjects, Machine, Project, Site, folder_site
from support.proxy import Proxy
from support.stores import Server, bucket_of, find_ceph, fresh_bucket, open_s3, url_of

from chaos.agents import Agent, Commands, Fate, Member, Odds, _try, live
from chaos.history import Recorder, read_history
from chaos.judge import Verdict, judge
from chaos.nemesis import DAEMON_S, FAULTS, Daemons, Tally, ceph, cluster_environ
from chaos.planted import STORES
from chaos.trade import EPOCH, inboxes
from chaos.work import Asked, Drawer
from tclog.event import chain_id
from tclog.store.base import Store
from tclog.store.file import FileStore
from tclog.testing.transactions import ACCOUNTS

FSCK_S = 900.0


class Plan(NamedTuple):
    """What a run is made of.

    ``bug`` names one that is planted in the members; then only these should work. ``behaves`` names
    what is done to a bucket instead of what a store may do.
    """

    store: str
    seed: int
    seconds: float
    operations: int = 1_000_000
    commands: int = 6
    members: int = 2
    daemons_every_s: float = 15.0
    odds: Odds = Odds()
    bug: str = ""
    behaves: str = ""


class Outcome(NamedTuple):
    """What a run came to; ``record`` is the line of JSON that is kept."""

    broken: list[str]
    record: dict[str, Any]
    history: Path


class Place(NamedTuple):
    """Where a run's project is: as the agents reach it, and as it is."""

    site: Site
    store: Store
    harm: Callable[[], None] = lambda: None
    tally: Tally | None = None
    daemons: Daemons | None = None


@contextmanager
def _file_place(folder: Path, plan: Plan, server: Server | None) -> Iterator[Place]:
    del plan, server
    yield Place(folder_site(folder / "store"), FileStore(folder / "store" / NAME))


@contextmanager
def _bucket_place(folder: Path, plan: Plan, server: Server | None) -> Iterator[Place]:
    """Use a bucket of a server, through a proxy that does to it what the plan says."""
    del folder
    assert server is not None
    with Proxy(server.endpoint) as proxy:
        settings = fresh_bucket(server.through(proxy.url))
        inside = f"{settings.prefix}/{NAME}"
        site = Site(
            url_of(settings),
            ("--endpoint", proxy.url, "--region", "us-east-1"),
            server.environ,
            BucketObjects(server, inside),
        )
        direct = open_s3(server, settings._replace(endpoint=server.endpoint, prefix=inside))

        def harm() -> None:
            if plan.behaves:
                STORES[plan.behaves](proxy, server, plan.seed)
            else:
                proxy.inject_randomly(FAULTS, plan.seed)

        yield Place(site, direct, harm, Tally(proxy))


@contextmanager
def _ceph_place(folder: Path, plan: Plan, server: Server | None) -> Iterator[Place]:
    """Start a cluster of the run's own, since its daemons are killed."""
    assert server is None
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="tclog-chaos-"))
        environ = cluster_environ(Path(home) / "ceph")
        ceph("start", environ)
        stack.callback(ceph, "stop", environ)
        started = find_ceph(environ)
        assert started is not None
        stack.enter_context(bucket_of(started))
        place = stack.enter_context(_bucket_place(folder, plan, started))
        daemons = Daemons(environ, plan.seed, plan.daemons_every_s)
        yield place._replace(daemons=daemons)
        daemons.stop()


PLACES = {"file": _file_place, "ceph": _ceph_place, "bucket": _bucket_place}


def run(plan: Plan, folder: Path, server: Server | None = None) -> Outcome:
    """Run, and judge; ``folder`` keeps the history and all else that the run leaves.

    ``server`` is that of the store "bucket".
    """
    begun_s = time.monotonic()
    history = folder / "history.jsonl"
    journal = folder / "journal"
    (folder / "files").mkdir()
    recorder = Recorder(history)
    struck: Counter[str] = Counter()
    with PLACES[plan.store](folder, plan, server) as place:
        project = Project(folder, place.site)
        try:
            machines = [project, project.machine()]
            agents = _agents(plan, machines, place.site, journal, struck)
            numbers = _storm(plan, place, agents, folder, recorder)
            _look(agents, [*machines, project.machine()], numbers, journal, recorder, struck)
            recorder.close()
            checked = project.run("fsck", "--json", agent="judge", timeout=FSCK_S)
            verdict = judge(read_history(history), place.store, journal)
        finally:
            project.close()
        broken = list(verdict.broken)
        if checked.code:
            broken.append(f"fsck: exit status {checked.code}: {checked.out[-500:]}{checked.err}")
        if place.daemons is not None and place.daemons.trouble:
            broken.append(f"daemons: {place.daemons.trouble}")
    return Outcome(broken, _record(plan, place, verdict, struck, broken, begun_s), history)


def _agents(
    plan: Plan, machines: list[Any], site: Site, journal: Path, struck: Counter[str]
) -> list[Agent]:
    agents: list[Agent] = [
        Commands(f"cmd-{n}", machines[n % 2], journal, struck) for n in range(plan.commands)
    ]
    settings: dict[str, Any] = {"url": site.url, "project": NAME, "bug": plan.bug}
    if "--endpoint" in site.flags:
        settings |= {"endpoint": site.flags[1], "region": site.flags[3]}
    for n in range(plan.members):
        machine = machines[n % 2]
        # Every second one shares what its machine's commands remember; the others know nothing
        # when they start, and their clock is wrong.
        cache = str(machine.folder / "cache" / "tclog") if n % 2 == 0 else None
        own = {"cache": cache, "clock_off_s": 0 if cache else 90 * (-1) ** (n // 2)}
        agents.append(Member(f"member-{n}", machine, settings | own, struck))
    return agents


def _storm(plan: Plan, place: Place, agents: list[Agent], folder: Path, recorder: Recorder) -> int:
    """Let all work while faults strike, until the time is up; return how many operations."""
    ends_s = time.monotonic() + plan.seconds
    counter = itertools.count()
    given = [0]
    lock = threading.Lock()

    def waits() -> bool:
        # On a slow machine one daemon may take the whole time to come back.
        daemons = place.daemons
        patient = time.monotonic() < ends_s + DAEMON_S
        return daemons is not None and len(daemons.killed) < 2 and daemons.is_alive() and patient

    def numbers() -> Iterator[int]:
        while time.monotonic() < ends_s or waits():
            with lock:
                n = next(counter)
                if n >= plan.operations:
                    return
                given[0] = n + 1
            yield n

    place.harm()
    if place.daemons is not None:
        place.daemons.start()
    failures: list[BaseException] = []

    def body(agent: Agent) -> None:
        execs = isinstance(agent, Commands)
        drawer = Drawer(plan.seed, agent.name, files=folder / "files", execs=execs)
        try:
            live(agent, drawer, numbers(), recorder, plan.odds)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=body, args=[agent], daemon=True) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(5)
            if place.tally is not None:
                place.tally.take()
    if place.daemons is not None:
        place.daemons.stop()
    if place.tally is not None:
        place.tally.take()
        place.tally._proxy.heal()
    if failures:
        raise failures[0]
    return given[0]


def _look(
    agents: list[Agent],
    machines: list[Machine],
    first: int,
    journal: Path,
    recorder: Recorder,
    struck: Counter[str],
) -> None:
    """Read everything once more from each machine, one of which has seen nothing yet."""
    for agent in agents:
        agent.close()
    numbers = itertools.count(first)
    for m, machine in enumerate(machines):
        reader = Commands(f"reader-{m}", machine, journal, struck)
        for account in ACCOUNTS:
            known = {"account": account, "reads": [chain_id("memory", account)]}
            asked = Asked(next(numbers), "account.get", known)
            recorder.write(_try(reader, asked, 0, Fate()))
        for epoch in range(max(first - 1, 0) // EPOCH + 1):
            for stem in ("count", "lines", "value"):
                key = f"{stem}-{epoch}"
                known = {"key": key, "chain": chain_id("memory", key)}
                asked = Asked(next(numbers), "memory.get", known)
                recorder.write(_try(reader, asked, 0, Fate()))
            for name in inboxes(epoch):
                asked = Asked(next(numbers), "inbox.read", {"reader": name})
                recorder.write(_try(reader, asked, 0, Fate()))


def _record(
    plan: Plan,
    place: Place,
    verdict: Verdict,
    struck: Counter[str],
    broken: list[str],
    begun_s: float,
) -> dict[str, Any]:
    return {
        "store": plan.store,
        "seed": plan.seed,
        "seconds": plan.seconds,
        "took_s": round(time.monotonic() - begun_s, 1),
        "agents": {"commands": plan.commands, "members": plan.members},
        "operations": dict(sorted(verdict.outcomes.items())),
        "committed_events": verdict.committed,
        "processes": dict(sorted(struck.items())),
        "daemons": {} if place.daemons is None else dict(sorted(place.daemons.killed.items())),
        "requests": 0 if place.tally is None else place.tally.requests,
        "faults": {} if place.tally is None else dict(sorted(place.tally.faults.items())),
        "together": verdict.together,
        "linear": verdict.linear,
        "violations": len(broken),
    } | {name: said for name in ("bug", "behaves") if (said := getattr(plan, name))}
