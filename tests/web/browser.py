"""A real Chromium, told what to do as its developer tools tell it."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome-stable")
PATIENCE = 120.0
"""Seconds after which something that must be seen is missing, on a machine that is busy."""
_LOOK = 0.05
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # it shows pages of ours alone
    "--disable-gpu",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)
_KEYS = {"\r": ("Enter", 13), "\t": ("Tab", 9), "\x1b": ("Escape", 27)}


class Browser:
    """One process; each context in it has cookies of its own."""

    def __init__(self, folder: Path) -> None:
        program = next((name for name in NAMES if shutil.which(name)), None)
        if program is None:
            pytest.fail(f"these tests need Chromium: one of {', '.join(NAMES)}")
        profile = folder / "profile"
        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        address = ""
        for line in self._process.stderr:
            if line.startswith("DevTools listening on "):
                address = line.split()[-1]
                break
        else:
            pytest.fail("Chromium ended before it said where its developer tools listen")
        self._ending = contextlib.ExitStack()
        self._socket: ClientConnection = self._ending.enter_context(
            connect(address, max_size=None, proxy=None, ping_interval=None)
        )
        self._numbers = itertools.count(1)
        self._tabs: dict[str, Tab] = {}

    def close(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            self.call("Browser.close")
        self._ending.close()
        assert self._process.stderr is not None
        self._process.stderr.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @contextlib.contextmanager
    def context(self) -> Iterator[Context]:
        """Somebody's browser: it knows no cookie of the others."""
        number = self.call("Target.createBrowserContext")["browserContextId"]
        try:
            yield Context(self, number)
        finally:
            self.call("Target.disposeBrowserContext", browserContextId=number)

    def call(self, method: str, *, session: str = "", **parameters: Any) -> Any:
        """Tell the browser something; its answer. What happens meanwhile goes to the tabs."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps({**message, "sessionId": session} if session else message))
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            answer = self._receive(end - time.monotonic())
            if answer is not None and answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error'].get('message')}")
                return answer.get("result", {})
        raise BrowserError(f"{method} is not answered")

    def listen(self, seconds: float) -> None:
        """Hear what happens until something does, or for so long."""
        self._receive(seconds)

    def attach(self, target: str) -> Tab:
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session, target)
        return tab

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        try:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=max(0.0, seconds)))
        except TimeoutError:
            return None
        tab = self._tabs.get(message.get("sessionId", ""))
        if "method" in message and tab is not None:
            tab.hear(message["method"], message["params"])
        return message


class BrowserError(Exception):
    """What the browser does not do."""


class Context:
    def __init__(self, browser: Browser, number: str) -> None:
        self._browser, self._number = browser, number

    def tab(self) -> Tab:
        target = self._browser.call(
            "Target.createTarget", url="about:blank", browserContextId=self._number
        )
        tab = self._browser.attach(target["targetId"])
        tab.prepare()
        return tab

    def cookies(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._browser.call(
            "Storage.getCookies", browserContextId=self._number
        )["cookies"]
        return found

    def set_cookies(self, *cookies: dict[str, Any]) -> None:
        self._browser.call(
            "Storage.setCookies", browserContextId=self._number, cookies=list(cookies)
        )


class Tab:
    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target
        self.complaints: list[str] = []
        """Errors of scripts, and what the browser says about the page: violations of its policy,
        files that are not there.
        """
        self.requested: list[tuple[str, dict[str, str]]] = []
        """Addresses that were asked for, with the headers."""
        self.statuses: dict[str, int] = {}

    def prepare(self) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.show()

    def call(self, method: str, **parameters: Any) -> Any:
        return self._browser.call(method, session=self._session, **parameters)

    def hear(self, method: str, what: dict[str, Any]) -> None:
        match method:
            case "Log.entryAdded" if what["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{what['entry']['text']} {what['entry'].get('url', '')}")
            case "Runtime.exceptionThrown":
                details = what["exceptionDetails"]
                said = details.get("exception", {}).get("description")
                self.complaints.append(said or details["text"])
            case "Runtime.consoleAPICalled" if what["type"] in ("error", "assert"):
                self.complaints.append(
                    " ".join(
                        str(each.get("value", each.get("description"))) for each in what["args"]
                    )
                )
            case "Network.requestWillBeSent":
                self.requested.append((what["request"]["url"], what["request"]["headers"]))
            case "Network.responseReceived":
                self.statuses[what["response"]["url"]] = what["response"]["status"]

    # -- looking ------------------------------------------------------------------------------

    def js(self, expression: str) -> Any:
        """What an expression of a script gives, once what it promises is there."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = PATIENCE) -> Any:
        """The value of an expression once it is true, whatever page is there by then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(BrowserError):  # the page changes right now
                if found := self.js(expression):
                    return found
            self._browser.listen(_LOOK)
        shown = self.js("document.location.href + '\\n' + document.body.innerText")
        pytest.fail(f"{expression} never became true of\n{shown}\n{self.complaints}")

    def open(self, address: str) -> None:
        """Go there and wait for it to be shown."""
        self.js("window.gitvirtTestLeft = true")
        answer = self.call("Page.navigate", url=address)
        assert not answer.get("errorText"), answer
        self.until("!window.gitvirtTestLeft && document.readyState === 'complete'")

    def text(self) -> str:
        return str(self.js("document.body.innerText"))

    @property
    def address(self) -> str:
        return str(self.js("document.location.href"))

    def picture(self, *, whole: bool = False) -> bytes:
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(data["data"])

    # -- doing --------------------------------------------------------------------------------

    def click(self, selector: str) -> None:
        """On the first such element, once it is shown, wherever it is moved to meanwhile."""
        self.until(
            f"""(() => {{
                const found = document.querySelector({json.dumps(selector)});
                if (!found || !found.getBoundingClientRect().width) return false;
                found.focus();
                found.click();
                return true;
            }})()"""
        )

    def type(self, text: str) -> None:
        """On the keyboard, to whatever has the focus."""
        for sign in text:
            name, code = _KEYS.get(sign, (sign, ord(sign.upper()) if sign.isalnum() else 0))
            key = {"key": name, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=sign, **key)
            self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    def show(self, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """The window's size, and whether its owner likes it dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = "dark" if dark else "light"
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def without_scripts(self) -> None:
        self.call("Emulation.setScriptExecutionDisabled", value=True)

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)
