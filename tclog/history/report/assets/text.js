// Text and time. Whatever an agent wrote reaches the page through `h` and `plain` only: as text
// nodes, with control characters and direction overrides made visible, never as markup.

const HARMFUL =
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

function harmless(text) {
  return String(text).replace(HARMFUL, (c) => {
    const code = c.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

// One line of a cell or of a canvas.
function plain(text) {
  return harmless(String(text).replace(/\s*\n\s*/g, " ↵ ").replace(/\t/g, " "));
}

// Make an element: properties that begin with "on" are listeners, the others attributes.
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(4)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

// Text of an agent, kept apart from what stands around it whatever direction it has.
function said(text, attributes) {
  return h("bdi", { dir: "auto", ...attributes }, plain(text));
}

function byId(id) {
  return document.getElementById(id);
}

const SECOND = 1e6, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

function dateOf(us) {
  return new Date(Math.floor(us / 1000));
}

function day(us) {
  const d = dateOf(us);
  return `${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}`;
}

function fullDay(us) {
  return `${day(us)} ${dateOf(us).getUTCFullYear()}`;
}

// The time of day with `digits` decimals of a second; with none of them and `seconds` off, HH:MM.
function clock(us, digits = 0, seconds = true) {
  const unit = seconds ? 10 ** (6 - digits) : MINUTE;
  const rounded = Math.floor(us / unit) * unit;
  const text = dateOf(rounded).toISOString().slice(11, seconds ? 19 : 16);
  if (!digits) return text;
  const part = String(((rounded % SECOND) + SECOND) % SECOND).padStart(6, "0");
  return `${text}.${part.slice(0, digits)}`;
}

// A length of time with two units at most: 1d 2h, 13m 5s, 4.2s, 12ms, 80µs.
function span(us) {
  const t = Math.abs(us);
  if (t < 1000) return `${Math.round(t)}µs`;
  if (t < SECOND) return `${t < 10000 ? (t / 1000).toFixed(1) : Math.round(t / 1000)}ms`;
  if (t < 10 * SECOND) return `${(t / SECOND).toFixed(1)}s`;
  const s = Math.round(t / SECOND);
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${s % 60 ? ` ${s % 60}s` : ""}`;
  const m = Math.round(t / MINUTE);
  if (m < 1440) return `${Math.floor(m / 60)}h${m % 60 ? ` ${m % 60}m` : ""}`;
  const hours = Math.round(t / HOUR);
  return `${Math.floor(hours / 24)}d${hours % 24 ? ` ${hours % 24}h` : ""}`;
}

function bytes(count) {
  let amount = count;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (amount < 1024 || unit === "GiB") {
      return unit === "B" ? `${amount} B` : `${amount.toFixed(1)} ${unit}`;
    }
    amount /= 1024;
  }
  return "";
}

function count(n, one, many) {
  return `${n.toLocaleString("en-GB")} ${n === 1 ? one : many || `${one}s`}`;
}
