// Live updates, ages that go on, and commands that can be copied. Everything works without it.

const UNITS = { s: 1, m: 60, h: 3600, d: 86400, y: 365 * 86400 };
const STEPS = [[120, "s"], [600, "ms"], [10800, "m"], [28800, "hm"], [172800, "h"], [691200, "dh"], [2 * UNITS.y, "d"], [8 * UNITS.y, "yd"], [Infinity, "y"]];

// As the server writes them, and kubectl: 11m, 3m7s, 5d21h.
function age(elapsed) {
  let rest = Math.max(0, Math.floor(elapsed));
  let text = "";
  for (const unit of STEPS.find(([limit]) => rest < limit)[1]) {
    const whole = Math.floor(rest / UNITS[unit]);
    rest %= UNITS[unit];
    if (whole || !text) text += whole + unit;
  }
  return text;
}

function tick() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const text = age((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}

// Each part of a page that is not as the server has it now is replaced by what it has.
async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-cache" }).catch(() => null);
  if (!answer || !(answer.headers.get("content-type") || "").startsWith("text/html")) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const news = fresh.getElementById(part.id);
    if (!news || news.isEqualNode(part) || part.contains(document.activeElement) && document.activeElement !== document.body) continue;
    for (const details of part.querySelectorAll("details")) {
      const same = details.id ? fresh.getElementById(details.id) : news.querySelector("details");
      if (same) same.open = details.open;
    }
    part.replaceWith(document.adoptNode(news));
  }
  dress();
  tick();
}

// Only a page that somebody looks at keeps a connection: browsers have six for one server, in all
// windows together, and keep those of pages that were left.
function live() {
  let events = null;
  let known = null;
  const pulse = (on) => {
    const dot = document.getElementById("pulse");
    if (dot) { dot.classList.toggle("on", on); dot.title = on ? "Live" : "Live updates are off"; }
  };
  const close = () => {
    events?.close();
    events = known = null;
  };
  const open = () => {
    if (events || document.hidden) return;
    events = new EventSource("/live");
    events.addEventListener("reading", (event) => {
      if (known !== null && known !== event.data || known === null && stale(event.data)) refresh().then(() => pulse(true));
      known = event.data;
      pulse(true);
    });
    events.onerror = () => pulse(false);
  };
  document.addEventListener("visibilitychange", () => { document.hidden ? close() : open(); });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}

function stale(data) {
  const shown = document.querySelector("#asof code");
  return !shown || !(JSON.parse(data).commit || "").startsWith(shown.textContent);
}

function dress() {
  for (const code of document.querySelectorAll("code[data-copy]")) {
    if (code.nextElementSibling || !navigator.clipboard) continue;
    const command = code.textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy " + command);
    button.onclick = () => navigator.clipboard.writeText(command).then(() => {
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    code.after(button);
  }
}

// What is typed into a list's form is looked for at once; the address goes along.
function typing() {
  const form = document.getElementById("filter");
  if (!form) return;
  let timer = null;
  const find = () => {
    const asked = new URLSearchParams([...new FormData(form)].filter(([, text]) => text));
    history.replaceState(null, "", form.action + (asked.size ? "?" + asked : ""));
    refresh();
  };
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(find, 150); });
  form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(timer); find(); });
}

if (matchMedia("(max-width: 60rem)").matches) document.querySelector(".side details")?.removeAttribute("open");
dress();
tick();
typing();
setInterval(tick, 10000);
live();
