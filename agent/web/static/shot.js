// A picture of a screen that is taken again every few seconds, while somebody looks.

const EVERY = 5000;

for (const picture of document.querySelectorAll("img[data-refresh]")) {
  const address = picture.src;
  const figure = picture.closest("figure");
  picture.addEventListener("error", () => figure.classList.add("none"));
  picture.addEventListener("load", () => figure.classList.remove("none"));
  setInterval(() => {
    if (!document.hidden) picture.src = address + "?at=" + Date.now();
  }, EVERY);
}
