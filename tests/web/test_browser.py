"""People look at a fleet with a real browser, and reach into a guest with it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.e2e.conftest import MakeStand
from tests.e2e.stand import Stand
from tests.images.server import serve
from tests.rig import manifest, settings
from tests.web.browser import Browser, Tab
from tests.web.conftest import TOKEN, Dashboard

NAME = "linux-vm"
VM = f"/vms/default/{NAME}"
USER_DATA = """#cloud-config
users:
  - name: cloud
runcmd:
  - passwd -d cloud
final_message: type away
"""
"""A password could get lost: login throws away what is typed while it prepares not to show it."""
EVIL = "<img src=x onerror=evil()>\N{RIGHT-TO-LEFT OVERRIDE}"
AXE = Path(__file__).parents[2] / "agent" / "web" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = ("/", "/vms", VM, "/plans", "/trash", "/history", "/enter", "/nothing")
INNER = (f"{VM}/console", f"{VM}/screen", f"{VM}/restart")


@pytest.fixture(scope="module")
def stand(make_stand: MakeStand, guest: bytes) -> Iterator[Stand]:
    with make_stand("web") as stand:
        stand.images.routes["/guest.qcow2"] = serve(guest)
        stand.start()
        image = {"type": "HTTP", "http": {"url": stand.images.url("/guest.qcow2")}}
        spec = {
            "virtualMachineClassName": "host",
            "provisioning": {"type": "UserData", "userData": USER_DATA},
            "cpu": {"cores": 1},
            "memory": {"size": "128Mi"},
            "blockDeviceRefs": [{"kind": "VirtualImage", "name": "guest"}],
        }
        off = {**spec, "runPolicy": "AlwaysOff"}
        stand.push(
            {
                "config.yaml": settings("10.66.10.0/24"),
                "vm.yaml": [
                    manifest(
                        "VirtualImage",
                        "guest",
                        {"storage": "ContainerRegistry", "dataSource": image},
                    ),
                    manifest("VirtualMachine", NAME, spec, annotations={"evil": EVIL}),
                    manifest("VirtualMachine", "off", off, labels={"tier": "back"}),
                ],
                f"{EVIL[:-1]}.yaml": "kind: [",
            },
            subject=EVIL,
        )
        stand.wait_for_phase("VirtualMachine", NAME, "Running")
        yield stand


@pytest.fixture(scope="module")
def dashboard(stand: Stand) -> Iterator[Dashboard]:
    started = Dashboard(stand)
    yield started
    started.end()


@pytest.fixture
def stranger(dashboard: Dashboard, browser: Browser) -> Iterator[Tab]:
    """Somebody at this machine who was not told the token."""
    with browser.context() as context:
        tab = context.tab()
        yield tab
        assert tab.complaints == []
        assert not context.cookies()


@pytest.fixture
def owner(dashboard: Dashboard, browser: Browser) -> Iterator[Tab]:
    """Whoever started the page, on the page of the machine."""
    with browser.context() as context:
        tab = context.tab()
        tab.show()
        tab.open(f"{dashboard.url}{VM}?token={TOKEN}")
        assert tab.address == f"{dashboard.url}{VM}"
        yield tab
        assert tab.complaints == [], tab.complaints
        assert all(TOKEN not in headers.get("Referer", "") for _, headers in tab.requested)
        assert TOKEN not in dashboard.log()


def said(tab: Tab, what: str) -> None:
    tab.until(f"document.getElementById('said').textContent.includes({json.dumps(what)})")


def shows(tab: Tab, pattern: str) -> None:
    """Wait until the terminal shows it."""
    rows = "[...document.querySelectorAll('.xterm-rows > div')].map(row => row.textContent.trimEnd()).join('\\n')"
    tab.until(f"new RegExp({json.dumps(pattern)}).test({rows})")


def test_who_has_no_token_sees_the_fleet_and_reaches_nothing(
    dashboard: Dashboard, stranger: Tab
) -> None:
    stranger.open(dashboard.url)
    assert NAME in stranger.text()
    stranger.click('nav a[href="/vms"]')
    stranger.click(f'a[href="{VM}"]')
    title = "document.querySelector('h1').textContent"
    assert stranger.until(f"location.pathname === '{VM}' && {title}").split() == [NAME, "Running"]
    assert not stranger.js("!!document.querySelector('#doors, img[data-refresh]')")
    for inner in (*INNER, f"{VM}/screen.png"):
        stranger.open(dashboard.url + inner)
        assert stranger.address.startswith(f"{dashboard.url}/enter?next=")
    code = stranger.js(
        f"new Promise(done => {{ const line = new WebSocket('ws://' + location.host + '{VM}/console/line'); line.onclose = event => done(event.code); }})"
    )
    assert code == 1006
    assert (
        stranger.js(f"fetch('{VM}/restart', {{method: 'POST'}}).then(answer => answer.status)")
        == 403
    )
    # a browser says so of what it was refused
    refused = [each for each in stranger.complaints if "403" in each]
    assert len(refused) == 2
    stranger.complaints.clear()


def test_the_token_can_be_typed(dashboard: Dashboard, browser: Browser) -> None:
    with browser.context() as context:
        tab = context.tab()
        tab.open(f"{dashboard.url}{VM}/restart")
        tab.type("not-the-token-at-all\r")
        tab.until("document.body.innerText.includes('That is not the token')")
        tab.click("input[name=token]")
        tab.type(f"{TOKEN}\r")
        tab.until(f"location.pathname === '{VM}/restart'")
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["session"]) == (True, "Strict", True)
        assert all("403" in each for each in tab.complaints)


def test_what_is_typed_is_found_at_once(dashboard: Dashboard, stranger: Tab) -> None:
    stranger.open(f"{dashboard.url}/vms")
    names = "[...document.querySelectorAll('tbody a')].map(link => link.textContent.trim()).filter(Boolean)"
    assert set(stranger.js(names)) >= {f"default/{NAME}", "default/off"} or set(
        stranger.js(names)
    ) >= {NAME, "off"}
    stranger.click("#filter input[name=q]")
    stranger.type("back")
    stranger.until(f"!{names}.join().includes('{NAME}') && {names}.join().includes('off')")
    assert stranger.address.endswith("q=back")


def test_no_name_or_text_of_others_becomes_markup(
    dashboard: Dashboard, stand: Stand, owner: Tab
) -> None:
    owner.until("document.body.innerText.includes('onerror=evil()')")
    assert "\\u202e" in owner.text()
    for page in PAGES[:-1]:
        owner.open(dashboard.url + page)
        assert not owner.js("document.querySelector('img[onerror], img[src=\"/x\"]')")
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in owner.text()


def test_nproc_is_typed_into_the_console_and_answered(owner: Tab) -> None:
    owner.click('a[href$="/console"]')
    said(owner, "Connected")
    owner.click("#terminal")
    shows(owner, "linux-vm login:")
    shows(owner, "type away")
    owner.type("cloud\r")
    shows(owner, r"\$\n*$")
    owner.type("nproc\r")
    shows(owner, r"nproc\n1\n")
    owner.type("exit\r")
    shows(owner, r"exit\n+linux-vm login:")


def test_the_screen_shows_what_the_guest_does(owner: Tab) -> None:
    owner.click('a[href$="/screen"]')
    said(owner, "Connected")
    lit = "(() => { const canvas = document.querySelector('#display canvas'); if (!canvas) return 0; const copy = document.createElement('canvas').getContext('2d', {willReadFrequently: true}); copy.canvas.width = canvas.width; copy.canvas.height = canvas.height; copy.drawImage(canvas, 0, 0); const data = copy.getImageData(0, 0, canvas.width, canvas.height).data; let count = 0; for (let at = 0; at < data.length; at += 4) if (data[at] + data[at + 1] + data[at + 2] > 200) count++; return count; })()"
    assert owner.until(f"{lit} > 100 && {lit}") > 100


def test_the_picture_of_the_screen_is_taken_again(owner: Tab) -> None:
    picture = "document.querySelector('img[data-refresh]')"
    owner.until(f"{picture}?.complete && {picture}.naturalWidth > 100")
    owner.until(
        f"{picture}.src.includes('at=') && {picture}.complete && {picture}.naturalWidth > 100"
    )


def test_a_second_one_at_the_console_is_told_and_may_take_it(
    dashboard: Dashboard, owner: Tab, browser: Browser
) -> None:
    owner.open(f"{dashboard.url}{VM}/console")
    said(owner, "Connected")
    with browser.context() as context:
        second = context.tab()
        second.open(f"{dashboard.url}{VM}/console?token={TOKEN}")
        said(second, "A browser at 127.0.0.1 since")
        assert re.search(r"uses the console of linux-vm", second.text())
        second.click("#again")
        said(second, "Connected")
        said(owner, "The console was taken over by a browser at 127.0.0.1 since")
        assert second.complaints == []


def test_a_restart_by_button_is_committed_and_the_console_comes_back(
    dashboard: Dashboard, stand: Stand, owner: Tab, browser: Browser
) -> None:
    starts = stand.instances(NAME)
    with browser.context() as context:
        watcher = context.tab()
        watcher.open(f"{dashboard.url}{VM}/console?token={TOKEN}")
        said(watcher, "Connected")
        owner.without_scripts()  # a form is enough
        owner.click('a[href$="/restart"]')
        owner.until("location.pathname.endsWith('/restart') && document.readyState === 'complete'")
        owner.click("main button")
        owner.until("location.pathname.includes('/asked/')")
        operation = owner.address.rpartition("/")[2]
        made = stand._git("show", f"operations:namespaces/default/{operation}.yaml") or ""
        assert "type: Restart" in made
        said(watcher, "waiting for it")
        said(watcher, "It is there again")
        stand.wait_for(
            lambda: stand.phase("VirtualMachineOperation", operation) == "Completed", "the restart"
        )
        assert stand.instances(NAME) == starts + 1
        watcher.until(
            "document.querySelector('.xterm-rows').textContent.includes('gitvirt guest: 1 CPUs')"
        )


def test_a_page_says_that_its_server_has_gone_and_finds_it_again(
    dashboard: Dashboard, owner: Tab
) -> None:
    owner.open(f"{dashboard.url}{VM}/console")
    said(owner, "Connected")
    dashboard.end()
    said(owner, "server has gone")
    dashboard.start()
    said(owner, "Connected")
    owner.complaints.clear()  # a browser says of each try that nobody answers


class Elsewhere(BaseHTTPRequestHandler):
    """Another site, of which somebody has a page open."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title>")

    def log_message(self, *_words: object) -> None:
        pass


def test_another_site_can_use_nothing_of_it(dashboard: Dashboard, stand: Stand, owner: Tab) -> None:
    """Also one on this very machine, to which a browser sends the same cookies."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    Thread(target=server.serve_forever, daemon=True).start()
    before = stand._git("rev-parse", "operations")
    try:
        owner.open(f"http://127.0.0.1:{server.server_port}/")
        there = dashboard.url
        line = f"new Promise(done => {{ const line = new WebSocket('{there.replace('http', 'ws')}{VM}/console/line'); line.onopen = () => done('open'); line.onclose = event => done(event.code); }})"
        assert owner.js(line) == 1006
        send = f"fetch('{there}{VM}/restart', {{method: 'POST', credentials: 'include', mode: 'no-cors', body: new URLSearchParams({{force: 'yes'}})}}).then(answer => answer.type)"
        with contextlib.suppress(Exception):
            owner.js(send)
        read = f"fetch('{there}/', {{credentials: 'include'}}).then(answer => answer.status, () => 'refused')"
        assert owner.js(read) == "refused"
        owner.js(
            f"document.body.innerHTML = '<form method=post action={there}{VM}/restart><button>go</button></form>'"
        )
        owner.click("button")
        owner.until(f"location.href === '{there}{VM}/restart'")
        assert "did not come from a page of this server" in owner.text()
        owner.open(f"http://127.0.0.1:{server.server_port}/")
        owner.js(f"document.body.innerHTML = '<iframe src={there}{VM}></iframe>'")
        owner.until("document.querySelector('iframe').contentDocument === null")
        assert stand._git("rev-parse", "operations") == before
    finally:
        server.shutdown()
        server.server_close()
    assert owner.complaints
    owner.complaints.clear()


def test_everybody_can_use_each_page_by_day_by_night_and_on_a_phone(
    dashboard: Dashboard, owner: Tab
) -> None:
    axe = AXE.read_text()
    found = {}
    for page in (*PAGES, *INNER):
        owner.show()
        owner.open(dashboard.url + page)
        if page in INNER[:2]:
            said(owner, "Connected")
        owner.js(f"{axe}; undefined")
        for width, dark in ((1280, False), (1280, True), (390, False)):
            owner.show(width=width, dark=dark)
            rules = {"runOnly": {"type": "rule", "values": ["color-contrast"]}} if dark else {}
            run = f"axe.run(document, {json.dumps(rules)}).then(found => found.violations.map(each => [each.id, each.nodes.map(node => node.html)]))"
            wide = owner.js("document.documentElement.scrollWidth - innerWidth")
            if violations := [*owner.js(run), *([f"{wide} too wide"] if wide > 0 else [])]:
                found[page, width, dark] = violations
    assert found == {}
    owner.complaints[:] = [each for each in owner.complaints if "/nothing" not in each]
