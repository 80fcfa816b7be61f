// Copies what browsers need out of the npm packages into static/vendor, which the server shows and a
// wheel takes along. npm runs it at the end of `npm ci --prefix agent/web`.
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

const here = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const packages = join(here, "node_modules");
const vendor = join(here, "static", "vendor");
const wanted = [
  ["@xterm/xterm/lib/xterm.mjs", "xterm/xterm.mjs"],
  ["@xterm/xterm/css/xterm.css", "xterm/xterm.css"],
  ["@xterm/xterm/LICENSE", "xterm/LICENSE"],
  ["@novnc/novnc/core", "novnc/core"],
  ["@novnc/novnc/vendor", "novnc/vendor"],
  ["@novnc/novnc/docs", "novnc/docs"],
];

rmSync(vendor, { recursive: true, force: true });
for (const [from, to] of wanted) {
  const target = join(vendor, to);
  mkdirSync(join(target, ".."), { recursive: true });
  cpSync(join(packages, from), target, { recursive: true });
}
