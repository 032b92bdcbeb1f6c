// Drawing. Each draw notes what it has put where, so that the pointer finds it again: `hits`.

const FONT = '12px Inter, ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif';
const SMALL = FONT.replace("12px", "11px");
// Marks of one kind nearer than this on a lane become one, and so do lines of messages.
const MARK_APART = 7, LINE_APART = 3, LINES_PLAIN_MAX = 250;
const GLYPHS = {
  complete: "✓", failed: "✕", blocked: "!", needs_review: "?", released: "↩", taken_over: "⤳",
  lapsed: "…", held: "",
};

let hits = [];
let colours = {};
const widths = new Map(), smallWidths = new Map(); // one for each font

function readColours() {
  const style = getComputedStyle(document.documentElement);
  colours = {};
  for (const name of ["bg", "card", "ink", "muted", "faint", "line", "stripe", "accent", "complete", "held",
    "released", "taken_over", "lapsed", "failed", "blocked", "needs_review", "messages",
    "broadcast", "memory", "artifacts", "barriers", "lost", "other", "claims"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
}

function widthOf(context, text, known = widths) {
  let width = known.get(text);
  if (width === undefined) {
    if (known.size > 20000) known.clear();
    width = context.measureText(text).width;
    known.set(text, width);
  }
  return width;
}

// Cut a text to a width, by whole characters as people count them.
const segmenter = typeof Intl !== "undefined" && Intl.Segmenter ? new Intl.Segmenter() : null;
function fitted(context, text, width) {
  if (widthOf(context, text) <= width) return text;
  const parts = segmenter ? [...segmenter.segment(text.slice(0, 200))].map((s) => s.segment)
    : [...text.slice(0, 200)];
  let low = 0, high = parts.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${parts.slice(0, middle).join("")}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low ? `${parts.slice(0, low).join("")}…` : "";
}

// Make a canvas fit its place and the screen's pixels; returns its context in CSS pixels.
function prepared(canvas, width, height) {
  const ratio = view.printing ? 2 : Math.min(window.devicePixelRatio || 1, 3);
  const w = Math.max(1, Math.round(width * ratio)), hh = Math.max(1, Math.round(height * ratio));
  if (canvas.width !== w || canvas.height !== hh) {
    canvas.width = w;
    canvas.height = hh;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function crisp(value) {
  return Math.round(value) + 0.5;
}

// -- the lanes ------------------------------------------------------------------------------------

function drawPlot(canvas) {
  const { width, height, scroll } = view;
  const context = prepared(canvas, width, height);
  hits = [];
  context.save();
  context.translate(0, -scroll);
  const seen = lanes.filter((lane) => lane.top + lane.height > scroll && lane.top < scroll + height);
  drawLanes(context, seen);
  drawLines(context);
  drawBars(context, seen);
  drawMarks(context, seen);
  drawSelection(context);
  context.restore();
}

function drawLanes(context, seen) {
  const { width, height, scroll } = view;
  for (const lane of seen) {
    if (lanes.indexOf(lane) % 2) {
      context.fillStyle = colours.stripe;
      context.fillRect(0, lane.top, width, lane.height);
    }
  }
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.beginPath();
  for (const tick of view.ticks) {
    const x = crisp(xOf(tick.t));
    context.moveTo(x, scroll);
    context.lineTo(x, scroll + height);
  }
  for (const lane of seen) {
    context.moveTo(0, crisp(lane.top + lane.height - 1));
    context.lineTo(width, crisp(lane.top + lane.height - 1));
  }
  context.stroke();
}

// -- messages -------------------------------------------------------------------------------------

function linesShown() {
  const found = [];
  const taken = new Set();
  for (const message of messages) {
    const event = message.event;
    if (!shown.events[event.i] || event.t < view.from || event.t > view.to) continue;
    const from = laneOfAgent[event.agent];
    const to = message.to.map((agent) => laneOfAgent[agent]).filter((lane) => lane && lane !== from);
    if (!from || !to.length) continue;
    const x = xOf(event.t);
    const broadcast = message.to.length > 1 && event.chain === "inbox/@all";
    const key = `${Math.round(x / LINE_APART)} ${broadcast ? "all" : to.map((l) => l.agent)} ${from.agent}`;
    if (taken.has(key)) continue;
    taken.add(key);
    found.push({ message, event, from, to, x, broadcast });
  }
  return found;
}

function drawLines(context) {
  const found = linesShown();
  const many = found.length > LINES_PLAIN_MAX;
  const alpha = Math.max(0.1, Math.min(0.75, 80 / Math.max(found.length, 1)));
  for (const { message, event, from, to, x, broadcast } of found) {
    const colour = broadcast ? colours.broadcast : colours.messages;
    const ys = to.map((lane) => lane.lower);
    const top = Math.min(from.lower, ...ys), bottom = Math.max(from.lower, ...ys);
    if (bottom < view.scroll || top > view.scroll + view.height) continue;
    const chosen = view.selected === event;
    context.globalAlpha = chosen ? 1 : broadcast ? alpha * 0.8 : alpha;
    context.strokeStyle = context.fillStyle = colour;
    context.lineWidth = chosen ? 2 : 1.25;
    context.setLineDash(broadcast ? [2, 3] : []);
    context.beginPath();
    context.moveTo(x, top);
    context.lineTo(x, bottom);
    context.stroke();
    context.setLineDash([]);
    if (many && !chosen) continue;
    for (const y of ys) {
      if (broadcast) dot(context, x, y, 2.2);
      else arrowHead(context, x, y, y > from.lower ? 1 : -1);
    }
    hits.push({ type: "line", x0: x - 3, x1: x + 3, y0: top, y1: bottom, event, message });
  }
  context.globalAlpha = 1;
}

function arrowHead(context, x, y, way) {
  context.beginPath();
  context.moveTo(x, y + way * 1);
  context.lineTo(x - 4, y - way * 7);
  context.lineTo(x + 4, y - way * 7);
  context.closePath();
  context.fill();
}

function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fill();
}

// -- claims ---------------------------------------------------------------------------------------

function drawBars(context, seen) {
  const perRow = new Map();
  const inSight = new Set(seen.map((lane) => lane.agent));
  for (const claim of claims) {
    if (!shown.claims[claim.i] || !inSight.has(claim.agent)) continue;
    if (claim.end < view.from || claim.start > view.to) continue;
    const key = claim.agent * 16 + claim.row;
    if (!perRow.has(key)) perRow.set(key, []);
    perRow.get(key).push(claim);
  }
  context.textBaseline = "middle";
  for (const row of perRow.values()) {
    let drawnTo = -1e9, drawnOutcome = "", labelledTo = 0;
    row.forEach((claim, nth) => {
      const lane = laneOfAgent[claim.agent];
      const y = lane.bars + claim.row * (BAR + BAR_GAP);
      const left = Math.max(xOf(claim.start), -10), right = Math.min(xOf(claim.end), view.width + 10);
      const w = Math.max(right - left, 3);
      // Thousands of claims in a row of a thousand pixels: those that nobody could tell apart.
      if (w <= 3 && left + w <= drawnTo + 1 && claim.outcome === drawnOutcome) return;
      drawnTo = left + w;
      drawnOutcome = claim.outcome;
      const next = row[nth + 1];
      const room = (next ? Math.max(xOf(next.start), left + w) : view.width) - (left + w) - 8;
      drawBar(context, claim, left, y, w, Math.max(0, left - (labelledTo + 8)), room);
      labelledTo = Math.max(left + w, labelEnd);
      hits.push({ type: "bar", x0: left - 1, x1: left + w + 1, y0: y, y1: y + BAR, claim, event: claim.begin });
    });
  }
}

function barPath(context, x, y, w) {
  context.beginPath();
  context.roundRect(x, y, w, BAR, Math.min(4, w / 3));
}

function drawBar(context, claim, x, y, w, before, room) {
  const colour = colours[claim.outcome] || colours.claims;
  const chosen = view.selectedClaim === claim;
  const held = lostFrom(claim, x, w);
  // Where bars are slivers their edges would be all there is to see.
  if (w < 7 && !chosen) {
    context.fillStyle = colour;
    context.globalAlpha = 0.62;
    context.fillRect(x, y, w, BAR);
    context.globalAlpha = 1;
    barLabel(context, claim, x, y, w, before, room, colour);
    return;
  }
  context.save();
  barPath(context, x, y, w);
  context.fillStyle = colours.card;
  context.fill();
  context.globalAlpha = 0.24;
  context.fillStyle = colour;
  context.fill();
  context.globalAlpha = 1;
  if (w >= 7) {
    context.save();
    context.clip();
    if (held < w) hatch(context, x + held, y, w - held, colour);
    context.fillStyle = colour;
    context.fillRect(x, y, 3, BAR);
    for (const at of claim.renewals || []) {
      const rx = Math.round(xOf(at));
      if (rx > x + 3 && rx < x + w) context.fillRect(rx, y + BAR - 6, 1.5, 6);
    }
    context.restore();
  }
  if (w >= 7 || chosen) {
    barPath(context, x + 0.5, y + 0.5, w - 1);
    context.strokeStyle = chosen ? colours.accent : colour;
    context.lineWidth = chosen ? 2.5 : 1;
    context.stroke();
  }
  context.restore();
  barLabel(context, claim, x, y, w, before, room, colour);
}

// How many pixels of a bar were really held: the rest came after the end of the lease.
function lostFrom(claim, x, w) {
  if (claim.outcome !== "taken_over" || claim.lease_end === undefined) return w;
  return Math.max(4, Math.min(w, xOf(claim.lease_end) - x));
}

function hatch(context, x, y, w, colour) {
  context.fillStyle = colours.card;
  context.fillRect(x, y, w, BAR);
  context.strokeStyle = colour;
  context.globalAlpha = 0.55;
  context.lineWidth = 1;
  const first = Math.floor(Math.max(x, -20) / 6) * 6 - BAR;
  context.save();
  context.beginPath();
  context.rect(x, y, w, BAR);
  context.clip();
  context.beginPath();
  for (let at = first; at < Math.min(x + w, view.width + 20); at += 6) {
    context.moveTo(at, y + BAR);
    context.lineTo(at + BAR, y);
  }
  context.stroke();
  context.restore();
  context.globalAlpha = 1;
}

// How far to the right the last label reached, so that the next bar's does not meet it.
let labelEnd = 0;

// The step's name: in the bar, or else beside it where there is room.
function barLabel(context, claim, x, y, w, before, room, colour) {
  labelEnd = 0;
  // Among thousands of slivers nothing has room, and measuring texts is what takes time.
  if (w < 20 && room < 40 && before < 40) return;
  context.font = FONT;
  const text = claim.label;
  const glyph = GLYPHS[claim.outcome] || "";
  // A bar that begins to the left of the window keeps its label in sight.
  const start = Math.max(x, 0), right = Math.min(x + w, view.width);
  const inside = right - start;
  const middle = y + BAR / 2 + 0.5;
  const wide = widthOf(context, text);
  const glyphRoom = glyph && inside >= Math.min(wide, 60) + 28 ? 16 : 0;
  if (wide <= inside - 12 || inside > 84) {
    const label = fitted(context, text, inside - 12 - glyphRoom);
    const hatched = claim.outcome === "taken_over" && lostFrom(claim, x, w) < start - x + 8 + widthOf(context, label);
    if (hatched) plate(context, start + 5, y + 3, widthOf(context, label) + 6);
    context.fillStyle = colours.ink;
    context.fillText(label, start + 8, middle);
  } else {
    context.fillStyle = colours.muted;
    if (room > Math.min(wide, 72)) {
      const label = fitted(context, text, room);
      context.fillText(label, x + w + 5, middle);
      labelEnd = x + w + 5 + widthOf(context, label);
    } else if (before > wide) {
      context.fillText(text, x - 5 - wide, middle);
    }
  }
  if ((glyphRoom || (glyph && inside > 22 && wide > inside - 12)) && x + w < view.width + 4) {
    if (claim.outcome === "taken_over") plate(context, x + w - 17, y + 3, 14);
    context.fillStyle = colour;
    context.textAlign = "center";
    context.fillText(glyph, x + w - 10, middle);
    context.textAlign = "left";
  }
}

// A patch under text that would stand on hatching.
function plate(context, x, y, w) {
  context.globalAlpha = 0.86;
  context.fillStyle = colours.card;
  context.fillRect(x, y, w, BAR - 6);
  context.globalAlpha = 1;
}
