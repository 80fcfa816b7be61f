// The screen: VNC over a WebSocket.

import RFB from "./vendor/novnc/core/rfb.js";
import { line } from "./line.js";

const place = document.getElementById("display");
const said = document.getElementById("said");
const again = document.getElementById("again");
const keys = document.getElementById("keys");

let screen = null;

const control = line(place.dataset.line, place.dataset.name, said, again, (socket) => {
  const rfb = new RFB(place, socket, { shared: true });
  screen = rfb;
  rfb.scaleViewport = true;
  rfb.background = "#000";
  rfb.addEventListener("connect", () => {
    control.say("Connected.");
    place.querySelector("canvas").setAttribute("aria-label", "Screen of " + place.dataset.name);
    keys.hidden = false;
    rfb.focus();
  });
  rfb.addEventListener("disconnect", () => { keys.hidden = true; });
});
keys.addEventListener("click", () => { screen.sendCtrlAltDel(); screen.focus(); });
