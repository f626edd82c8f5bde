(() => {
  "use strict";
  const UNITS = 104, TILT = 13 * Math.PI / 180, START = 28, HALF = 120;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const sinT = Math.sin(TILT), cosT = Math.cos(TILT);

  function turnable(svg) {
    const group = svg.querySelector("g[data-points]");
    const points = JSON.parse(group.dataset.points);
    const parts = [...group.children].map(element => ({
      element,
      ends: (element.dataset.e || element.dataset.n).split(",").map(Number),
      layer: element.classList.contains("floor") ? 2 : element.classList.contains("ghost") ? 1 : 0,
    }));
    let yaw = START;
    const draw = () => {
      const c = Math.cos(yaw * Math.PI / 180), s = Math.sin(yaw * Math.PI / 180);
      const paper = points.map(([x, y, z]) => {
        const tx = c * x + s * z, tz = -s * x + c * z;
        return [HALF + UNITS * tx, HALF + UNITS * (cosT * y - sinT * tz), sinT * y + cosT * tz];
      });
      for (const part of parts) {
        const [a, b] = [paper[part.ends[0]], paper[part.ends[part.ends.length - 1]]];
        part.depth = part.layer * 1e3 + (a[2] + b[2]) / 2 - (part.ends.length === 1 ? 0.01 : 0);
        const values = part.ends.length === 1
          ? { cx: a[0], cy: a[1] } : { x1: a[0], y1: a[1], x2: b[0], y2: b[1] };
        for (const name in values) part.element.setAttribute(name, values[name].toFixed(1));
      }
      parts.sort((p, q) => q.depth - p.depth).forEach(part => group.appendChild(part.element));
    };
    return { svg, turn(degrees) { yaw += degrees; draw(); } };
  }

  const figures = [...document.querySelectorAll("svg.space")].map(turnable);
  for (const figure of figures) {
    let from = null;
    figure.svg.tabIndex = 0;
    figure.svg.addEventListener("pointerdown", event => {
      from = event.clientX; figure.held = true; figure.svg.setPointerCapture(event.pointerId);
    });
    figure.svg.addEventListener("pointermove", event => {
      if (from === null) return;
      figure.turn((event.clientX - from) * 0.7); from = event.clientX;
    });
    for (const end of ["pointerup", "pointercancel"])
      figure.svg.addEventListener(end, () => { from = null; });
    figure.svg.addEventListener("keydown", event => {
      const step = { ArrowLeft: -10, ArrowRight: 10 }[event.key];
      if (step) { figure.held = true; figure.turn(step); event.preventDefault(); }
    });
  }

  const hero = figures.find(figure => figure.svg.closest(".stage"));
  if (hero && !still) {
    let visible = true, before = null;
    new IntersectionObserver(entries => { visible = entries[entries.length - 1].isIntersecting; }).observe(hero.svg);
    const spin = now => {
      if (before !== null && visible && !hero.held && now - before < 200) hero.turn((now - before) * 0.012);
      before = now;
      if (!hero.held) requestAnimationFrame(spin);
    };
    requestAnimationFrame(spin);
  }
  document.documentElement.classList.add("live");
})();
