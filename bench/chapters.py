"""The chapters of the page: each turns the samples of one part into words, tables and plots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bench import drawing
from bench.measuring import Record, median, quantile
from bench.prices import AS_OF, PRICES

OPERATIONS = ("claim", "memory set", "memory get", "send", "inbox")


class Aim(NamedTuple):
    """Something that was aimed at, and whether it was met."""

    what: str
    aim: str
    found: str
    met: bool


class Chapter(NamedTuple):
    """One chapter: its text, its plots by name, the aims that it can judge."""

    text: str
    plots: Mapping[str, str]
    aims: Sequence[Aim]


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table."""
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def plot(name: str, alt: str) -> str:
    return f"![{alt}](benchmarks/{name}.svg)\n"


def grouped(rows: Iterable[Record], *fields: str) -> dict[Any, list[Record]]:
    """Group samples by some of their fields."""
    groups: dict[Any, list[Record]] = defaultdict(list)
    for row in rows:
        key = tuple(row.get(field) for field in fields)
        groups[key[0] if len(key) == 1 else key].append(row)
    return dict(groups)


def middle(rows: Iterable[Record], field: str) -> float:
    return median(row[field] for row in rows)


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


# -- one process for each operation ---------------------------------------------------------------


def cli(rows: Sequence[Record]) -> Chapter:
    by = grouped(rows, "tool", "store", "op")
    click = by["python", "-", "import click"]
    rounds = len(click)

    def times(one: tuple[str, str], other: tuple[str, str], op: str, field: str) -> float | None:
        """How many times as much the one takes as the other."""
        if (*one, op) not in by or (*other, op) not in by:
            return None
        return middle(by[*one, op], field) / middle(by[*other, op], field)

    tclog, peer, new = ("tclog", "s3"), ("tracecraft", "s3"), ("tclog, new machine", "s3")
    file = {op: middle(by["tclog", "file", op], "wall_s") / middle(click, "wall_s")
            for op in OPERATIONS}  # fmt: skip
    file_cpu = [middle(by["tclog", "file", op], "cpu_s") / middle(click, "cpu_s")
                for op in OPERATIONS]  # fmt: skip
    aims = [Aim("a command on a folder, wall time", "under 2 × `python -c 'import click'`",
                f"{min(file.values()):.2f} to {max(file.values()):.2f} × (CPU time"
                f" {min(file_cpu):.2f} to {max(file_cpu):.2f} ×)",
                max(file.values()) < 2)]  # fmt: skip
    text = [
        "## One process for each operation\n",
        f"The price of one command for a script or an agent: a whole process, {rounds} rounds,"
        " medians. The inbox holds three unread messages. The first table is for a folder with"
        " fsync, as multiples of `python -c 'import click'`, the least that a command line with"
        " that library can take.\n",
        table(["Operation", "Wall time", "CPU time", "Peak memory"],
              [[op, f"{file[op]:.2f} ×",
                f"{middle(by['tclog', 'file', op], 'cpu_s') / middle(click, 'cpu_s'):.2f} ×",
                mb(middle(by["tclog", "file", op], "peak_bytes"))] for op in OPERATIONS]),
    ]  # fmt: skip
    plots: dict[str, str] = {}
    if (*peer, "claim") in by:
        wall = {op: times(tclog, peer, op, "wall_s") or 0 for op in OPERATIONS}
        memory = {op: times(tclog, peer, op, "peak_bytes") or 0 for op in OPERATIONS}
        cpu = {op: times(tclog, peer, op, "cpu_s") or 0 for op in OPERATIONS}
        aims += [
            Aim("a command on Ceph, wall time", "at most 1/5 of Tracecraft's (goal 1/6)",
                f"1/{1 / min(wall.values()):.1f} to 1/{1 / max(wall.values()):.1f} (CPU time"
                f" 1/{1 / min(cpu.values()):.1f} to 1/{1 / max(cpu.values()):.1f})",
                max(wall.values()) <= 1 / 5),
            Aim("a command on Ceph, peak memory", "at most 1/2 of Tracecraft's",
                f"{min(memory.values()):.3f} to {max(memory.values()):.3f}",
                max(memory.values()) <= 1 / 2),
        ]  # fmt: skip
        text += [
            "The next table is for Ceph, as shares of Tracecraft's time or memory for the same"
            " operation on the same gateway. *New machine* is tclog without a cache. It first reads"
            " the project's mark and finds the head of the key. The gateway speaks plain HTTP. Over"
            " HTTPS tclog also reads the system's certificates, which is not measured here.\n",
            table(["Operation", "Wall time", "CPU time", "Peak memory", "Wall time, new machine"],
                  [[op, f"{wall[op]:.3f} (1/{1 / wall[op]:.1f})", f"{cpu[op]:.3f}",
                    f"{memory[op]:.3f}", f"{times(new, peer, op, 'wall_s'):.3f}"]
                   for op in OPERATIONS]),
            plot("cli", "Wall time of tclog on Ceph as a share of Tracecraft's"),
        ]  # fmt: skip
        plots["cli"] = drawing.bars(
            "One command on Ceph, as a share of Tracecraft's", "share of Tracecraft's (1.00)",
            {op: {"wall time": wall[op], "CPU time": cpu[op], "peak memory": memory[op]}
             for op in OPERATIONS},
        )  # fmt: skip
    if ("etcdctl", "etcd", "claim") in by:
        near = [op for op in OPERATIONS if ("etcdctl", "etcd", op) in by]
        text += [
            "etcd's own client is a compiled program that asks a server, and is faster. This table"
            " compares tclog with it.\n",
            table(["Operation", "tclog on Ceph ÷ etcdctl", "tclog on a folder ÷ etcdctl"],
                  [[op, _times(times(tclog, ("etcdctl", "etcd"), op, "wall_s")),
                    _times(times(("tclog", "file"), ("etcdctl", "etcd"), op, "wall_s"))]
                   for op in near]),
        ]  # fmt: skip
    text += ["The medians on this machine, for orientation:\n", _medians(by)]
    return Chapter("\n".join(text), plots, aims)


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ×"


def _medians(by: Mapping[Any, Sequence[Record]]) -> str:
    tools = list(dict.fromkeys((tool, store) for tool, store, _ in by if tool != "python"))
    names = {"s3": "Ceph", "file": "folder", "etcd": "etcd"}
    heads = ["Operation", *(f"{tool} ({names[store]})" for tool, store in tools)]
    rows = [
        [op, *(ms(middle(by[*tool, op], "wall_s")) if (*tool, op) in by else "-"
               for tool in tools)]
        for op in OPERATIONS
    ]  # fmt: skip
    click = ms(middle(by["python", "-", "import click"], "wall_s"))
    return table(heads, rows) + f"\n`python -c 'import click'` took {click}.\n"


# -- requests -------------------------------------------------------------------------------------


def requests(rows: Sequence[Record]) -> Chapter:
    counts = {(r["op"], r["known"], r.get("versions"), r.get("events")): r["requests"]
              for r in rows}  # fmt: skip
    places = list(dict.fromkeys((r.get("versions"), r.get("events")) for r in rows))
    # Two lengths of one key, and two sizes of one project.
    pairs = [[place for place in places if place[which]] for which in (0, 1)]
    heads = ["Operation", "Requests", *(f"{v:,} versions" if v else f"{e:,} events"
                                        for v, e in places)]  # fmt: skip
    lines, costs, same = [], [], True
    for op, known in dict.fromkeys((r["op"], r["known"]) for r in rows):
        each = [counts[op, known, *place] for place in places]
        same = same and all(
            counts[op, known, *first] == counts[op, known, *last] for first, last in pairs
        )
        lines.append([f"{op}, {known}", _verbs(each[0]),
                      *(str(sum(found.values())) for found in each)])  # fmt: skip
        costs.append([f"{op}, {known}", *(f"{p.of(each[0]):.2f}" for p in PRICES.values())])
    aim = Aim("requests of each operation", "equal at 10 and 100,000 versions, at any project size",
              "equal" if same else "not equal", same)  # fmt: skip
    text = [
        "## Requests\n",
        "The store requests of each operation, counted at the store's verbs. Two columns are for a"
        " key with so many versions (the inbox and the counter have a tenth of them). The others"
        " are for a generated project with so many events, where a cold sender or reader also"
        " merges broadcasts. *Warm* is a process, or a cache, that knew the newest version; *cold*"
        " knows nothing. `create` is a PUT that may not overwrite, `stat` a HEAD.\n",
        table(heads, lines),
        _cold_on_a_folder(rows),
        "### What they cost\n",
        f"US dollars for the requests of a million of each operation, by published prices"
        f" (`bench/prices.py`, as of {AS_OF}). Not counted are storage, traffic, free tiers, and"
        " the mark of a project, which commands read again every quarter of an hour.\n",
        table(["Operation", *PRICES], costs),
    ]
    return Chapter("\n".join(text), {}, [aim])


def _cold_on_a_folder(rows: Sequence[Record]) -> str:
    """Say what a cold LIST costs: one request everywhere, but a large one on a folder."""
    took = {r["versions"]: r["wall_s"] for r in rows
            if r.get("versions") and (r["op"], r["known"]) == ("memory get", "cold")}  # fmt: skip
    few, many = min(took), max(took)
    return (
        "A bucket lists the newest version first, for chains of any length. A folder cannot: a"
        " *cold* LIST reads the names of all versions of the key there. So the first get of a new"
        f" machine took {ms(took[few])} at {few:,} versions and {ms(took[many])} at {many:,}.\n"
    )


def _verbs(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{count} {verb}" for verb, count in sorted(counts.items()))


# -- races ----------------------------------------------------------------------------------------


def races(rows: Sequence[Record]) -> Chapter:
    by = grouped(rows, "store", "form", "processes")
    lines, aims, series = [], [], {}
    for (store, form, processes), group in sorted(by.items()):
        won, lost = _took(group)
        ratio = median(lost) / median(won)
        what = {"ready": "claim", "bare": "bare requests", "commands": "whole commands"}[form]
        lines.append([_place(store), what, processes, len(won), f"{ratio:.2f}", ms(median(won)),
                      ms(median(lost)), ms(quantile(lost, 0.99))])  # fmt: skip
        if processes == 50 and form != "bare":
            found = f"one winner in {len(won)}; {ratio:.2f} ×"
            if form == "ready" and (store, "bare", 50) in by:
                bare_won, bare_lost = _took(by[store, "bare", 50])
                found += f" (bare requests: {median(bare_lost) / median(bare_won):.2f} ×)"
            who = "whole commands" if form == "commands" else "processes, claim alone"
            aims.append(Aim(f"race of 50 {who}, {_place(store)}",
                            "one winner in 200 rounds; losers' median at most twice the winners'",
                            found, len(won) >= 200 and ratio <= 2))  # fmt: skip
        if form != "ready":
            continue
        for who, took in (("winners", won), ("losers", lost)):
            series.setdefault(f"{who}, {_place(store)}", []).append((processes, median(took)))
    latency = next(row["latency_ms"] for row in rows if row["store"] == "simulated")
    beside = [
        f"{took[0]:.2f} and {took[1]:.2f} × ({_place(store)})"
        for store, form, processes in sorted(by)
        if form == "bare"
        for took in [_beside(by[store, "ready", processes], by[store, form, processes])]
    ]
    text = [
        "## Claim races\n",
        "Processes with an open log all claim the same fresh step at one moment. In every round"
        " exactly one won, and the log names the same winner; otherwise the run ends with an error."
        " The time of a claim counts from the moment at which its process starts it. So it includes"
        " the wait for one of the two cores from then on. A loser writes its attempt and loses."
        " Then it asks three things side by side: the winner, what followed (the step may be free"
        " again), and the store's time (the lease may have ended). That is 5 requests and 3 round"
        " trips, where a winner makes 2. The folder is without fsync here.\n",
        "Winners are also lucky, with the store and with the cores. The *bare requests* show how"
        " much of the ratio is luck. There each process puts an object of the same size, then"
        " creates the name, and a loser reads the object that has the name. These rounds alternate"
        " with the claims of tclog. A client that writes an object before its name cannot do with"
        f" fewer requests, and learns less. *Simulated S3* takes {latency} ms for each way of a"
        " request, the median of a log-normal distribution. There the luckiest of 50 wins, and the"
        " time does not depend on this machine. *Whole commands* are started one after the other,"
        " without waiting, so Python's start counts. One ended with 0, all others with 4.\n",
        "Compared with the medians of bare requests, a winner and a loser of tclog took"
        f" {', '.join(beside)}.\n",
        table(["Store", "What", "Processes", "Rounds", "Losers ÷ winners", "Winners' median",
               "Losers' median", "Losers' 99th percentile"], lines),
        plot("races", "Time of winners and losers against the number of processes"),
    ]  # fmt: skip
    plots = {"races": drawing.lines("Claim races", "processes", "median seconds", series)}
    return Chapter("\n".join(text), plots, aims)


def _beside(claims: Sequence[Record], bare: Sequence[Record]) -> list[float]:
    """Return what winners and losers of claims took, as shares of those with bare requests."""
    sides = zip(_took(claims), _took(bare), strict=True)
    return [median(took) / median(least) for took, least in sides]


def _took(rounds: Sequence[Record]) -> tuple[list[float], list[float]]:
    """Return what winners and losers took, in seconds."""
    won = [took for row in rounds for took in row["won_s"]]
    lost = [took for row in rounds for took in row["lost_s"]]
    return won, lost


def _place(store: str) -> str:
    return {"s3": "Ceph", "file": "folder", "simulated": "simulated S3"}.get(store, store)


# -- senders --------------------------------------------------------------------------------------


def senders(rows: Sequence[Record]) -> Chapter:
    by = {(r["store"], r["senders"], r["how"]): r for r in rows}
    lines, aims, series = [], [], {}
    for store, count in dict.fromkeys((r["store"], r["senders"]) for r in rows):
        combined, plain = by[store, count, "combined"], by[store, count, "plain"]
        faster = combined["messages_per_s"] / plain["messages_per_s"]
        sooner = plain["p99_s"] / combined["p99_s"]
        lines.append([_place(store), count, f"{faster:.1f} ×", f"{sooner:.1f} ×",
                      f"{combined['messages_per_s']:.3g}", f"{plain['messages_per_s']:.3g}",
                      _requests(combined, plain)])  # fmt: skip
        if store == "simulated":
            series.setdefault("combining", []).append((count, combined["messages_per_s"]))
            series.setdefault("plain loop", []).append((count, plain["messages_per_s"]))
            wanted = {32: 4, 100: 10}.get(count)
            if wanted:
                aims.append(Aim(f"{count} senders to one inbox, {_place(store)}",
                                f"{wanted} × the plain loop's messages a second",
                                f"{faster:.1f} ×", faster >= wanted))  # fmt: skip
    latency = next(r["latency_ms"] for r in rows if r["store"] == "simulated")
    text = [
        "## Senders to one inbox\n",
        "Senders send to the same inbox without a pause. In tclog, losers share versions"
        " (*combining*). The plain loop, which only races, is the same code with combining off."
        f" Simulated S3 takes {latency} ms for each way of a request, about as long as S3 in the"
        " same region. Its time is the simulation's and does not depend on this machine. On Ceph"
        " and the folder, real processes run on two cores, which are busy long before the store"
        " is.\n",
        table(["Store", "Senders", "Messages a second", "99th percentile sooner",
               "Messages/s, combining", "Messages/s, plain", "Requests a message"], lines),
        plot("senders", "Messages a second against the number of senders"),
    ]  # fmt: skip
    plots = {"senders": drawing.lines("Senders to one inbox, simulated S3", "senders",
                                      "messages a second", series)}  # fmt: skip
    return Chapter("\n".join(text), plots, aims)


def _requests(combined: Record, plain: Record) -> str:
    if "requests_per_message" not in combined:
        return "-"
    return f"{combined['requests_per_message']:.1f} instead of {plain['requests_per_message']:.1f}"


# -- rates ----------------------------------------------------------------------------------------


def rates(rows: Sequence[Record]) -> Chapter:
    disk = middle([row for row in rows if row["store"] == "disk" and row["fsync"]], "per_s")
    made = grouped([row for row in rows if row["store"] == "disk" and not row["fsync"]], "op")
    by = grouped([row for row in rows if row["store"] != "disk"], "store", "fsync", "op")
    stores = list(dict.fromkeys((store, fsync) for store, fsync, _ in by))
    names = {("memory", False): "memory", ("file", False): "folder without fsync",
             ("file", True): "folder", ("s3", False): "Ceph"}  # fmt: skip
    lines = [
        [op, *(f"{middle(by[*store, op], 'per_s'):,.0f}" for store in stores)]
        for op in dict.fromkeys(op for *_, op in by)
    ]
    op = "memory set, distinct keys"
    fast, by_cpu = (middle(by["file", False, op], f) for f in ("per_s", "per_cpu_s"))
    safe, flushes = (middle(by["file", True, op], f) for f in ("per_s", "flushes_per_op"))
    aim = Aim(
        "memory sets on distinct keys, one thread, folder without fsync",
        "2,000 a second",
        f"{fast:,.0f} a second; {by_cpu:,.0f} a second of CPU time",
        fast >= 2000,
    )
    text = [
        "## Operations a second in one process\n",
        "One thread with one open log, so no process starts. Medians of three runs.\n",
        table(["Operation", *(names[store] for store in stores)], lines),
        "These numbers are low where other work takes the cores. On the folder without fsync,"
        f" {by_cpu:,.0f} of `{op}` were done in each second of CPU time, the system's share"
        " included."
        + (
            " A fresh key is a folder with one file in it, and its event is another file. This disk"
            f" made {middle(made['make a folder'], 'per_s'):,.0f} empty folders, or"
            f" {middle(made['make a file'], 'per_s'):,.0f} empty files, a second meanwhile. (ext4"
            " makes few for minutes after many were removed.)"
            if made
            else ""
        )
        + "\n",
        f"With fsync the disk decides. This one flushed {disk:,.0f} small files a second"
        f" meanwhile. A memory set of a fresh key needs {flushes:g} flushes, so {safe:,.0f} of"
        f" them a second are {safe * flushes / disk:.2f} times the disk's rate. (A disk that"
        " flushes several files, or a folder, for the price of one gives a value over 1.)\n",
    ]
    return Chapter("\n".join(text), {}, [aim])


# -- history --------------------------------------------------------------------------------------

LOOKING = ("sync, 100 new events", "log -n 20", "diff of an hour")


def history(rows: Sequence[Record]) -> Chapter:
    by = grouped([row for row in rows if row["part"] == "history"], "op", "events")
    sizes = sorted({events for _, events in by})
    ops = [op for op in dict.fromkeys(op for op, _ in by) if op != "python"]
    start = {events: middle(by["python", events], "wall_s") for events in sizes}
    walls = {op: {e: middle(by[op, e], "wall_s") for e in sizes if (op, e) in by} for op in ops}
    # Of processor time, which other work on the machine disturbs least.
    cpus = {op: {e: middle(by[op, e], "cpu_s") for e in walls[op]} for op in ops}
    growth = {op: cpu[max(cpu)] / cpu[min(cpu)] for op, cpu in cpus.items()}
    lines = [
        [op, f"{growth[op]:.2f} ×", *(ms(wall[e]) if e in wall else "-" for e in sizes),
         ms(cpus[op][max(wall)]), mb(middle(by[op, max(wall)], "peak_bytes"))]
        for op, wall in walls.items()
    ]  # fmt: skip
    largest = max(sizes)
    hot = ("claim", "memory set", "memory get", "send", "inbox")
    most = max(growth[op] for op in hot)
    aims = _looking({op: by[op, largest] for op in ops}, largest, start[largest])
    text = [
        "## A growing log\n",
        "Generated logs in a folder, each a day's work of eight agents. Whole processes. *New"
        " machine* has an empty cache. Commands that act should not depend on the size of the log:"
        f" they took at most {most:.2f} × the CPU time at {largest:,} events that they took at"
        f" {min(sizes):,}. Commands that look back first bring the index up to date, and pay for"
        " new events. *Growth* is that of CPU time, from the smallest to the largest log.\n",
        table(["Command", "Growth", *(f"{e:,} events" for e in sizes),
               f"CPU time, {largest:,}", f"Peak memory, {largest:,}"], lines),
        plot("history", "CPU time of commands against the size of the log"),
        _floor(by["python", largest]),
        *_bytes(rows),
    ]  # fmt: skip
    drawn = ("sync, new machine", "sync, 100 new events", "log -n 20", "diff of an hour",
             "state at a time", "memory set", "memory get", "claim")  # fmt: skip
    series = {op: [(e, cpus[op][e]) for e in sizes if e in cpus[op]] for op in drawn}
    plots = {"history": drawing.lines("A growing log", "events", "seconds of CPU time", series)}
    return Chapter("\n".join(text), plots, aims)


def million(rows: Sequence[Record]) -> Chapter:
    """One log of a million events: most are packed, and their objects are gone."""
    by = grouped([row for row in rows if row["part"] == "million"], "op")
    python = by.pop("python")
    start_s = middle(python, "wall_s")
    events = next(row["events"] for row in rows if row["part"] == "million")
    first = by["sync, new machine, from packs"]
    slowest = max(row["wall_s"] for row in first)
    aims = [
        Aim(f"first sync of {events:,} events from packs", "at most 60 s",
            f"{middle(first, 'wall_s'):.1f} s, at most {slowest:.1f} s in {len(first)} runs (CPU"
            f" time {middle(first, 'cpu_s'):.1f} s)", slowest <= 60),
        *_looking(by, events, start_s),
    ]  # fmt: skip
    lines = [
        [op, len(group), ms(middle(group, "wall_s")), ms(max(row["wall_s"] for row in group)),
         ms(middle(group, "cpu_s")), mb(max(row["peak_bytes"] for row in group))]
        for op, group in by.items()
    ]  # fmt: skip
    text = [
        "## A million events\n",
        "A generated log of ten days in a folder, as dense as the one of 100,000 events above, and"
        " as `tclog pack` and `tclog gc --delete` leave it. It has every slot, packs of all but the"
        " last hours, and the objects of the events of the last day. A first sync reads the packs,"
        " checks every id and link, and fills the index. (CPU time is that of all its processes,"
        " peak memory that of the largest.) The first `diff` works out which agent held which step,"
        " and when. *Asking every chain* is what the first sync of a day does.\n",
        table(["Command", "Runs", "Wall time", "Slowest", "CPU time", "Peak memory"], lines),
        _floor(python),
        *_bytes(rows),
    ]
    return Chapter("\n".join(text), {}, aims)


def _looking(by: Mapping[str, Sequence[Record]], events: int, start_s: float) -> list[Aim]:
    """Judge what looks back at a log of so many events: time beyond Python's start, and memory."""
    aims = []
    for op in LOOKING:
        beyond_s = middle(by[op], "wall_s") - start_s
        aims.append(
            Aim(f"{op}, {events:,} events, beyond Python's start", "under 1 s",
                f"{ms(beyond_s)} (CPU time {ms(middle(by[op], 'cpu_s'))})", beyond_s < 1)
        )  # fmt: skip
    first = [op for op in by if op.startswith("sync, new machine")]
    peak = max(row["peak_bytes"] for op in (*first, *LOOKING) for row in by[op])
    aims.append(
        Aim(f"peak memory of these and of a first sync, {events:,} events", "under 500 MB",
            mb(peak), peak < 500e6)
    )  # fmt: skip
    return aims


def _floor(rows: Sequence[Record]) -> str:
    return (
        f"Peak memory below {mb(middle(rows, 'peak_bytes'))} cannot be seen, because the driver"
        " that starts the process takes that much.\n"
    )


def _bytes(rows: Sequence[Record]) -> list[str]:
    found = [row for row in rows if row["part"] == "bytes"]
    index = {row["events"]: row["index_bytes"] for row in found if "index_bytes" in row}
    kinds = [
        kind
        for kind in ("events", "chains", "blobs", "packs")
        if any(kind in row.get("bytes", ()) for row in found)
    ]
    lines = []
    for row in found:
        if "bytes" not in row:
            continue
        events, sizes = row["events"], row["bytes"]

        def each(size: float, count: int = events) -> str:
            return f"{size / count:,.0f}"

        lines.append([f"{events:,}", each(sum(sizes.values())),
                      *(each(sizes.get(kind, 0)) for kind in kinds),
                      f"{sum(row['objects'].values()) / events:.2f}",
                      each(index.get(events, 0))])  # fmt: skip
    heads = ["Events", "Bytes an event", *(f"in `{kind}/`" for kind in kinds),
             "Objects an event", "Bytes an event in the index"]  # fmt: skip
    return ["### Bytes\n", table(heads, lines)]
