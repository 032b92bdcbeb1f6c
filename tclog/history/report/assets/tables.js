// The tables: sorted by a click, filtered like the timeline, one page of rows at a time.

const PAGE = 50, PAGE_PRINTED = 400;

function number(value) {
  return h("span", { class: value ? "num" : "num zero" }, value.toLocaleString("en-GB"));
}

function badge(state) {
  return h("span", { class: `badge state-${state}` }, state.replace("_", " "));
}

function timeOf(text) {
  if (!text) return "–";
  const us = Date.parse(`${text.slice(0, 23)}Z`) * 1000;
  return h("time", { datetime: text, title: text }, clock(us, 0));
}

function atTime(t) {
  return h("time", { title: new Date((ORIGIN + t) / 1000).toISOString() }, clock(ORIGIN + t, LENGTH < 10 * MINUTE ? 3 : 0));
}

function names(list) {
  return list.length ? list.map((name, i) => [i ? ", " : "", said(name)]) : "–";
}

function readBy(message) {
  const read = message.acked.filter((at) => at !== null);
  if (!message.acked.length) return "–";
  if (!read.length) return h("span", { class: "muted" }, message.acked.length > 1 ? `0 of ${message.acked.length}` : "not yet");
  const after = span(Math.max(...read) - message.t);
  return message.acked.length === 1 ? `after ${after}` : `${read.length} of ${message.acked.length}`;
}

const lastOfChain = (chain) => {
  const versions = versionsOfChain.get(chain);
  return versions ? versions[versions.length - 1] : undefined;
};
const claimsOfStep = new Map();
for (const claim of claims) {
  if (!claimsOfStep.has(claim.step)) claimsOfStep.set(claim.step, []);
  claimsOfStep.get(claim.step).push(claim);
}
const indexOfAgent = new Map(DATA.agents.map((name, i) => [name, i]));

// Each column: heading, what stands in a cell, what it is sorted by, classes.
const TABLES = [
  {
    id: "steps", label: "Steps", kind: "claims",
    rows: DATA.steps.map((step) => ({
      ...step,
      event: claimsOfStep.get(step.id)?.[0].begin || lastOfChain(`step/${step.id}`),
      claim: claimsOfStep.get(step.id)?.[0],
      search: ["step/" + step.id, step.title || "", step.state.replace("_", " "), step.agent || ""].join("\n"),
      who: new Set([step.agent, ...(claimsOfStep.get(step.id) || []).map((c) => agentName(c.agent))]),
    })),
    columns: [
      ["Step", (r) => [said(r.id, { class: "strong" }), r.title && said(r.title, { class: "sub" })], (r) => r.id, "first"],
      ["State", (r) => badge(r.state), (r) => r.state],
      ["Agent", (r) => (r.agent ? said(r.agent) : "–"), (r) => r.agent || ""],
      ["Held for", (r) => (r.claims ? span(r.held_us) : "–"), (r) => r.held_us, "right"],
      ["Claims", (r) => number(r.claims), (r) => r.claims, "right"],
      ["Takeovers", (r) => number(r.takeovers), (r) => r.takeovers, "right"],
      ["Lost races", (r) => number(r.lost), (r) => r.lost, "right"],
      ["After", (r) => names(r.after), (r) => r.after.join(), "text"],
    ],
  },
  {
    id: "memory", label: "Memory", kind: "memory",
    rows: DATA.memory.map((key) => ({
      ...key, event: eventOfId.get(key.event) || lastOfChain(`memory/${key.key}`),
      search: ["memory/" + key.key, key.value || "", ...key.writers].join("\n"),
      who: new Set(key.writers),
    })),
    columns: [
      ["Key", (r) => said(r.key, { class: "strong" }), (r) => r.key, "first"],
      ["Value", (r) => (r.value === null ? h("span", { class: "muted" }, "no value") : said(r.value)), (r) => r.value || "", "text"],
      ["Version", (r) => number(r.version), (r) => r.version, "right"],
      ["Writes", (r) => number(r.writes), (r) => r.writes, "right"],
      ["Conflicts", (r) => number(r.lost), (r) => r.lost, "right"],
      ["Writers", (r) => names(r.writers), (r) => r.writers.join(), "text"],
      ["Last", (r) => timeOf(r.at), (r) => r.at || ""],
    ],
  },
  {
    id: "messages", label: "Messages", kind: "messages",
    rows: messages.map((message) => ({
      ...message, t: message.event.t,
      search: [agentName(message.event.agent), message.named, message.text, message.step || ""].join("\n"),
      who: new Set([agentName(message.event.agent), ...message.to.map(agentName)]),
    })),
    columns: [
      ["At", (r) => atTime(r.t), (r) => r.t],
      ["From", (r) => said(agentName(r.event.agent), { class: "strong" }), (r) => agentName(r.event.agent), "first"],
      ["To", (r) => said(r.named), (r) => r.named],
      ["Text", (r) => said(r.text), (r) => r.text, "text wide"],
      ["Step", (r) => (r.step ? said(r.step) : "–"), (r) => r.step || ""],
      ["Read", (r) => readBy(r), (r) => r.acked.filter((at) => at !== null).length, "right"],
    ],
  },
  {
    id: "artifacts", label: "Artifacts", kind: "artifacts",
    rows: DATA.artifacts.map((artifact) => ({
      ...artifact, event: eventOfId.get(artifact.event) || lastOfChain(`artifact/${artifact.name}`),
      search: ["artifact/" + artifact.name, artifact.step || "", artifact.agent || ""].join("\n"),
      who: new Set([artifact.agent]),
    })),
    columns: [
      ["Name", (r) => said(r.name, { class: "strong" }), (r) => r.name, "first"],
      ["Version", (r) => number(r.version), (r) => r.version, "right"],
      ["Size", (r) => bytes(r.size), (r) => r.size, "right"],
      ["By", (r) => (r.agent ? said(r.agent) : "–"), (r) => r.agent || ""],
      ["Step", (r) => (r.step ? said(r.step) : "–"), (r) => r.step || ""],
      ["Content", (r) => h("code", {}, (r.blob || "–").slice(0, 12)), (r) => r.blob || ""],
      ["At", (r) => timeOf(r.at), (r) => r.at || ""],
    ],
  },
  {
    id: "events", label: "All events", kind: null,
    rows: events.map((event) => ({ event, t: event.t })),
    columns: [
      ["At", (r) => atTime(r.t), (r) => r.t],
      ["Agent", (r) => said(agentName(r.event.agent), { class: "strong" }), (r) => agentName(r.event.agent), "first"],
      ["Operation", (r) => [r.event.op, r.event.more.attempt && h("span", { class: "badge state-lost" }, "attempt")], (r) => r.event.op],
      ["Chain", (r) => said(r.event.chain), (r) => r.event.chain, "text"],
      ["Version", (r) => (r.event.version === null ? "–" : String(r.event.version)), (r) => r.event.version || 0, "right"],
      ["What", (r) => said(r.event.words), (r) => r.event.words, "text wide"],
    ],
  },
];

const tableState = { id: "steps", page: 0, sort: {} };

function rowsShown(table) {
  const words = terms(), { agentsOff, kindsOff } = filters;
  if (table.id === "events") return table.rows.filter((row) => shown.events[row.event.i]);
  if (table.kind && kindsOff.has(table.kind)) return [];
  return table.rows.filter((row) => {
    if (agentsOff.size && row.who.size && [...row.who].every((name) => !name || agentsOff.has(indexOfAgent.get(name)))) return false;
    return !words.length || hasAll(row.search.toLowerCase(), words);
  });
}

function sorted(table, rows) {
  const { column, down } = tableState.sort[table.id] || {};
  if (column === undefined) return rows;
  const by = table.columns[column][2];
  const compare = (a, b) => {
    const x = by(a), y = by(b);
    return typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en");
  };
  return [...rows].sort((a, b) => (down ? compare(b, a) : compare(a, b)));
}

function drawTabs() {
  byId("tabs").replaceChildren(...TABLES.map((table) => {
    const on = table.id === tableState.id;
    return h("button", {
      type: "button", role: "tab", id: `tab-${table.id}`, "aria-selected": String(on),
      "aria-controls": "panel", tabindex: on ? "0" : "-1", onclick: () => openTable(table.id),
    }, table.label, h("span", { class: "tab-count" }, rowsShown(table).length.toLocaleString("en-GB")));
  }));
  byId("panel").setAttribute("aria-labelledby", `tab-${tableState.id}`);
}

function openTable(id, focus = false) {
  tableState.id = id;
  tableState.page = 0;
  drawTable();
  if (focus) byId(`tab-${id}`).focus();
}

function drawTable() {
  drawTabs();
  const table = TABLES.find((one) => one.id === tableState.id);
  const rows = sorted(table, rowsShown(table));
  const size = view.printing ? PAGE_PRINTED : PAGE;
  const pages = Math.max(1, Math.ceil(rows.length / size));
  tableState.page = Math.min(tableState.page, pages - 1);
  const first = tableState.page * size;
  byId("table").className = `table table-${table.id}`;
  byId("table").replaceChildren(
    h("caption", { class: "sr" }, table.label),
    h("thead", {}, h("tr", {}, table.columns.map(([label, , , kind], nth) => heading(table, label, nth, kind)))),
    h("tbody", {}, rows.length
      ? rows.slice(first, first + size).map((row) => tableRow(table, row))
      : h("tr", {}, h("td", { colspan: String(table.columns.length), class: "none" },
        isFiltered() ? "Nothing matches the filters." : "None in this range."))),
  );
  drawPager(rows.length, first, size, pages);
}

function heading(table, label, nth, kind) {
  const sort = tableState.sort[table.id] || {};
  const on = sort.column === nth;
  return h("th", {
    scope: "col", class: kind, "aria-sort": on ? (sort.down ? "descending" : "ascending") : "none",
  }, h("button", {
    type: "button",
    onclick: () => {
      tableState.sort[table.id] = { column: nth, down: on ? !sort.down : kind === "right" };
      drawTable();
      byId("table").querySelectorAll("th button")[nth].focus();
    },
  }, label, h("span", { class: "arrow", "aria-hidden": "true" }, on ? (sort.down ? "↓" : "↑") : "")));
}

function tableRow(table, row) {
  const chosen = row.event && row.event === view.selected;
  const open = () => row.event && select(row.event, { claim: row.claim, reveal: true });
  return h("tr", { class: chosen ? "chosen" : null, onclick: open },
    table.columns.map(([, cell, , kind]) => {
      const inside = cell(row);
      // One thing in each row takes the focus; the row itself is only a larger place to click.
      const content = kind === "first" && row.event
        ? h("button", { type: "button", class: "link", "aria-label": null }, inside) : inside;
      return h("td", { class: kind }, content);
    }));
}

function drawPager(total, first, size, pages) {
  const go = (page) => () => {
    tableState.page = Math.max(0, Math.min(pages - 1, page));
    drawTable();
    byId("tables").scrollIntoView({ block: "nearest" });
  };
  const page = tableState.page;
  const button = (label, name, to, off) =>
    h("button", { type: "button", "aria-label": name, disabled: off, onclick: go(to) }, label);
  byId("pager").replaceChildren(...(total > size ? [
    h("span", { class: "muted" }, `${first + 1}–${Math.min(total, first + size)} of ${total.toLocaleString("en-GB")}`),
    button("«", "First page", 0, page === 0),
    button("‹", "Previous page", page - 1, page === 0),
    button("›", "Next page", page + 1, page === pages - 1),
    button("»", "Last page", pages - 1, page === pages - 1),
  ] : []));
}

function listenToTabs() {
  byId("tabs").addEventListener("keydown", (e) => {
    const ids = TABLES.map((table) => table.id), at = ids.indexOf(tableState.id);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: ids.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    openTable(ids[(to + ids.length) % ids.length], true);
  });
}
