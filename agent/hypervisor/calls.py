"""Calls into libvirt with a deadline. libvirt cannot cancel a call, so one that is late is left
behind in its daemon thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Generic, TypeVar

from agent.core.host import HostError

T = TypeVar("T")


class AbandonedError(HostError):
    """The deadline passed and the call is still under way."""

    def __init__(self, message: str) -> None:
        super().__init__("Timeout", message)


class Calls:
    """Runs calls, each in a daemon thread of its own, and counts those that were left behind.

    Calls of one lane run one after the other; while an abandoned call holds a lane, further ones
    are refused at once. With `limit` abandoned calls under way everything is refused: libvirtd has
    few workers, and must keep some for others.
    """

    def __init__(self, limit: int = 8) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._lanes: dict[Hashable, _Call[object]] = {}
        self._abandoned = 0

    @property
    def abandoned(self) -> int:
        """How many abandoned calls are still under way."""
        return self._abandoned

    def run(
        self,
        doing: str,
        call: Callable[[], T],
        deadline: float,
        lane: Hashable = None,
        progress: Callable[[], object] | None = None,
    ) -> T:
        """The result of `call`, or its exception. `deadline` is in seconds.

        With `progress` the deadline starts again whenever its value has changed.
        """
        end = time.monotonic() + deadline
        run: _Call[T] = _Call(call)
        self._enter(doing, run, lane, end)
        thread = threading.Thread(
            target=self._work, args=(run, lane), name="libvirt-call", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            self._leave(run, lane)
            message = f"cannot {doing}: this machine gives the agent no more threads"
            raise HostError("TooManyThreads", message) from error
        seen = progress() if progress else None
        while not run.done.wait(max(0.0, end - time.monotonic())):
            if progress and (now := progress()) != seen:
                seen, end = now, time.monotonic() + deadline
                continue
            with self._changed:
                if not run.done.is_set():
                    run.abandoned = True
                    self._abandoned += 1
                    raise AbandonedError(f"cannot {doing}: no answer within {deadline:g} seconds")
        return run.outcome()

    def _enter(self, doing: str, run: _Call[T], lane: Hashable, end: float) -> None:
        with self._changed:
            if self._abandoned >= self._limit:
                raise HostError(
                    "TooManyHungCalls",
                    f"cannot {doing}: {self._abandoned} earlier calls to this host still hang; "
                    "see which of its QEMU processes do not answer",
                )
            while lane is not None and lane in self._lanes:
                if self._lanes[lane].abandoned:
                    raise HostError(
                        "NotResponding",
                        f"cannot {doing}: an earlier call still hangs; "
                        "its QEMU process or guest agent does not answer",
                    )
                if not self._changed.wait(max(0.0, end - time.monotonic())):
                    raise HostError("Busy", f"cannot {doing}: another call is still under way")
            if lane is not None:
                self._lanes[lane] = run  # type: ignore[assignment]

    def _work(self, run: _Call[T], lane: Hashable) -> None:
        with run:
            run.result = run.call()
        self._leave(run, lane)

    def _leave(self, run: _Call[T], lane: Hashable) -> None:
        with self._changed:
            run.done.set()
            self._abandoned -= run.abandoned
            if lane is not None:
                del self._lanes[lane]
            self._changed.notify_all()


class _Call(Generic[T]):
    """One call; as a context it keeps whatever the call raises for the thread that waits."""

    def __init__(self, call: Callable[[], T]) -> None:
        self.call = call
        self.done = threading.Event()
        self.abandoned = False
        self.result: T
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool:
        self.error = error
        return True

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        return self.result
