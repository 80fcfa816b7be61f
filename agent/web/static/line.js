// A connection to a machine that is opened again when it ends, and says what happens.

const REFUSED = 4001;
const FULL = 4002;
const FIRST = 500;
const LONGEST = 5000;

// `open(socket)` is told of each new connection. Returns what opens one at once.
export function line(path, name, said, again, open) {
  let delay = FIRST;
  let timer = null;
  let force = false;

  function say(text, away) {
    said.textContent = text;
    said.classList.toggle("away", Boolean(away));
  }

  function connect() {
    clearTimeout(timer);
    again.hidden = true;
    const address = new URL(path + (force ? "?force=1" : ""), location.href);
    address.protocol = address.protocol.replace("http", "ws");
    force = false;
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => { delay = FIRST; });
    socket.addEventListener("close", (event) => ended(event));
    open(socket);
  }

  function ended(event) {
    if (event.code === REFUSED || event.code === FULL) {
      if (event.reason) say(event.reason, true);
      if (again.hidden) offer("Connect again");
      return;
    }
    say(event.reason || name + " cannot be reached: this page's server has gone. Trying again", true);
    timer = setTimeout(knock, delay);
    delay = Math.min(2 * delay, LONGEST);
  }

  // Browsers do not tell why a connection was refused: a token of before is no reason to try on.
  async function knock() {
    const answer = await fetch(location.href, { method: "HEAD", redirect: "manual", cache: "no-store" }).catch(() => null);
    if (answer && !answer.ok) {
      say("This server does not know this browser any more: open the address that it printed, and then this page again.", true);
      offer("Connect again");
    } else {
      connect();
    }
  }

  function offer(words, insist) {
    again.textContent = words;
    again.hidden = false;
    again.onclick = () => { force = Boolean(insist); connect(); };
  }

  connect();
  return { say, offer };
}
