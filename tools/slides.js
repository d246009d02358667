// One slide at a time, its number in the address. Without this script a deck is one long page.
(() => {
  const slides = [...document.querySelectorAll("main > section")];
  const nav = document.querySelector("nav");
  const [back, next] = nav.querySelectorAll("button");
  const said = nav.querySelector("p");
  let now = 1;

  function show() {
    now = Math.min(slides.length, Math.max(1, parseInt(location.hash.slice(1), 10) || 1));
    slides.forEach((slide, place) => slide.classList.toggle("now", place === now - 1));
    said.textContent = `${now} / ${slides.length}`;
    said.setAttribute("aria-label", `Slide ${now} of ${slides.length}: ${slides[now - 1].querySelector("h1, h2, h3").textContent}`);
    back.disabled = now === 1;
    next.disabled = now === slides.length;
    scrollTo(0, 0);
  }

  function go(number) {
    const wanted = Math.min(slides.length, Math.max(1, number));
    if (wanted !== now) location.hash = wanted;
  }

  const KEYS = {
    ArrowRight: () => go(now + 1), PageDown: () => go(now + 1), " ": (event) => go(now + (event.shiftKey ? -1 : 1)),
    ArrowLeft: () => go(now - 1), PageUp: () => go(now - 1), Home: () => go(1), End: () => go(slides.length),
  };
  addEventListener("keydown", (event) => {
    const pressed = event.key === " " && event.target.closest("a, button"); // space presses what has the focus
    if (pressed || event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key](event);
  });

  let start = null;
  addEventListener("touchstart", (event) => { start = event.touches.length === 1 ? event.touches[0] : null; }, { passive: true });
  addEventListener("touchend", (event) => {
    if (!start) return;
    const across = event.changedTouches[0].clientX - start.clientX, down = event.changedTouches[0].clientY - start.clientY;
    if (Math.abs(across) > 50 && Math.abs(across) > 2 * Math.abs(down)) go(now - Math.sign(across));
    start = null;
  }, { passive: true });

  back.addEventListener("click", () => go(now - 1));
  next.addEventListener("click", () => go(now + 1));
  addEventListener("hashchange", show);
  nav.hidden = false;
  document.documentElement.classList.add("live");
  show();
})();
