"""The placement of machines on nodes: first which nodes fit, then which of them is best, then the
name. The same machines and nodes give the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from agent.core.model import Key
from agent.core.placement import rules
from agent.core.placement.labels import Labels, holds
from agent.core.placement.neighbours import Neighbours, means
from agent.core.placement.rules import NAME, UNSCHEDULABLE, Rules, Spread, Taint
from agent.core.placement.tenants import Ask, Offer, Tenant, Verdict

NOT_READY = "node(s) were not ready"
CORDONED = "node(s) were unschedulable"
TAINTED = "node(s) had untolerated taint {{{}: {}}}"
UNLIKE = "node(s) didn't match Pod's node affinity/selector"
NO_MEMORY = "Insufficient memory"
NOT_NEAR = "node(s) didn't match pod affinity rules"
NOT_APART = "node(s) didn't match pod anti-affinity rules"
NOT_WELCOME = "node(s) didn't satisfy existing pods anti-affinity rules"
UNEVEN = "node(s) didn't match pod topology spread constraints"
NO_TOPOLOGY = f"{UNEVEN} (missing required label)"
"""Kubernetes' own words: people look for them."""

FULL = 100
"""The score of the best node; each sort of score counts as often as in Kubernetes."""
OF_TAINTS, OF_LABELS, OF_NEIGHBOURS, OF_SPREAD = 3, 2, 2, 2
NAMED = 5
"""Up to so many nodes are told by name."""


@dataclass(frozen=True)
class _Fixed:
    """What nodes are to machines with the same rules, whoever is there."""

    fit: tuple[Offer, ...]
    refused: Mapping[str, str]
    alike: tuple[Offer, ...]
    """Nodes that the rules about labels mean, also those that do not fit just now."""
    score: Mapping[str, int]


@dataclass(frozen=True)
class _Social:
    """What others make of nodes for one machine. Counts are by values of a node label."""

    apart: tuple[tuple[str, Mapping[str, int], str], ...]
    near: tuple[tuple[str, Mapping[str, int]], ...]
    first: bool
    """True if nobody whom it must be near is anywhere, and it is one of them itself."""
    spread: tuple[tuple[Spread, Mapping[str, int], int], ...]
    """With the count that the node's own must stay below."""
    likes: tuple[tuple[str, int, Mapping[str, int]], ...]

    def refusal(self, labels: Labels) -> str:
        """Why a node with these labels does not fit; empty if it does."""
        for rule, counts, most in self.spread:
            at = labels.get(rule.topology)
            if at is None:
                return NO_TOPOLOGY
            if counts.get(at, 0) > most:
                return UNEVEN
        for topology, counts in self.near:
            at = labels.get(topology)
            if at is None or (not self.first and at not in counts):
                return NOT_NEAR
        for topology, counts, reason in self.apart:
            if labels.get(topology) in counts:
                return reason
        return ""

    def liking(self, labels: Labels) -> int:
        return sum(
            weight * counts.get(labels.get(topology, ""), 0)
            for topology, weight, counts in self.likes
        )


def by_taint(reason: str) -> bool:
    """True if it is a taint for which a machine may not stay."""
    return reason.startswith(TAINTED.partition("{")[0])


class Fleet:
    """All nodes and machines. What is asked of it again after a change costs little."""

    def __init__(self) -> None:
        self._offers: dict[str, Offer] = {}
        self._tenants: dict[Key, Tenant] = {}
        self._taken: dict[str, int] = defaultdict(int)
        self._neighbours = Neighbours()
        self._fixed: dict[Rules, _Fixed] = {}

    # -- what is there -----------------------------------------------------------------------------

    @property
    def offers(self) -> Mapping[str, Offer]:
        return self._offers

    def have(self, offers: Iterable[Offer]) -> None:
        """The nodes, all of them."""
        new = {offer.name: offer for offer in offers}
        if new == self._offers:
            return
        labels = {name: offer.labels for name, offer in new.items()}
        if labels != {name: offer.labels for name, offer in self._offers.items()}:
            self._neighbours = Neighbours(labels)
            for tenant in self._tenants.values():
                if tenant.on:
                    self._neighbours.add(tenant, tenant.at)
        self._offers = new
        self._fixed = {}

    def put(self, tenant: Tenant) -> None:
        """A machine, as it is now."""
        self.remove(tenant.key)
        self._tenants[tenant.key] = tenant
        self._enters(tenant)

    def remove(self, key: Key) -> None:
        if (known := self._tenants.pop(key, None)) is not None:
            self._leaves(known)

    def of(self, namespace: str) -> Iterator[Tenant]:
        """The machines of a namespace, as they stand; what is about to come is none of its own."""
        tenants = self._tenants.values()
        return (each for each in tenants if each.key.kind and each.key.namespace == namespace)

    def committed(self) -> Mapping[str, int]:
        """Bytes of each node's memory that machines have, or are about to."""
        return {name: self._taken[name] for name in self._offers}

    def _enters(self, tenant: Tenant) -> None:
        if tenant.on and tenant.at:
            self._taken[tenant.at] += tenant.memory
            self._neighbours.add(tenant, tenant.at)

    def _leaves(self, tenant: Tenant) -> None:
        if tenant.on and tenant.at:
            self._taken[tenant.at] -= tenant.memory
            self._neighbours.remove(tenant, tenant.at)

    # -- what is asked -----------------------------------------------------------------------------

    def place(self, tenant: Tenant, ask: Ask) -> Verdict:
        """The node for a machine, wherever it is now."""
        with self._without(tenant.key):
            return self._place(tenant, ask)

    def misfit(self, tenant: Tenant) -> str:
        """Why a machine may not stay on its node, as placement would say it; empty if it may. A
        node that takes no more keeps those that it has.
        """
        offer = self._offers.get(tenant.at)
        if offer is None:
            return ""
        if (wrong := _unlike(tenant.rules, offer)) or not tenant.rules.social:
            return wrong
        with self._without(tenant.key):
            social = self._social(replace(tenant, rules=replace(tenant.rules, spread=())), ())
            wrong = social.refusal(offer.labels)
        return "" if wrong == NOT_WELCOME else wrong

    @contextmanager
    def _without(self, key: Key) -> Iterator[None]:
        """As if a machine were nowhere: it does not stand in its own way."""
        known = self._tenants.get(key)
        if known is not None:
            self._leaves(known)
        try:
            yield
        finally:
            if known is not None:
                self._enters(known)

    def _place(self, tenant: Tenant, ask: Ask) -> Verdict:
        fixed = self._of(tenant.rules)
        social = self._social(tenant, fixed.alike)
        home = self._offers.get(ask.only or tenant.at)
        known = home is not None and home.name not in fixed.refused
        if home is not None and known and not self._refusal(tenant, ask, home, social):
            return Verdict(home.name)
        refused = dict(fixed.refused)
        fit = []
        for offer in fixed.fit:
            if why := self._refusal(tenant, ask, offer, social):
                refused[offer.name] = why
            else:
                fit.append(offer)
        if not fit:
            return Verdict(message=told(refused, len(self._offers)))
        best = self._best(tenant, ask, fit, fixed, social)
        if not ask.only:
            return Verdict(best, left=refused.get(tenant.at, ""))
        reasons = {ask.only: refused.get(ask.only, NOT_READY)}
        return Verdict(message=told(reasons, len(self._offers)), elsewhere=best)

    def _refusal(self, tenant: Tenant, ask: Ask, offer: Offer, social: _Social) -> str:
        if offer.memory and not ask.rests and self._free(offer) < tenant.memory:
            return NO_MEMORY
        return ask.barred.get(offer.name, "") or social.refusal(offer.labels)

    def _free(self, offer: Offer) -> int:
        return offer.memory - offer.taken - self._taken[offer.name]

    def _best(
        self, tenant: Tenant, ask: Ask, fit: Sequence[Offer], fixed: _Fixed, social: _Social
    ) -> str:
        if len(fit) == 1:
            return fit[0].name
        scores = Counter({offer.name: fixed.score[offer.name] for offer in fit})
        for offer in fit:
            free = self._free(offer) - tenant.memory
            scores[offer.name] += FULL * free // offer.memory if offer.memory else 0
            scores[offer.name] += FULL if offer.name in ask.handy else 0
        if social.likes:
            liked = {offer.name: social.liking(offer.labels) for offer in fit}
            least, most = min(liked.values()), max(liked.values())
            for name, value in liked.items():
                scores[name] += OF_NEIGHBOURS * FULL * (value - least) // max(1, most - least)
        for rule in tenant.rules.spread:
            if not rule.must:
                counts = self._neighbours.counts((rule.who,), rule.topology)
                there = {
                    each.name: counts.get(each.labels.get(rule.topology, ""), 0) for each in fit
                }
                most = max(there.values())
                for name, value in there.items():
                    scores[name] += OF_SPREAD * FULL * (most - value) // max(1, most)
        return min(scores, key=lambda name: (-scores[name], self._taken[name], name))

    def _of(self, wanted: Rules) -> _Fixed:
        fixed = self._fixed.get(wanted)
        if fixed is None:
            fixed = self._fixed[wanted] = _fixed(wanted, self._offers.values())
        return fixed

    def _social(self, tenant: Tenant, alike: Sequence[Offer]) -> _Social:
        wanted, counts = tenant.rules, self._neighbours.counts
        apart = [
            (term.topology, counts((term.who,), term.topology), NOT_APART) for term in wanted.apart
        ]
        likes = [
            (term.topology, weight, counts((term.who,), term.topology))
            for weight, term in wanted.rather_near
        ]
        for topology, weight, minding in self._neighbours.minding(tenant):
            if weight:
                likes.append((topology, weight, minding))
            else:
                apart.append((topology, minding, NOT_WELCOME))
        together = tuple(term.who for term in wanted.near)
        near = tuple((term.topology, counts(together, term.topology)) for term in wanted.near)
        first = not any(there for _, there in near) and means(
            together, tenant.labels, tenant.key.namespace
        )
        spread = tuple(self._evenly(tenant, alike)) if wanted.spread else ()
        return _Social(tuple(apart), near, first, spread, tuple(likes))

    def _evenly(
        self, tenant: Tenant, alike: Sequence[Offer]
    ) -> Iterator[tuple[Spread, Mapping[str, int], int]]:
        for rule in tenant.rules.spread:
            if rule.must:
                counts = self._neighbours.counts((rule.who,), rule.topology)
                places = {
                    each.labels[rule.topology] for each in alike if rule.topology in each.labels
                }
                least = min((counts.get(at, 0) for at in places), default=0)
                itself = rule.who.means(tenant.labels, tenant.key.namespace)
                yield rule, counts, least + rule.skew - itself


def place(offers: Iterable[Offer], tenants: Iterable[Tenant]) -> Mapping[Key, Verdict]:
    """A node for each machine that asks for one, in the order of their ranks; each sees those
    before it in their places.
    """
    fleet = Fleet()
    fleet.have(offers)
    asking = []
    for tenant in tenants:
        fleet.put(tenant)
        if tenant.ask is not None:
            asking.append((tenant, tenant.ask))
    verdicts = {}
    for tenant, ask in sorted(asking, key=lambda each: each[0].rank):
        verdict = verdicts[tenant.key] = fleet.place(tenant, ask)
        if verdict.node:
            fleet.put(replace(tenant, at=verdict.node, on=True, ask=None))
    return verdicts


def _fixed(wanted: Rules, offers: Iterable[Offer]) -> _Fixed:
    refused, fit, alike = {}, [], []
    for offer in offers:
        unlike = not _labelled(wanted, offer)
        if not unlike:
            alike.append(offer)
        if why := _closed(wanted, offer) or (UNLIKE if unlike else ""):
            refused[offer.name] = why
        else:
            fit.append(offer)
    liked = {each.name: sum(_weights(wanted, each)) for each in fit}
    borne = {each.name: sum(1 for _ in _rather_not(wanted, each)) for each in fit}
    most, worst = max(liked.values(), default=0), max(borne.values(), default=0)
    score = {
        name: OF_LABELS * FULL * liked[name] // max(1, most)
        + OF_TAINTS * FULL * (worst - borne[name]) // max(1, worst)
        for name in liked
    }
    return _Fixed(tuple(fit), refused, tuple(alike), score)


def _closed(wanted: Rules, offer: Offer) -> str:
    """Why a node takes no machine with these rules, whatever its labels."""
    if not offer.ready:
        return NOT_READY
    if offer.unschedulable and not _borne(wanted, UNSCHEDULABLE):
        return CORDONED
    for taint in offer.taints:
        if taint.effect != rules.PREFER_NO_SCHEDULE and not _borne(wanted, taint):
            return TAINTED.format(taint.key, taint.value)
    return ""


def _unlike(wanted: Rules, offer: Offer) -> str:
    """Why a machine with these rules may not stay on a node."""
    for taint in offer.taints:
        if taint.effect == rules.NO_EXECUTE and not _borne(wanted, taint):
            return TAINTED.format(taint.key, taint.value)
    return "" if _labelled(wanted, offer) else UNLIKE


def _labelled(wanted: Rules, offer: Offer) -> bool:
    if not holds(wanted.selector, offer.labels):
        return False
    if wanted.required is None:
        return True
    named = {**offer.labels, NAME: offer.name}
    return any(holds(term, named) for term in wanted.required)


def _borne(wanted: Rules, taint: Taint) -> bool:
    return any(each.bears(taint) for each in wanted.tolerations)


def _weights(wanted: Rules, offer: Offer) -> Iterator[int]:
    named = {**offer.labels, NAME: offer.name}
    return (weight for weight, term in wanted.preferred if holds(term, named))


def _rather_not(wanted: Rules, offer: Offer) -> Iterator[Taint]:
    rather = (each for each in offer.taints if each.effect == rules.PREFER_NO_SCHEDULE)
    return (each for each in rather if not _borne(wanted, each))


def told(refused: Mapping[str, str], total: int) -> str:
    """Why no node fits, counted as Kubernetes does, and of a few nodes by name."""
    counted = sorted(f"{count} {reason}" for reason, count in Counter(refused.values()).items())
    message = f"0/{total} nodes are available" + (f": {', '.join(counted)}." if counted else ".")
    if len(counted) == 1 or total > NAMED:
        return message
    by_reason: dict[str, list[str]] = {}
    for node, reason in sorted(refused.items()):
        by_reason.setdefault(reason, []).append(node)
    named = (f"{', '.join(nodes)}: {reason}" for reason, nodes in by_reason.items())
    return f"{message} ({'; '.join(named)})"
