// The details of one event: its fields, what it did, who won where it lost, what was before it.

function eventLink(event, label, attributes) {
  return h("button", { type: "button", class: "link", onclick: () => select(event, { reveal: true }), ...attributes }, label);
}

function field(name, ...value) {
  return [h("dt", {}, name), h("dd", {}, value)];
}

function stamped(t) {
  return `${clock(ORIGIN + t, 6)}, ${fullDay(ORIGIN + t)}`;
}

function shortest(id) {
  return id.slice(0, 12);
}

function drawDetails() {
  const panel = byId("details");
  const event = view.selected, claim = view.selectedClaim;
  document.body.classList.toggle("has-details", Boolean(event || claim));
  if (!event && !claim) {
    panel.replaceChildren(...summary());
    return;
  }
  const agent = event ? event.agent : claim.agent;
  panel.replaceChildren(
    h("div", { class: "details-head" },
      h("div", {},
        h("p", { class: "eyebrow" }, event ? event.op : "claim",
          event?.more.attempt && h("span", { class: "badge state-lost" }, event.more.retried ? "made anew" : "lost attempt")),
        h("h2", {}, said(agentName(agent)), h("span", { class: "muted" }, " · "),
          said(event ? event.chain.replace(/^[^/]*\//, "") : claim.step))),
      h("button", { type: "button", class: "close", "aria-label": "Close the details", onclick: () => select(null) }, "×")),
    ...(event ? saidPart(event) : []),
    // What the claim came to is what a reader of a bar wants to know first.
    ...[...new Set([...(claim ? [claim] : []), ...(claimsOfEvent.get(event) || [])])].map(claimPart),
    ...(event ? fieldsPart(event) : []),
    ...(event ? chainPart(event) : []),
  );
}

// What stands there while nothing is selected: the agents, and what each has done.
function summary() {
  if (!DATA.agents.length) return [h("p", { class: "hint" }, "Nothing happened in this range.")];
  const sums = DATA.agents.map((name, agent) => {
    const mine = claims.filter((claim) => claim.agent === agent);
    return {
      name, held: mine.reduce((sum, claim) => sum + claim.end - Math.max(claim.start, 0), 0),
      complete: mine.filter((claim) => claim.outcome === "complete").length, claims: mine.length,
      lost: DATA.people[agent]?.lost || 0, events: DATA.people[agent]?.events || 0,
    };
  });
  const most = Math.max(1, ...sums.map((sum) => sum.held));
  return [
    h("h2", {}, "Who did what"),
    h("p", { class: "muted small" }, "Select anything in the timeline or in a table to see its event here."),
    h("ol", { class: "people" }, sums.slice(0, 40).map((sum) => {
      const bar = h("span", { class: "people-bar" });
      bar.style.width = `${(sum.held / most) * 100}%`;
      return h("li", {},
        h("div", { class: "people-line" }, said(sum.name, { class: "strong" }), h("span", { class: "muted" }, sum.held ? `held ${span(sum.held)}` : "no claims")),
        h("div", { class: "people-track", "aria-hidden": "true" }, bar),
        h("div", { class: "muted small" }, [
          sum.claims && `${sum.complete} of ${sum.claims} complete`,
          sum.lost && `${sum.lost} lost`, count(sum.events, "event"),
        ].filter(Boolean).join(" · ")));
    })),
    sums.length > 40 && h("p", { class: "muted small" }, `and ${count(sums.length - 40, "more agent")}`),
  ].filter(Boolean);
}

function saidPart(event) {
  const message = messageOfEvent.get(event);
  const words = message ? message.text : event.words;
  return [
    words && h("p", { class: "words", dir: "auto" }, harmless(words)),
    event.more.attempt && lostPart(event),
  ].filter(Boolean);
}

function fieldsPart(event) {
  const { more } = event;
  const message = messageOfEvent.get(event);
  const session = DATA.people[event.agent];
  return [
    h("dl", { class: "fields" },
      field("Chain", said(event.chain)),
      more.chains && field("Chains", more.chains.map((chain, i) => [i ? ", " : "", said(chain)])),
      event.version !== null && field("Version", String(event.version)),
      field(event.version === null ? "Made" : "Committed", h("time", {}, stamped(event.t))),
      more.made !== undefined && event.version !== null
        && field("Made", `${span(event.t - more.made)} ${more.made <= event.t ? "before" : "after"} that`),
      message && field("To", message.to.length
        ? message.to.map((reader, i) => [i ? ", " : "", said(agentName(reader)), h("span", { class: "muted" },
          message.acked[i] === null ? " (unread)" : ` (read after ${span(message.acked[i] - event.t)})`)])
        : said(message.named)),
      message?.reply_to && field("Reply to", eventOfId.has(message.reply_to)
        ? eventLink(eventOfId.get(message.reply_to), shortest(message.reply_to)) : h("code", {}, plain(message.reply_to))),
      more.expect && field("Expected", h("code", {}, plain(more.expect))),
      more.key && field("Key", h("code", {}, said(more.key))),
      session && field("Session", said(session.session), h("span", { class: "muted" }, " on "), said(session.host)),
      field("Id", h("code", { class: "id" }, event.id))),
    event.body && h("h3", {}, "Body"),
    event.body && h("pre", { tabindex: "0", "aria-label": "Body", dir: "ltr" }, harmless(event.body), more.cut && h("span", { class: "muted" },
      `\n… ${count(more.cut - event.body.length, "more character")}`)),
    h("p", { class: "command" }, h("code", {}, `tclog show ${shortest(event.id)}`)),
  ].filter(Boolean);
}

function lostPart(event) {
  const { won, retried } = event.more;
  if (!won) return h("p", { class: "lost-note" }, "No chain holds this event: it lost its race, or its maker stopped.");
  const winner = eventOfId.get(won.id);
  const what = `${won.op}, version ${won.version}`;
  return h("p", { class: retried ? "made-anew" : "lost-note", id: "winner" },
    retried ? "Made anew by " : "Lost to ", h("strong", {}, said(won.agent)), ": ",
    winner ? eventLink(winner, what) : `${what} (not in this report)`);
}

function claimPart(claim) {
  const other = claim.begin === view.selected ? claim.stop : claim.begin;
  const length = span(claim.end - claim.start);
  const words = {
    held: `Still held at the end, after ${length}`,
    taken_over: `Lost after ${length}: the step was taken over`,
    lapsed: `Lost after ${length}: its lease ended`,
  }[claim.outcome] || `Held for ${length}, then ${OUTCOMES[claim.outcome] || claim.outcome}`;
  return h("section", { class: "claim-note" },
    h("p", {}, h("span", { class: `swatch swatch-${claim.outcome}` }), words, claim.ended_by && [" by ", said(claim.ended_by)], ".",
      claim.start < 0 && " It began before this report's range."),
    h("dl", { class: "fields" },
      field("Step", said(claim.step)),
      field("Fencing token", String(claim.fence)),
      claim.takeover && field("Began", "as a takeover"),
      claim.renewals && field("Renewals", String(claim.renewals.length)),
      claim.lease_end !== undefined && field("Lease until", clock(ORIGIN + claim.lease_end, 3), h("span", { class: "muted" }, " by the store's clock")),
      other && field(other === claim.stop ? "Ended by" : "Began with", eventLink(other, `${other.op}, version ${other.version}`))));
}

// The versions around this one in its chain, as links.
function chainPart(event) {
  if (event.version === null) return [];
  return (event.more.chains || [event.chain]).slice(0, 6).map((chain) => {
    const versions = versionsOfChain.get(chain) || [];
    const at = versions.indexOf(event);
    const side = (other, label) => h("div", { class: "version" },
      h("span", { class: "muted" }, label),
      other ? eventLink(other, [`${other.op} `, h("span", { class: "muted" }, "by "), said(agentName(other.agent))])
        : h("span", { class: "muted" }, label === "Before" && event.version === 1 && chain === event.chain ? "nothing: this is version 1" : "nothing in this report"));
    return h("section", { class: "chain-note" }, h("h3", {}, "In ", said(chain)),
      side(versions[at - 1], "Before"), side(versions[at + 1], "After"));
  });
}
