// Where everything stands up and down: a lane for each agent, with rows of claims that overlap in
// time, and two rows of marks below them.

const BAR = 20, BAR_GAP = 4, PAD = 8, MARK_ROW = 14, LANE_MIN = 44, ROWS_MAX = 6;
const UPPER = new Set(["memory", "artifacts", "barriers"]);

let lanes = [];
let laneOfAgent = [];

// Give every claim a row in which it meets no other; once, whatever is filtered, so that nothing
// jumps. Beyond ROWS_MAX they share the last one.
function packRows() {
  const ends = DATA.agents.map(() => []);
  for (const claim of claims) {
    const rows = ends[claim.agent];
    let row = rows.findIndex((end) => end <= claim.start);
    if (row < 0) row = rows.length < ROWS_MAX ? rows.length : ROWS_MAX - 1;
    rows[row] = Math.max(rows[row] || 0, claim.end);
    claim.row = row;
  }
  return ends.map((rows) => rows.length);
}

const rowsOfAgent = packRows();

function layLanes() {
  lanes = [];
  laneOfAgent = DATA.agents.map(() => null);
  let top = 0;
  DATA.agents.forEach((name, agent) => {
    if (filters.agentsOff.has(agent)) return;
    const rows = filters.kindsOff.has("claims") ? 0 : rowsOfAgent[agent];
    const bars = rows ? rows * (BAR + BAR_GAP) : 0;
    const height = Math.max(LANE_MIN, PAD + bars + 2 * MARK_ROW + PAD);
    // The marks stand below the bars, or in the middle of a lane without any.
    const marks = rows ? top + PAD + bars : top + (height - 2 * MARK_ROW) / 2;
    const lane = {
      agent, name, top, height, bars: top + PAD,
      upper: marks + MARK_ROW / 2, lower: marks + MARK_ROW * 1.5,
    };
    laneOfAgent[agent] = lane;
    lanes.push(lane);
    top += height;
  });
  return top;
}

function markY(lane, kind) {
  return UPPER.has(kind) ? lane.upper : lane.lower;
}

// -- ticks of the axis ----------------------------------------------------------------------------

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500].flatMap((n) => [n, n * 1000]).concat(
  [1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  [1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  [1, 2, 3, 6, 12].map((n) => n * HOUR),
  [1, 2, 7, 14, 30, 90, 180, 365, 730, 3650].map((n) => n * DAY),
).sort((a, b) => a - b);

// The ticks between two times of the run, at least `apart` pixels from each other.
function ticks(from, to, width, apart) {
  const least = ((to - from) / Math.max(width, 1)) * apart;
  const step = STEPS.find((size) => size >= least) || STEPS[STEPS.length - 1];
  const first = Math.ceil((from + ORIGIN) / step) * step;
  const found = [];
  for (let at = first; at <= to + ORIGIN && found.length < 500; at += step) {
    found.push({ t: at - ORIGIN, label: tickLabel(at, step) });
  }
  return found;
}

function tickLabel(us, step) {
  if (step >= DAY || us % DAY === 0) return day(us);
  if (step >= MINUTE) return clock(us, 0, false);
  if (step >= SECOND) return clock(us);
  const digits = step >= 100000 ? 1 : step >= 10000 ? 2 : step >= 1000 ? 3 : 6;
  return clock(us, digits);
}
