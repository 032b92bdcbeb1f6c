// Everything together: heading, filters, selection, colours, printing.

function choose(hit) {
  if (hit) select(hit.event || null, { claim: hit.claim });
  else select(null);
}

// Show an event (or a claim whose event is not in the report) in the details, or nothing.
function select(event, { claim = null, reveal: show = false } = {}) {
  const before = view.selected;
  view.selected = event || null;
  const mine = event ? claimsOfEvent.get(event) || [renewedClaim.get(event)].filter(Boolean) : [];
  view.selectedClaim = claim || mine.find((one) => one.begin === event) || mine[0] || null;
  drawDetails();
  byId("details").scrollTop = 0;
  if (event) reveal(event);
  if (event && show && innerWidth > 1180) byId("plot").scrollIntoView({ block: "nearest" });
  if (before !== view.selected) markRow();
  try {
    history.replaceState(null, "", event ? `#${event.id.slice(0, 16)}` : "#");
  } catch { /* some viewers do not let a file have a place */ }
  redraw();
}

function markRow() {
  const chosen = byId("table").querySelector("tr.chosen");
  if (chosen || view.selected) drawTable();
}

function drawHead() {
  byId("title").textContent = harmless(DATA.title);
  byId("project").replaceChildren(DATA.title === DATA.project ? "" : " · project ",
    DATA.title === DATA.project ? "" : said(DATA.project));
  const last = ORIGIN + DATA.length_us;
  byId("range").textContent = events.length
    ? `${fullDay(ORIGIN)}, ${clock(ORIGIN)} – ${day(ORIGIN) === day(last) ? "" : `${fullDay(last)}, `}${clock(last)} UTC · ${span(DATA.length_us)}`
    : "No events in this range";
  const { counts } = DATA;
  const done = DATA.steps.filter((step) => step.state === "complete").length;
  const figures = [
    ["Agents", DATA.agents.length.toLocaleString("en-GB")],
    ["Steps complete", DATA.steps.length ? `${done.toLocaleString("en-GB")} of ${DATA.steps.length.toLocaleString("en-GB")}` : "0"],
    ["Claims", counts.claims.toLocaleString("en-GB")],
    ["Takeovers", counts.takeovers.toLocaleString("en-GB")],
    ["Lost races", counts.lost_races.toLocaleString("en-GB")],
    ["Messages", counts.messages.toLocaleString("en-GB")],
    ["Events", counts.events.toLocaleString("en-GB")],
  ];
  byId("figures").replaceChildren(...figures.map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  const all = counts.events + counts.attempts;
  if (counts.shown < all) {
    byId("thinned").hidden = false;
    byId("thinned").textContent = `Thinned out: of ${all.toLocaleString("en-GB")} events this page holds`
      + ` ${counts.shown.toLocaleString("en-GB")}. All claims are drawn and the tables of steps, memory and artifacts`
      + " count everything; renewals, notes, messages, acknowledgements and memory writes are thinned evenly."
      + " A shorter range (--from, --to) shows all of its events.";
  }
}

function chip(label, swatch, off, toggle, only) {
  return h("button", {
    type: "button", class: "chip", "aria-pressed": String(!off), title: `${off ? "Show" : "Hide"}; double-click: only this`,
    onclick: toggle, ondblclick: only,
  }, swatch && h("span", { class: `swatch ${swatch}`, "aria-hidden": "true" }), said(label));
}

function drawChips() {
  const { agentsOff, kindsOff } = filters;
  const flip = (set, value) => () => {
    if (!set.delete(value)) set.add(value);
    refilter();
  };
  const only = (set, all, value) => () => {
    set.clear();
    all.filter((one) => one !== value).forEach((one) => set.add(one));
    refilter();
  };
  const ids = KINDS.map((kind) => kind.id);
  const kept = document.activeElement?.closest(".chips");
  const nth = kept ? [...kept.children].indexOf(document.activeElement) : -1;
  byId("kinds").replaceChildren(...KINDS.map((kind) =>
    chip(kind.label, `swatch-kind-${kind.id}`, kindsOff.has(kind.id), flip(kindsOff, kind.id), only(kindsOff, ids, kind.id))));
  const all = DATA.agents.map((_, i) => i);
  byId("agents").replaceChildren(...DATA.agents.map((name, i) =>
    chip(name, null, agentsOff.has(i), flip(agentsOff, i), only(agentsOff, all, i))));
  if (kept && nth >= 0) kept.children[nth]?.focus();
  byId("reset").hidden = !isFiltered();
  byId("matches").textContent = isFiltered() ? `${shown.count.toLocaleString("en-GB")} of ${count(events.length, "event")}` : "";
}

function refilter() {
  applyFilters();
  drawChips();
  tableState.page = 0;
  drawTable();
  layOut();
}

function drawLegend() {
  const item = (swatch, label) => h("span", { role: "listitem" }, h("span", { class: `swatch ${swatch}`, "aria-hidden": "true" }), label);
  const used = new Set(claims.map((claim) => claim.outcome));
  const kinds = new Set(events.map((event) => event.kind));
  byId("legend").replaceChildren(
    ...Object.entries(OUTCOMES).filter(([id]) => used.has(id)).map(([id, label]) => item(`swatch-${id}`, label)),
    claims.some((claim) => claim.renewals) && item("swatch-renewal", "renewal"),
    events.some(isStepMark) && item("swatch-step", "step, no claim"),
    ...[["messages", "message"], ["memory", "memory write"], ["artifacts", "artifact"], ["barriers", "barrier"], ["lost", "lost attempt"], ["other", "other"]]
      .filter(([id]) => kinds.has(id)).map(([id, label]) => item(`swatch-kind-${id}`, label)),
    events.some((event) => event.kind === "memory" && isHollow(event.op)) && item("swatch-hollow", "memory added to"),
    messages.some((message) => message.event.chain === "inbox/@all") && item("swatch-broadcast", "broadcast"),
  );
  for (const node of [...byId("legend").childNodes]) if (node.nodeType === 3) node.remove();
}

function setTheme(theme) {
  if (theme === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", theme);
  for (const button of document.querySelectorAll(".theme button")) {
    button.setAttribute("aria-pressed", String(button.dataset.theme === theme));
  }
  readColours();
  redraw();
}

function print(on) {
  view.printing = on;
  document.body.classList.toggle("printing", on);
  drawTable();
  readColours();
  draw();
}

function start() {
  drawHead();
  applyFilters();
  readColours();
  drawChips();
  drawLegend();
  drawDetails();
  layOut();
  drawTable();
  [view.from, view.to] = whole();
  draw();
  listenToPointer();
  listenToKeys();
  listenToTabs();
  let typed = 0;
  byId("query").addEventListener("input", (e) => {
    clearTimeout(typed);
    typed = setTimeout(() => {
      filters.query = e.target.value;
      refilter();
    }, events.length > 3000 ? 150 : 0);
  });
  byId("reset").addEventListener("click", () => {
    filters.query = byId("query").value = "";
    filters.agentsOff.clear();
    filters.kindsOff.clear();
    refilter();
    byId("query").focus();
  });
  byId("zoom-in").addEventListener("click", () => zoom(0.5));
  byId("zoom-out").addEventListener("click", () => zoom(2));
  byId("fit").addEventListener("click", fit);
  byId("scroll").addEventListener("scroll", redraw, { passive: true });
  new ResizeObserver(redraw).observe(byId("scroll"));
  for (const button of document.querySelectorAll(".theme button")) {
    button.addEventListener("click", () => setTheme(button.dataset.theme));
  }
  // A browser may go back from paper to screen before or after it says that it has printed.
  for (const media of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(media).addEventListener("change", () => {
      readColours();
      redraw();
    });
  }
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
  document.addEventListener("keydown", (e) => {
    if (e.key !== "Escape" || (!view.selected && !view.selectedClaim)) return;
    const inside = byId("details").contains(document.activeElement);
    select(null);
    if (inside) byId("plot").focus();
  });
  const asked = location.hash.slice(1);
  const found = /^[0-9a-f]{8,64}$/.test(asked) && events.find((event) => event.id.startsWith(asked));
  if (found) select(found, { reveal: true });
  // For tests, and for whoever opens the console.
  window.report = { data: DATA, view, events, claims, filters, hits: () => hits, lanes: () => lanes, shown, draw, setWindow, select };
}

start();
