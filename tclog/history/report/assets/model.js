// The data, and which of it the filters let through.

const DATA = JSON.parse(byId("data").textContent);
const ORIGIN = DATA.origin_us;
const LENGTH = Math.max(DATA.length_us, 1);

const KINDS = [
  { id: "claims", label: "Claims and steps" },
  { id: "messages", label: "Messages" },
  { id: "memory", label: "Memory" },
  { id: "artifacts", label: "Artifacts" },
  { id: "barriers", label: "Barriers" },
  { id: "lost", label: "Lost attempts" },
  { id: "other", label: "Other" },
];
const KIND_OF = {
  step: "claims", message: "messages", memory: "memory", artifact: "artifacts",
  barrier: "barriers",
};
const OUTCOMES = {
  complete: "complete",
  held: "still held",
  released: "released",
  taken_over: "lost: taken over",
  lapsed: "lost: lease ended",
  needs_review: "needs review",
  blocked: "blocked",
  failed: "failed",
};

function kindOf(op, more) {
  if (more.attempt) return more.retried ? "other" : "lost";
  if (op === "message.ack") return "other";
  return KIND_OF[op.split(".")[0]] || "other";
}

const events = DATA.events.map((row, i) => {
  const [t, agent, op, chain, version, id, words, body, more] = row;
  return {
    i, t, agent, op: DATA.ops[op], chain: DATA.chains[chain], version, id, words, body, more,
    kind: kindOf(DATA.ops[op], more),
  };
});
const eventOfId = new Map(events.map((event) => [event.id, event]));
const messages = DATA.messages
  .map((message) => ({ ...message, event: eventOfId.get(message.event) }))
  .filter((message) => message.event);
const messageOfEvent = new Map(messages.map((message) => [message.event, message]));
const claims = DATA.claims.map((claim, i) => ({
  ...claim, i, label: plain(claim.step).slice(0, 120), begin: eventOfId.get(claim.event), stop: eventOfId.get(claim.end_event),
}));
const claimsOfEvent = new Map();
for (const claim of claims) {
  for (const event of new Set([claim.begin, claim.stop])) {
    if (!event) continue;
    if (!claimsOfEvent.has(event)) claimsOfEvent.set(event, []);
    claimsOfEvent.get(event).push(claim);
  }
}
// Which claim an event renewed: its agent's of that step at that time.
const renewedClaim = new Map();
{
  const byStep = new Map();
  for (const claim of claims) {
    const key = `${claim.agent} step/${claim.step}`;
    if (!byStep.has(key)) byStep.set(key, []);
    byStep.get(key).push(claim);
  }
  for (const event of events) {
    if (event.op !== "step.renew" || event.version === null) continue;
    const found = (byStep.get(`${event.agent} ${event.chain}`) || [])
      .find((claim) => claim.start <= event.t && event.t <= claim.end);
    if (found) renewedClaim.set(event, found);
  }
}
// The committed events of each chain in the order of its versions.
const versionsOfChain = new Map();
for (const event of events) {
  if (event.version === null) continue;
  for (const chain of event.more.chains || [event.chain]) {
    if (!versionsOfChain.has(chain)) versionsOfChain.set(chain, []);
    versionsOfChain.get(chain).push(event);
  }
}

function agentName(place) {
  return DATA.agents[place] ?? "";
}

// -- filters --------------------------------------------------------------------------------------

const filters = { query: "", agentsOff: new Set(), kindsOff: new Set() };
const shown = {
  events: new Uint8Array(events.length), claims: new Uint8Array(claims.length), count: 0,
};
const haystacks = new Map();

// What a search looks through. Made at the first search: most readers never search.
function haystack(kind, item, parts) {
  let found = haystacks.get(item);
  if (found === undefined) {
    found = parts().join("\n").toLowerCase();
    haystacks.set(item, found);
  }
  return found;
}

function terms() {
  return filters.query.toLowerCase().split(/\s+/).filter(Boolean);
}

function hasAll(text, words) {
  return words.every((word) => text.includes(word));
}

function eventText(event) {
  return haystack("event", event, () => [
    agentName(event.agent), event.op, event.chain, event.words, event.body, event.id,
    event.more.key || "",
  ]);
}

function claimText(claim) {
  return haystack("claim", claim, () => [
    agentName(claim.agent), `step/${claim.step}`, OUTCOMES[claim.outcome] || claim.outcome,
    claim.begin ? claim.begin.op : "", claim.event || "",
  ]);
}

function applyFilters() {
  const words = terms();
  const { agentsOff, kindsOff } = filters;
  shown.count = 0;
  for (const event of events) {
    const on = !agentsOff.has(event.agent) && !kindsOff.has(event.kind)
      && (!words.length || hasAll(eventText(event), words));
    shown.events[event.i] = on ? 1 : 0;
    shown.count += on ? 1 : 0;
  }
  for (const claim of claims) {
    const on = !agentsOff.has(claim.agent) && !kindsOff.has("claims")
      && (!words.length || hasAll(claimText(claim), words));
    shown.claims[claim.i] = on ? 1 : 0;
  }
}

function isFiltered() {
  return Boolean(terms().length || filters.agentsOff.size || filters.kindsOff.size);
}
