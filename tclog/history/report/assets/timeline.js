// The timeline: which part of the run is in sight, and how pointer, wheel and keys change that.

const EDGE = 0.025; // of the width, free on both sides when the whole run is shown
const SHORTEST = 20; // microseconds in sight at the deepest zoom
const view = {
  from: 0, to: 1, width: 0, height: 0, scroll: 0, gutter: 0, ticks: [],
  selected: null, selectedClaim: null, printing: false,
};
let pending = 0;

function xOf(t) {
  return ((t - view.from) / (view.to - view.from)) * view.width;
}

function tOf(x) {
  return view.from + (x / view.width) * (view.to - view.from);
}

function whole() {
  const edge = LENGTH * EDGE;
  return [-edge, LENGTH + edge];
}

function setWindow(from, to) {
  const [first, last] = whole();
  const length = Math.min(Math.max(to - from, SHORTEST), last - first);
  // Zooming at the shortest or longest keeps the middle where it was.
  let start = from + (to - from - length) / 2;
  start = Math.min(Math.max(start, first), last - length);
  view.from = start;
  view.to = start + length;
  redraw();
}

function zoom(factor, x = view.width / 2) {
  const t = tOf(x), length = (view.to - view.from) * factor;
  const from = t - (x / view.width) * length;
  setWindow(from, from + length);
}

function pan(pixels) {
  const by = (pixels / view.width) * (view.to - view.from);
  setWindow(view.from + by, view.to + by);
}

function fit() {
  setWindow(...whole());
}

// Bring a time, and if need be a lane, into sight.
function reveal(event) {
  const length = view.to - view.from;
  if (event.t < view.from + length * 0.04 || event.t > view.to - length * 0.04) {
    setWindow(event.t - length / 2, event.t + length / 2);
  }
  const lane = laneOfAgent[event.agent];
  const box = byId("scroll");
  if (lane && (lane.top < box.scrollTop || lane.top + lane.height > box.scrollTop + box.clientHeight)) {
    box.scrollTop = lane.top - box.clientHeight / 2 + lane.height / 2;
  }
}

// -- drawing, at most once a frame ----------------------------------------------------------------

function redraw() {
  if (!pending) pending = requestAnimationFrame(draw);
}

function draw() {
  if (pending) cancelAnimationFrame(pending);
  pending = 0;
  const plot = byId("plot"), box = byId("scroll");
  view.width = Math.max(plot.clientWidth, 50);
  view.height = view.printing ? plot.parentElement.clientHeight : Math.max(box.clientHeight, 1);
  view.scroll = view.printing ? 0 : box.scrollTop;
  view.gutter = plot.offsetLeft;
  view.ticks = ticks(view.from, view.to, view.width, 84);
  drawPlot(byId("canvas"));
  drawAxis(byId("axis"));
  drawOverview(byId("overview"));
  sayWindow();
}

function sayWindow() {
  const from = Math.max(0, view.from), to = Math.min(LENGTH, view.to);
  const digits = to - from < 10 * SECOND ? 3 : 0;
  const days = day(ORIGIN) !== day(ORIGIN + DATA.length_us);
  const said = (t) => `${days ? `${day(ORIGIN + t)} ` : ""}${clock(ORIGIN + t, digits)}`;
  byId("window").textContent = events.length ? `${said(from)} – ${said(to)} UTC · ${span(to - from)}` : "";
}

// Lay the lanes anew, after a filter or at the beginning.
function layOut() {
  const height = layLanes();
  byId("sheet").style.height = `${height}px`;
  const none = !lanes.length;
  byId("empty").hidden = !none;
  byId("empty").textContent = events.length
    ? "All agents are switched off." : "Nothing happened in this range.";
  byId("lanes").replaceChildren(...lanes.map((lane) => {
    const held = claims.filter((claim) => claim.agent === lane.agent).length;
    const name = said(lane.name, { class: "lane-name", title: harmless(lane.name) });
    const item = h("li", { class: "lane" }, name,
      h("span", { class: "lane-note" }, held ? count(held, "claim") : "no claims"));
    item.style.top = `${lane.top}px`;
    item.style.height = `${lane.height}px`;
    return item;
  }));
  redraw();
}

// -- the pointer ----------------------------------------------------------------------------------

// What is at a place of the plot: marks before bars before lines, and of each the nearest.
function hitAt(x, y) {
  const order = { mark: 0, bar: 1, line: 2 };
  let best = null, bestRank = 1e9;
  for (const hit of hits) {
    if (x < hit.x0 || x > hit.x1 || y < hit.y0 || y > hit.y1) continue;
    const rank = order[hit.type] * 1000 + Math.abs(x - (hit.x0 + hit.x1) / 2) * (hit.type === "bar" ? 0 : 1);
    if (rank < bestRank) [best, bestRank] = [hit, rank];
  }
  return best;
}


function hitOf(pointer) {
  const box = byId("canvas").getBoundingClientRect();
  return hitAt(pointer.clientX - box.left, pointer.clientY - box.top + view.scroll);
}

function tipText(hit) {
  if (hit.type === "bar") {
    const claim = hit.claim;
    return [
      `${agentName(claim.agent)} · ${claim.step}`,
      `${OUTCOMES[claim.outcome] || claim.outcome} · ${span(claim.end - claim.start)}`
      + (claim.renewals ? ` · ${count(claim.renewals.length, "renewal")}` : ""),
    ];
  }
  const event = hit.event;
  const lines = [`${agentName(event.agent)} · ${event.op}${event.more.attempt ? " (attempt)" : ""}`];
  lines.push(hit.count > 1 ? `${count(hit.count, "event")} here: zoom in` : event.chain);
  if (event.words && !(hit.count > 1)) lines.push(event.words);
  return lines;
}

function showTip(pointer, hit) {
  const tip = byId("tip");
  tip.hidden = !hit;
  byId("plot").classList.toggle("over", Boolean(hit));
  if (!hit) return;
  tip.replaceChildren(...tipText(hit).map((line, nth) =>
    h("div", { class: nth ? "tip-more" : "tip-first", dir: "auto" }, plain(line).slice(0, 160))));
  const stage = byId("tip").parentElement.getBoundingClientRect();
  const x = pointer.clientX - stage.left, y = pointer.clientY - stage.top;
  const left = Math.min(Math.max(x + 14, 4), stage.width - tip.offsetWidth - 4);
  tip.style.left = `${Math.max(4, left)}px`;
  const below = y + 18;
  tip.style.top = `${below + tip.offsetHeight > stage.height ? Math.max(0, y - tip.offsetHeight - 12) : below}px`;
}

function listenToPointer() {
  const plot = byId("plot");
  const held = new Map(); // pointers that are down: two of them pinch
  let moved = 0, pinch = 0;
  plot.addEventListener("pointerdown", (e) => {
    if (e.button) return;
    held.set(e.pointerId, [e.clientX, e.clientY]);
    moved = 0;
    pinch = 0;
  });
  window.addEventListener("pointermove", (e) => {
    const before = held.get(e.pointerId);
    if (!before) {
      if (e.target === plot || e.target === byId("canvas")) showTip(e, hitOf(e));
      return;
    }
    held.set(e.pointerId, [e.clientX, e.clientY]);
    if (held.size === 2) {
      const [a, b] = [...held.values()];
      const apart = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (pinch) zoom(pinch / apart, (a[0] + b[0]) / 2 - plot.getBoundingClientRect().left);
      pinch = apart;
      moved = 99;
      return;
    }
    moved += Math.abs(e.clientX - before[0]) + Math.abs(e.clientY - before[1]);
    if (moved < 4) return;
    plot.setPointerCapture?.(e.pointerId);
    plot.classList.add("dragging");
    showTip(e, null);
    pan(before[0] - e.clientX);
    if (e.pointerType === "mouse") byId("scroll").scrollTop -= e.clientY - before[1];
  });
  for (const end of ["pointerup", "pointercancel"]) {
    window.addEventListener(end, (e) => {
      if (!held.delete(e.pointerId)) return;
      plot.classList.remove("dragging");
      if (moved < 4 && end === "pointerup") choose(hitOf(e));
    });
  }
  plot.addEventListener("pointerleave", (e) => showTip(e, null));
  plot.addEventListener("dblclick", (e) => zoom(0.4, e.clientX - plot.getBoundingClientRect().left));
  plot.addEventListener("wheel", (e) => {
    const unit = e.deltaMode === 1 ? 16 : 1;
    if (e.ctrlKey || e.metaKey || e.altKey) {
      e.preventDefault();
      const x = e.clientX - plot.getBoundingClientRect().left;
      zoom(Math.exp(Math.max(-60, Math.min(60, e.deltaY * unit)) / 150), x);
    } else if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
      e.preventDefault();
      pan((e.deltaX || e.deltaY) * unit);
    }
  }, { passive: false });
  const overview = byId("overview");
  const jump = (e) => {
    const box = overview.getBoundingClientRect();
    const t = ((e.clientX - box.left) / box.width) * LENGTH, half = (view.to - view.from) / 2;
    setWindow(t - half, t + half);
  };
  overview.addEventListener("pointerdown", (e) => {
    overview.setPointerCapture(e.pointerId);
    jump(e);
  });
  overview.addEventListener("pointermove", (e) => {
    if (overview.hasPointerCapture(e.pointerId)) jump(e);
  });
}

// -- the keyboard ---------------------------------------------------------------------------------

function listenToKeys() {
  const keys = {
    ArrowLeft: () => pan(-view.width * 0.15),
    ArrowRight: () => pan(view.width * 0.15),
    ArrowUp: () => { byId("scroll").scrollTop -= 60; },
    ArrowDown: () => { byId("scroll").scrollTop += 60; },
    PageUp: () => pan(-view.width * 0.9),
    PageDown: () => pan(view.width * 0.9),
    Home: () => setWindow(whole()[0], whole()[0] + view.to - view.from),
    End: () => setWindow(whole()[1] - (view.to - view.from), whole()[1]),
    "+": () => zoom(0.6),
    "=": () => zoom(0.6),
    "-": () => zoom(1 / 0.6),
    0: fit,
    n: () => step(1),
    p: () => step(-1),
    Enter: () => view.selected && byId("details").focus(),
  };
  byId("plot").addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const act = keys[e.key.length === 1 ? e.key.toLowerCase() : e.key];
    if (!act) return;
    e.preventDefault();
    act();
  });
}

// Select the next or previous event that the filters let through.
function step(way) {
  let i = view.selected ? view.selected.i + way : way > 0 ? firstAt(view.from) : events.length - 1;
  while (i >= 0 && i < events.length && !shown.events[i]) i += way;
  if (i < 0 || i >= events.length) return;
  select(events[i]);
  byId("said").textContent = `${agentName(events[i].agent)} ${events[i].op} ${events[i].chain}`;
}
