"""Sizing policies: which sizes a class allows. All arithmetic is on whole cores, percent and
bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from agent.core.quantity import format_bytes, to_bytes
from agent.kinds.virtual_machine_class.spec import MemoryPerCore, MemorySizes, SizingPolicy

FULL: Final = "100%"
AUTO = "Auto"


class _Range(NamedTuple):
    """Allowed amounts: from `low` to `high`, of these low, low + step, … and high."""

    low: int | None
    high: int | None
    step: int


def percent(share: int | str) -> str:
    """A share as a VM writes it: 20 and "20%" are `20%`; Auto stays."""
    return f"{share}%" if isinstance(share, int) else str(share)


def matching_policy(policies: Sequence[SizingPolicy], cores: int) -> SizingPolicy | None:
    """The first policy whose range holds that many cores."""
    for policy in policies:
        if policy["cores"]["min"] <= cores <= policy["cores"]["max"]:
            return policy
    return None


def default_core_fraction(policies: Sequence[SizingPolicy], cores: int) -> str | None:
    """What a VM that names no share gets: the policy's default, else 100% where that is allowed.
    None: it must name one, or no policy is for that many cores.
    """
    if not policies:
        return FULL
    policy = matching_policy(policies, cores)
    if policy is None:
        return None
    default = policy.get("defaultCoreFraction")
    if default is not None:
        return percent(default)
    allowed = _shares(policy)
    return FULL if not allowed or FULL in allowed else None


def violations(
    policies: Sequence[SizingPolicy], cores: int, core_fraction: str, memory: int
) -> list[str]:
    """Everything about a size that the class does not allow; empty if it fits. `memory` is in
    bytes.
    """
    if not policies:
        return []
    policy = matching_policy(policies, cores)
    if policy is None:
        ranges = ", ".join(f"{at['cores']['min']}-{at['cores']['max']}" for at in policies)
        return [f"spec.cpu.cores is {cores}, and the class has sizes for {ranges} cores only"]
    sentences = (
        _core_fraction(policy, core_fraction),
        _cores(policy, cores),
        _memory(policy, memory),
        _memory_per_core(policy, cores, memory),
    )
    return [sentence for sentence in sentences if sentence]


def _shares(policy: SizingPolicy) -> list[str]:
    return [percent(share) for share in policy.get("coreFractions") or ()]


def _core_fraction(policy: SizingPolicy, wanted: str) -> str:
    allowed = _shares(policy)
    if wanted == AUTO or not allowed or wanted in allowed:
        return ""
    return f"spec.cpu.coreFraction is {wanted or 'absent'}: choose {_or(allowed)}"


def _cores(policy: SizingPolicy, wanted: int) -> str:
    bounds = policy["cores"]
    near = _off_grid(_Range(bounds["min"], bounds["max"], bounds.get("step") or 1), wanted)
    if not near:
        return ""
    return f"spec.cpu.cores is {wanted}, which is between steps: choose {_or(map(str, near))}"


def _memory(policy: SizingPolicy, wanted: int) -> str:
    rules = policy.get("memory") or {}
    return _amount(_range(rules, rules.get("step")), wanted, 1)


def _memory_per_core(policy: SizingPolicy, cores: int, wanted: int) -> str:
    rules = policy.get("memory") or {}
    return _amount(_range(rules.get("perCore") or {}, rules.get("step")), wanted, cores)


def _range(bounds: MemoryPerCore | MemorySizes, step: str | int | None) -> _Range:
    ends = (bounds.get("min"), bounds.get("max"))
    low, high = (to_bytes(end) if end is not None else None for end in ends)
    return _Range(low, high, to_bytes(step) if step is not None else 1)


def _amount(allowed: _Range, wanted: int, cores: int) -> str:
    """What is wrong with an amount of memory that is allowed per so many cores."""
    part = wanted // cores
    low, high = allowed.low, allowed.high
    if (low is not None and part < low) or (high is not None and part > high):
        return f"spec.memory.size is {format_bytes(wanted)}: choose {_bounds(allowed, cores)}"
    near = _off_grid(allowed, part)
    if not near:
        return ""
    sizes = _or(format_bytes(size * cores) for size in near)
    return f"spec.memory.size is {format_bytes(wanted)}, which is between steps: choose {sizes}"


def _bounds(allowed: _Range, cores: int) -> str:
    low, high = (format_bytes(end * cores) if end is not None else "" for end in allowed[:2])
    count = f" for {cores} cores" if cores > 1 else ""
    if low and high:
        return f"{low} to {high}{count}"
    return f"at least {low}{count}" if low else f"at most {high}{count}"


def _off_grid(allowed: _Range, wanted: int) -> list[int]:
    """The allowed amounts next to one that the steps leave out; empty if it is allowed. Steps need
    an upper end.
    """
    low, high, step = allowed.low or 0, allowed.high, allowed.step
    if high is None or wanted == high or (wanted - low) % step == 0:
        return []
    below = wanted - (wanted - low) % step
    return [amount for amount in (below, min(below + step, high)) if amount > 0]


def _or(choices: Iterable[str]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last
