"""Senders on one inbox, 1 to 100: combining against the plain loop."""

from __future__ import annotations

from bench.measuring import tell
from bench.places import LATENCY_MS, Bench

# So many messages of each sender, one after the other, that how it begins and ends counts little.
EACH = 24


def measure(bench: Bench) -> None:
    """Simulate S3's latency; then let real processes send over Ceph and into a folder."""
    for senders in bench.size((1, 2, 4, 8, 16, 32, 64, 100), (1, 3)):
        tell(f"senders: {senders}, simulated")
        for how in ("combined", "plain"):
            for record in bench.work("simulated", senders, bench.size(EACH, 2), LATENCY_MS, how):
                bench.results.add("senders", store="simulated", how=how, senders=senders,
                                  latency_ms=LATENCY_MS, **record)  # fmt: skip
    for store in ("s3", "file"):
        if store == "s3" and bench.s3 is None:
            continue
        for senders in bench.size((1, 4, 16, 32, 64, 100), (1, 3)):
            each = bench.size(max(16, 200 // senders), 2)
            for how, kind in (("combined", "send"), ("plain", "plain")):
                tell(f"senders: {senders} on {store}, {how}")
                project = bench.project(f"send-{store}-{senders}-{how}", store)
                records = bench.work("crowd", kind, project.url, senders, each, env=project.env)
                wall_s = max(record["began_s"] + record["took_s"] for record in records)
                messages = project.json("inbox", "--all", "-n", "0", "--as", "inbox")
                assert len({row["text"] for row in messages}) == senders * each
                took_s = sorted(record["took_s"] for record in records)
                bench.results.add(
                    "senders", store=store, how=how, senders=senders,
                    messages_per_s=round(len(messages) / wall_s, 3),
                    requests_per_message=round(
                        sum(record["requests"] for record in records) / len(messages), 3
                    ),
                    median_s=took_s[len(took_s) // 2], p99_s=took_s[int(len(took_s) * 0.99)],
                )  # fmt: skip
