// Drawing, its second part: the marks, what is selected, the axis and the overview.

function drawMarks(context, seen) {
  const inSight = new Set(seen.map((lane) => lane.agent));
  const first = firstAt(view.from), buckets = new Map();
  for (let i = first; i < events.length && events[i].t <= view.to; i += 1) {
    const event = events[i];
    if (!shown.events[i] || !inSight.has(event.agent)) continue;
    // A claim's beginning and end are its bar.
    if (event.kind === "claims" && claimsOfEvent.has(event)) continue;
    const x = xOf(event.t);
    const renewed = renewedClaim.get(event);
    if (renewed) {
      // A renewal is a tick in its claim's bar, and is found there.
      const y = laneOfAgent[event.agent].bars + renewed.row * (BAR + BAR_GAP);
      if (shown.claims[renewed.i]) hits.push({ type: "mark", x0: x - 2.5, x1: x + 2.5, y0: y + BAR - 8, y1: y + BAR + 2, event, count: 1 });
      continue;
    }
    const key = `${event.agent} ${event.kind} ${Math.floor(x / MARK_APART)}`;
    const bucket = buckets.get(key);
    if (bucket) bucket.count += 1;
    else buckets.set(key, { event, x, count: 1 });
  }
  for (const { event, x, count: number } of buckets.values()) {
    const y = markY(laneOfAgent[event.agent], event.kind);
    drawMark(context, event.kind, x, y, event.op);
    hits.push({ type: "mark", x0: x - 6, x1: x + 6, y0: y - 7, y1: y + 7, event, count: number });
  }
}

// The place of the first event at or after a time.
function firstAt(t) {
  let low = 0, high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events[middle].t < t) low = middle + 1;
    else high = middle;
  }
  return low;
}

// What is added to a value is a hollow mark: the rest of the value stays.
function isHollow(op) {
  return Boolean(op) && op !== "memory.set" && op !== "memory.delete";
}

// Claims are bars and renewals ticks in them; other events of steps are marks.
function isStepMark(event) {
  return event.kind === "claims" && !claimsOfEvent.has(event) && !renewedClaim.has(event);
}

function drawMark(context, kind, x, y, op) {
  context.fillStyle = context.strokeStyle = colours[kind] || colours.other;
  context.lineWidth = 1.75;
  context.beginPath();
  switch (kind) {
    case "memory":
      context.moveTo(x, y - 5);
      context.lineTo(x + 5, y);
      context.lineTo(x, y + 5);
      context.lineTo(x - 5, y);
      context.closePath();
      if (!isHollow(op)) context.fill();
      else {
        context.fillStyle = colours.card;
        context.fill();
        context.lineWidth = 1.5;
        context.stroke();
      }
      return;
    case "artifacts":
      context.roundRect(x - 4.5, y - 4.5, 9, 9, 2);
      context.fill();
      return;
    case "barriers":
      context.moveTo(x, y - 5);
      context.lineTo(x + 5, y + 4);
      context.lineTo(x - 5, y + 4);
      context.closePath();
      context.fill();
      return;
    case "messages":
      context.arc(x, y, 3.5, 0, 7);
      context.fill();
      return;
    case "lost":
      context.moveTo(x - 4, y - 4);
      context.lineTo(x + 4, y + 4);
      context.moveTo(x + 4, y - 4);
      context.lineTo(x - 4, y + 4);
      context.stroke();
      return;
    case "claims":
      context.arc(x, y, 3, 0, 7);
      context.stroke();
      return;
    default:
      context.globalAlpha = 0.7;
      context.fillRect(x - 1, y - 3, 2, 6);
      context.globalAlpha = 1;
  }
}

function drawSelection(context) {
  const event = view.selected;
  if (!event || !laneOfAgent[event.agent]) return;
  const lane = laneOfAgent[event.agent], x = xOf(event.t), y = markY(lane, event.kind);
  context.strokeStyle = colours.accent;
  context.globalAlpha = 0.5;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(crisp(x), view.scroll);
  context.lineTo(crisp(x), view.scroll + view.height);
  context.stroke();
  context.globalAlpha = 1;
  if (event.kind === "claims" && (claimsOfEvent.has(event) || renewedClaim.has(event))) return;
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, 9, 0, 7);
  context.stroke();
}

// -- axis and overview ----------------------------------------------------------------------------

function drawAxis(canvas) {
  const context = prepared(canvas, view.width, 26);
  context.font = SMALL;
  context.fillStyle = colours.muted;
  context.textBaseline = "middle";
  for (const tick of view.ticks) {
    const x = xOf(tick.t);
    const half = widthOf(context, tick.label, smallWidths) / 2;
    if (x - half < 2 || x + half > view.width - 2) continue;
    context.fillText(tick.label, x - half, 12);
    context.fillRect(Math.round(x), 21, 1, 5);
  }
}

function drawOverview(canvas) {
  const width = canvas.parentElement.clientWidth - view.gutter - 1;
  const height = 34;
  const context = prepared(canvas, width, height);
  const size = 4, number = Math.max(1, Math.floor(width / size));
  const bars = new Float64Array(number);
  for (const event of events) {
    if (!shown.events[event.i]) continue;
    bars[Math.min(number - 1, Math.floor((event.t / LENGTH) * number))] += 1;
  }
  const most = Math.max(1, ...bars);
  for (let i = 0; i < number; i += 1) {
    if (!bars[i]) continue;
    // By the square root, so that a burst does not flatten all the rest.
    const tall = Math.max(2, Math.sqrt(bars[i] / most) * (height - 6));
    context.fillStyle = colours.faint;
    context.fillRect(i * size, height - tall, size - 1, tall);
  }
  const left = Math.max(0, (view.from / LENGTH) * width);
  const right = Math.min(width, (view.to / LENGTH) * width);
  context.fillStyle = colours.accent;
  context.globalAlpha = 0.13;
  context.fillRect(left, 0, Math.max(right - left, 2), height);
  context.globalAlpha = 0.9;
  context.fillRect(left, 0, 2, height);
  context.fillRect(Math.max(left, right - 2), 0, 2, height);
  context.globalAlpha = 1;
}
