// The serial console: a terminal at one end of a WebSocket.

import { Terminal } from "./vendor/xterm/xterm.mjs";
import { line } from "./line.js";

const PIECE = 4096;
const place = document.getElementById("terminal");
const said = document.getElementById("said");
const again = document.getElementById("again");

// What the terminal makes of styles has the sign by which the page's policy knows it.
const create = document.createElement.bind(document);
document.createElement = (name, ...rest) => {
  const made = create(name, ...rest);
  if (String(name).toLowerCase() === "style") made.nonce = place.dataset.nonce;
  return made;
};

const terminal = new Terminal({
  cols: 80,
  rows: 24,
  scrollback: 5000,
  cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
  fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
  fontSize: 14,
  screenReaderMode: true,
});
terminal.open(place);
terminal.textarea.setAttribute("aria-label", "Console of " + place.dataset.name);
terminal.focus();

let socket = null;
const encoder = new TextEncoder();

function type(bytes) {
  if (socket === null || socket.readyState !== WebSocket.OPEN) return;
  for (let at = 0; at < bytes.length; at += PIECE) socket.send(bytes.subarray(at, at + PIECE));
}
terminal.onData((text) => type(encoder.encode(text)));
terminal.onBinary((text) => type(Uint8Array.from(text, (sign) => sign.charCodeAt(0))));

const control = line(place.dataset.line, place.dataset.name, said, again, (opened) => {
  socket = opened;
  opened.addEventListener("message", (event) => {
    if (typeof event.data !== "string") {
      terminal.write(new Uint8Array(event.data));
      return;
    }
    const told = JSON.parse(event.data);
    const text = told.say || told.inUse || told.over;
    control.say(text[0].toUpperCase() + text.slice(1) + ".", !told.say);
    if (told.inUse) control.offer("Take it over", true);
  });
});
