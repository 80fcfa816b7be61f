"""A mistake in what connects or listens ends neither."""

from __future__ import annotations

import threading

import libvirt
import pytest

from agent.core.host import HostError
from agent.hypervisor import connection
from agent.hypervisor.connection import Link
from agent.hypervisor.events import Watch


@pytest.mark.mistakes
def test_a_mistake_in_connecting_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "FIRST_DELAY", 0.001)
    tried, told, back = list[str](), list[str](), threading.Event()

    def opened(_connection: libvirt.virConnect) -> None:
        if len(tried) == 1:  # what the first try ended by is known
            with pytest.raises(HostError) as raised:
                link.main()
            told.append(str(raised.value))
        tried.append("")
        if len(tried) < 3:
            raise ZeroDivisionError("hunter2")

    def changed(what: str) -> None:
        assert what == "connected"
        back.set()

    link = Link("test:///default", opened, changed)
    link.connect_later()
    assert back.wait(30)
    link.close()
    assert len(tried) == 3
    (message,) = told
    assert "a mistake in gitvirt itself (ZeroDivisionError)" in message
    assert [record.exc_info is not None for record in caplog.records] == [True, True]


@pytest.mark.mistakes
def test_a_mistake_at_an_event_has_the_host_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, str]] = []

    def mistake(*_: object) -> None:
        raise ZeroDivisionError

    watch = Watch(lambda uuid, what: told.append((uuid, what)), lambda _network: None)
    for name in ("_lifecycle", "_reboot", "_plain", "_network"):
        monkeypatch.setattr(watch, name, mistake)
    heard: list[object] = []

    class Listened:
        def domainEventRegisterAny(self, _domain: None, _event: int, callback: object, _: object):  # type: ignore[no-untyped-def]  # noqa: N802
            heard.append(callback)

        networkEventRegisterAny = domainEventRegisterAny  # noqa: N815

    watch.register(Listened())  # type: ignore[arg-type]
    for each in heard:
        assert callable(each)
        each(None, None, None)
    assert told == [("", "missed")] * len(heard)
    assert len(caplog.records) == len(heard) >= 4
