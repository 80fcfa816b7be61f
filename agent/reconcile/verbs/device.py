"""Verbs on the devices of a running domain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from agent.core.actions import AttachDevice, DetachDevice
from agent.core.domain_xml import has_agent, has_device, with_device, without_device
from agent.core.host import MOUNTED, STILL_THERE, Host, HostError
from agent.reconcile.verbs.domain import OnDomain, became, unchanged
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.running import runs
from agent.reconcile.verbs.site import Site
from agent.reconcile.verbs.verb import Done, Looks, Sight


class Attach(OnDomain[AttachDevice]):
    def stands(self, action: AttachDevice, sight: Sight) -> bool:
        if not runs(sight, action.uuid, action.if_instance):
            return False
        unchanged(action.beside, sight)
        return not _has(sight.node, action.uuid, action.device)

    def perform(self, action: AttachDevice, site: Site) -> Done:
        with _told(f"{action.what} cannot be attached"):
            site.node.attach_device(action.uuid, action.xml)
        return Done()

    def simulate(self, action: AttachDevice, facts: Facts) -> Done:
        raw = facts.read_domain(action.uuid)
        if raw is None or not raw.active_xml:
            return Done()
        return became(replace(raw, active_xml=with_device(raw.active_xml, action.xml)), facts)


class Detach(OnDomain[DetachDevice]):
    """A disk is taken away without asking the guest: who has it mounted would lose what it has not
    written yet.
    """

    def stands(self, action: DetachDevice, sight: Sight) -> bool:
        there = runs(sight, action.uuid, action.if_instance)
        return there and _has(sight.node, action.uuid, action.device)

    def perform(self, action: DetachDevice, site: Site) -> Done:
        if not action.force:
            _let_go(action, site.node)
        with _told(f"{action.what} cannot be detached"):
            site.node.detach_device(action.uuid, action.device)
        if _has(site.node, action.uuid, action.device):
            message = f"{action.what} is still there: its guest has not let go of it yet"
            raise HostError(STILL_THERE, message)
        return Done()

    def simulate(self, action: DetachDevice, facts: Facts) -> Done:
        raw = facts.read_domain(action.uuid)
        if raw is None or not raw.active_xml:
            return Done()
        active = without_device(raw.active_xml, action.device)
        return became(replace(raw, active_xml=active), facts)


def _let_go(action: DetachDevice, node: Host) -> None:
    """Fails if the guest has it mounted, or if nobody can tell although its agent is there. A guest
    without an agent is not asked.
    """
    mounted = node.mounted(action.uuid)
    if mounted is None:
        raw = node.read_domain(action.uuid)
        if raw is not None and has_agent(raw.active_xml):
            message = f"the guest's agent does not say whether {action.what} is mounted"
            raise HostError(MOUNTED, message)
    elif action.device in mounted:
        message = f"{action.what} is mounted in the guest: unmount it there"
        raise HostError(MOUNTED, message)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Says of an error what it is about: a machine has many devices."""
    try:
        yield
    except HostError as error:
        raise HostError(error.reason, f"{what}: {error}", retry=error.retry) from error


def _has(node: Looks, uuid: str, device: str) -> bool:
    """True if the running instance has the device."""
    raw = node.read_domain(uuid)
    return raw is not None and has_device(raw.active_xml, device)
