from __future__ import annotations

import gc
import threading

from agent.hypervisor import event_loop


def waiters() -> int:
    gc.collect()
    return sum(isinstance(each, threading.Event) for each in gc.get_objects())


def test_a_drain_leaves_nothing_behind() -> None:
    event_loop.start()
    event_loop.drain(60)
    before = waiters()
    for _ in range(100):
        event_loop.drain(60)
    assert waiters() <= before


def test_drains_of_several_threads_all_end() -> None:
    event_loop.start()
    ended = []

    def drain() -> None:
        for _ in range(50):
            event_loop.drain(60)
        ended.append(True)

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert len(ended) == 4
