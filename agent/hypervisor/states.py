"""libvirt's numbers for states and reasons, by name."""

from __future__ import annotations

STATES = (
    "nostate",
    "running",
    "blocked",
    "paused",
    "shutdown",
    "shutoff",
    "crashed",
    "pmsuspended",
)
_REASONS = {
    "running": (
        "unknown booted migrated restored from-snapshot unpaused migration-canceled save-canceled "
        "wakeup crashed postcopy postcopy-failed"
    ),
    "paused": (
        "unknown user migration save dump ioerror watchdog from-snapshot shutting-down snapshot "
        "crashed starting-up postcopy postcopy-failed api-error"
    ),
    "shutdown": "unknown user",
    "shutoff": "unknown shutdown destroyed crashed migrated saved failed from-snapshot daemon",
    "crashed": "unknown panicked",
}
_BY_STATE = {state: tuple(names.split()) for state, names in _REASONS.items()}


def name_state(state: int, reason: int) -> tuple[str, str]:
    """(state, reason) as RawDomain has them; a number that a newer libvirt brings is `nostate` or
    `unknown`.
    """
    name = STATES[state] if 0 <= state < len(STATES) else "nostate"
    reasons = _BY_STATE.get(name, ())
    return name, reasons[reason] if 0 <= reason < len(reasons) else "unknown"
