"""`/metrics`: the fleet by its status branch, and what this process has measured of its own work.
The only importer of Prometheus' client.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from agent import measures
from agent.core.nodes import ready, told
from agent.core.overview import DRIFT, ENDED, Weight
from agent.core.tables import printable
from agent.kinds.nodes import KIND as NODE
from agent.web.pages import seconds
from agent.web.reading import Reading, Row
from agent.web.views.fleet import memory

__all__ = ["CONTENT_TYPE", "metrics"]

MOST_NAMES = 200
"""Namespaces that are told apart: who may make many of them must not fill somebody's database."""
OTHERS = "(others)"


def metrics(reading: Reading, beat: float | None, trouble: str) -> bytes:
    """As Prometheus reads it. Without a status branch it is about this process alone."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected([*_source(reading, beat, trouble), *_fleet(reading), *_process()]))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


# -- of the status branch ---------------------------------------------------------------------


def _source(reading: Reading, beat: float | None, trouble: str) -> Iterator[Metric]:
    yield _gauge("status_readable", "Whether the status branch could be read last.", not trouble)
    if not reading.commit:
        return
    info = GaugeMetricFamily(
        "gitvirt_agent_info",
        "The agent of the fleet, as it has written last.",
        labels=("fleet", "version"),
    )
    about = [printable(str(reading.agent.get(name) or "")) for name in ("fleet", "version")]
    info.add_metric(about, 1)
    yield info
    yield _gauge(
        "status_commit_timestamp_seconds",
        "When the newest commit of the status branch was made.",
        reading.time,
    )
    if beat is not None:
        yield _gauge("agent_last_seen_timestamp_seconds", "The agent's last sign of life.", beat)
    yield from _revisions(reading.agent)


def _revisions(agent: Mapping[str, object]) -> Iterator[Metric]:
    parts = {name: agent.get(name) for name in ("attempted", "applied")}
    known = {name: part for name, part in parts.items() if isinstance(part, Mapping)}
    times = {name: seconds(part.get("since")) for name, part in known.items()}
    since = GaugeMetricFamily(
        "gitvirt_revision_timestamp_seconds",
        "Since when the newest revision is worked on, and since when one is applied.",
        labels=("state",),
    )
    for name, time in times.items():
        if time is not None:
            since.add_metric((name,), time)
    yield since
    same = len({str(part.get("revision")) for part in known.values()}) == 1 and len(known) == 2
    yield _gauge("revision_applied", "Whether the newest revision is applied.", same)


def _fleet(reading: Reading) -> Iterator[Metric]:
    yield _machines(reading)
    objects = GaugeMetricFamily(
        "gitvirt_objects", "Objects by kind and phase.", labels=("kind", "phase")
    )
    for kind, phases in reading.phases.items():
        for phase, count in phases.items():
            objects.add_metric((kind, printable(phase)), count)
    yield objects
    rows = [row for rows in reading.of_kind.values() for row in rows]
    yield _weights(rows)
    yield from _waiting(reading.waiting)
    drifted = sum(any(said.type == DRIFT for said in row.said) for row in rows)
    yield _gauge("drifted_objects", "Objects that were changed by hand.", drifted)
    asked = sum(row.kind.request and row.phase not in ENDED for row in rows)
    yield _gauge("operations_under_way", "Operations that have not ended.", asked)
    yield _gauge("problems", "Manifests and deletions that are held back.", len(reading.problems))
    yield _gauge("open_plans", "Open branches with a plan.", len(reading.plans))
    yield _gauge("trash_objects", "Deleted objects that can come back.", len(reading.trash))
    yield from _nodes(reading)


def _machines(reading: Reading) -> Metric:
    counts = Counter((row.namespace, row.phase) for row in reading.machines)
    spaces = Counter(row.namespace for row in reading.machines)
    named = {namespace for namespace, _ in spaces.most_common(MOST_NAMES)}
    family = GaugeMetricFamily(
        "gitvirt_virtual_machines",
        "Virtual machines by namespace and phase.",
        labels=("namespace", "phase"),
    )
    told: Counter[tuple[str, str]] = Counter()
    for (namespace, phase), count in counts.items():
        told[namespace if namespace in named else OTHERS, phase] += count
    for (namespace, phase), count in sorted(told.items()):
        family.add_metric((printable(namespace), printable(phase)), count)
    return family


def _weights(rows: Iterable[Row]) -> Metric:
    counts = Counter(row.weight for row in rows)
    family = GaugeMetricFamily(
        "gitvirt_concerns",
        "Objects that have something to say, by how much it asks of people.",
        labels=("weight",),
    )
    for weight in Weight:
        family.add_metric((weight.name.lower(),), counts[weight])
    return family


def _waiting(rows: Iterable[Row]) -> Iterator[Metric]:
    waiting = list(rows)
    yield _gauge("restart_awaiting", "Machines with changes that wait for a restart.", len(waiting))
    changes = sum(len(row.waits) for row in waiting)
    yield _gauge("restart_awaiting_changes", "Changes that wait for a restart.", changes)
    times = [time for row in waiting if (time := seconds(row.waits_since)) is not None]
    if times:
        yield _gauge(
            "restart_awaiting_since_timestamp_seconds",
            "Since when the change waits that has waited for the longest time.",
            min(times),
        )


_SIZES = {
    "memory": ("node_memory_bytes", "Memory that a node has."),
    "allocatable": ("node_memory_allocatable_bytes", "Memory that machines may have of it."),
    "committed": ("node_memory_committed_bytes", "Memory that its machines may take."),
}


def _nodes(reading: Reading) -> Iterator[Metric]:
    rows = reading.of_kind.get(NODE, ())
    known = {str(node["name"]): node for node in told(reading.agent)}
    up = GaugeMetricFamily(
        "gitvirt_node_ready", "Whether the agent reaches a node.", labels=("node",)
    )
    for row in rows:
        if row.name in known:
            up.add_metric((printable(row.name),), float(ready(known[row.name])))
    yield up
    for size, (name, what) in _SIZES.items():
        family = GaugeMetricFamily(f"gitvirt_{name}", what, labels=("node",))
        for row in rows:
            if (number := memory(row.value)[size]) is not None:
                family.add_metric((printable(row.name),), number)
        yield family


# -- of this process --------------------------------------------------------------------------


def _process() -> Iterator[Metric]:
    """Nothing of what has never happened here: a dashboard makes no passes."""
    if measures.LEADING.value is not None:
        yield _gauge("leading", "Whether this agent is the one that acts.", measures.LEADING.value)
    yield from _taken("pass", "Passes of the agent.", "", measures.PASSES)
    yield from _taken("git", "What was asked of the repository.", "operation", measures.GIT)
    yield from _taken("libvirt", "Calls into libvirt.", "sort", measures.LIBVIRT)
    if measures.PASSES.read():
        for name, what, amount in (
            ("image_downloaded", "Bytes of images that were downloaded.", measures.DOWNLOADED),
            ("migrated", "Bytes that have gone to other nodes with machines.", measures.MIGRATED),
        ):
            yield CounterMetricFamily(f"gitvirt_{name}_bytes", what, value=amount.read())


def _taken(
    name: str, what: str, label: str, durations: measures.Durations
) -> Iterator[HistogramMetricFamily]:
    known = durations.read()
    if not known:
        return
    labels = (label,) if label else ()
    family = HistogramMetricFamily(f"gitvirt_{name}_duration_seconds", what, labels=labels)
    for sort, taken in known.items():
        buckets, count = [], 0
        for bound, more in zip((*measures.BOUNDS, float("inf")), taken.counts, strict=True):
            count += more
            buckets.append(("+Inf" if bound == float("inf") else str(bound), float(count)))
        family.add_metric((sort,) if label else (), buckets, taken.total)
    yield family


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gitvirt_{name}", what, value=float(value))
