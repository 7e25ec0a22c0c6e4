// The page: asks the box every two seconds, and changes what has changed.

import { drawn, element, facts, key, open, picture, said } from "./answers.js";
import * as words from "./words.js";

const EVERY = 2000;
const PATIENCE = 10000;
const byId = (id) => document.getElementById(id);
const cards = new Map();
let away = null;
let timer = 0;

async function ask() {
  clearTimeout(timer);
  const status = await told();
  away = status ? null : (away ?? new Date());
  byId("away").hidden = !away;
  byId("live").textContent = away ? "not live" : `live, ${new Date().toLocaleTimeString()}`;
  document.body.classList.toggle("stale", away !== null);
  if (away) write(byId("away"), `The box has not answered since ${away.toLocaleTimeString()}. This is what it said last.`);
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(ask, EVERY);
  if (status) show(status);
}

// What the box says, or null where it doesn't.
async function told() {
  try {
    const reply = await fetch("status/metrics.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    return reply.ok ? await reply.json() : null;
  } catch {
    return null;
  }
}

function show(status) {
  byId("version").textContent = status.version;
  const every = Object.entries(status.detectors);
  const ready = every.filter(([, detector]) => detector.server.phase === "ready").length;
  write(byId("ready"), `${ready} of ${words.many(every.length, "detector", "detectors")} ready`);
  byId("ready").className = ready === every.length ? "good" : "busy";
  document.title = `${ready}/${every.length} ready · hardtack`;
  byId("none").hidden = every.length > 0;
  mount(status.mount, status.now);
  unplug(status.ready, status.now);
  cloud(status.cloud);
  queue(status.cloud, status.image_queries_lost);
  for (const [id, card] of cards) {
    if (!(id in status.detectors)) {
      card.remove();
      cards.delete(id);
    }
  }
  for (const [id, detector] of every) show_detector(id, detector);
}

// A live region speaks when its text is written, even the same text.
function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

// Whether the network may be cut, as `hardtack ready --watch` found last.
function unplug(verdict, now) {
  const place = byId("unplug");
  place.hidden = !verdict;
  if (!verdict) return;
  place.className = verdict.ready ? "good" : "bad";
  const when = `checked ${words.duration(now - verdict.at)} ago`;
  write(place, verdict.ready
    ? `✓ Ready: this box would come up with no network (${when}).`
    : `✗ Not ready: with no network this box would not come up: ${verdict.missing.join("; ") || "something"} (${when}).`);
}

function mount(state, now) {
  const panel = byId("mount");
  panel.hidden = !state;
  if (!state) return;
  const lead = panel.querySelector(".lead");
  const bar = panel.querySelector("progress");
  bar.hidden = !state.answers;
  if (!state.answers) {
    lead.className = "lead bad";
    write(lead, `The mount has not answered for ${words.duration(now - state.silent_since)}.`);
    facts(panel.querySelector("dl"), []);
    panel.querySelector(".fetching").replaceChildren();
    return;
  }
  const whole = state.complete >= state.objects;
  lead.className = `lead ${whole ? "good" : "busy"}`;
  write(lead, whole ? "All files are on this box." : `${state.complete} of ${state.objects} files are on this box.`);
  bar.max = Math.max(1, state.objects);
  bar.value = state.complete;
  facts(panel.querySelector("dl"), [
    ["Source", state.source],
    ["Reachable", reachable(state, now)],
    ["With holes", words.many(state.partial, "file", "files")],
    ["On this box", `${words.size(state.present_bytes)} of ${words.size(state.bytes)}`],
    ...(state.eta === null ? [] : [["Left", words.duration(state.eta)]]),
  ]);
  panel.querySelector(".fetching").replaceChildren(
    ...state.fetching.map(([path, present, size]) => {
      const row = element("li", path);
      row.append(progress(present, size), element("small", words.share(present, size)));
      return row;
    }),
  );
}

function reachable(state, now) {
  if (state.unreachable_since) return `no, for ${words.duration(now - state.unreachable_since)}: ${state.last_error}`;
  return state.reachable_since ? `yes, for ${words.duration(now - state.reachable_since)}` : "not tried yet";
}

function progress(value, max) {
  const bar = element("progress");
  bar.max = Math.max(1, max);
  bar.value = value;
  bar.setAttribute("aria-label", "On this box");
  return bar;
}

function cloud(state) {
  const panel = byId("cloud");
  panel.hidden = !state;
  if (!state) return;
  const lead = panel.querySelector(".lead");
  lead.className = `lead ${state.reachable ? "good" : "bad"}`;
  write(lead, state.reachable ? "No trouble with the cloud." : "The cloud can't be reached; this box answers alone.");
  const rows = [["Address", state.url], [state.reachable ? "For" : "Away for", words.duration(state.since_seconds)]];
  if (state.reason) rows.push(["Why", state.reason]);
  facts(panel.querySelector("dl"), rows);
}

function queue(state, lost) {
  const panel = byId("queue");
  panel.hidden = !state && !lost;
  if (panel.hidden) return;
  const waiting = state?.queue.size ?? 0;
  const lead = panel.querySelector(".lead");
  lead.className = `lead ${waiting ? "busy" : "good"}`;
  write(lead, waiting
    ? `${words.many(waiting, "image query waits", "image queries wait")} for the cloud.`
    : "Nothing waits for the cloud.");
  const dropped = Object.entries(state?.queue.dropped ?? {}).filter(([, count]) => count);
  facts(panel.querySelector("dl"), [
    ["Pictures", words.size(state?.queue.bytes ?? 0)],
    ...dropped.map(([reason, count]) => [`Dropped: ${reason.replace("_", " ")}`, `${count}`]),
    ...(state?.held ? [["Held", `${state.held}`]] : []),
    ...(lost ? [["Lost to the disk", `${lost}`]] : []),
  ]);
}

function show_detector(id, detector) {
  const card = cards.get(id) ?? make_card(id);
  const find = (selector) => card.querySelector(selector);
  const server = detector.server;
  card.detector = detector;
  write(find("h2"), detector.name);
  write(find(".question"), detector.query);
  const phase = find(".phase");
  write(phase, server.phase);
  phase.className = `phase ${server.phase}`;
  const note = [server.note, server.restarts ? `restarted ${words.many(server.restarts, "time", "times")}` : ""]
    .filter(Boolean).join("; ");
  find(".note").hidden = !note;
  write(find(".note"), note);
  loading(find(".weights"), server);
  figures(find(".figures"), detector);
  last(card, detector);
  write(find(".id"), [server.version && `version ${server.version}`, detector.edge_inference_config, id]
    .filter(Boolean).join(" · "));
}

function make_card(id) {
  const card = byId("detector").content.firstElementChild.cloneNode(true);
  const title = card.querySelector("h2");
  title.id = `name-${id}`;
  card.id = id;
  card.setAttribute("aria-labelledby", title.id);
  card.querySelector(".show").addEventListener("click", () => open_answer(card, 0));
  byId("detectors").append(card);
  cards.set(id, card);
  return card;
}

function open_answer(card, index) {
  open(card.detector.name, card.detector.last, index);
}

function loading(place, server) {
  place.hidden = server.phase === "ready" || !server.weights;
  if (place.hidden) return;
  const [there, all] = server.weights;
  const bar = place.querySelector("progress");
  bar.max = Math.max(1, all);
  bar.value = there;
  bar.setAttribute("aria-label", "Weights on this box");
  place.querySelector("span").textContent =
    `${words.size(there)} of ${words.size(all)} of weights, ${words.share(there, all)}`;
}

function figures(place, detector) {
  place.hidden = detector.answers === 0;
  if (place.hidden) return;
  const chart = place.querySelector("svg");
  const bins = detector.confidence_histogram;
  const most = Math.max(...bins, 1);
  const width = 100 / bins.length;
  chart.replaceChildren(
    ...bins.map((count, i) => {
      const height = count ? Math.max(1, (32 * count) / most) : 0;
      const place = { x: i * width + 0.6, y: 33 - height, width: width - 1.2, height };
      return drawn("rect", { ...place, class: (i + 1) / bins.length > detector.confidence_threshold ? "sure" : "" });
    }),
    drawn("line", { x1: 0, x2: 100, y1: 33.5, y2: 33.5, class: "base" }),
    drawn("line", { x1: 100 * detector.confidence_threshold, x2: 100 * detector.confidence_threshold, y1: 0, y2: 33, class: "threshold" }),
  );
  const parts = bins.flatMap((count, i) => (count ? [`${i * 10} to ${i * 10 + 10} %: ${count}`] : []));
  chart.setAttribute("aria-label",
    `Confidence of the last ${detector.answers} answers: ${parts.join(", ")}. Threshold ${words.confidence(detector.confidence_threshold)}.`);
  facts(place.querySelector("dl"), [
    ["answers", `${detector.answers}`],
    ["p50", words.milliseconds(detector.p50_seconds)],
    ["p99", words.milliseconds(detector.p99_seconds)],
  ]);
}

function last(card, detector) {
  const [latest, ...before] = detector.last;
  const place = card.querySelector(".last");
  place.hidden = !latest;
  if (!latest) return;
  picture(place.querySelector(".picture"), latest, false);
  said(place.querySelector(".said"), latest);
  // Buttons stay what they are, so that a keyboard's focus stays where it is.
  const list = card.querySelector(".before");
  while (list.childElementCount > before.length) list.lastChild.remove();
  while (list.childElementCount < before.length) list.append(earlier(card, list.childElementCount + 1));
  before.forEach((query, i) => said(list.children[i].firstChild, query));
}

function earlier(card, index) {
  const row = element("li");
  const button = element("button");
  button.type = "button";
  button.addEventListener("click", () => open_answer(card, index));
  row.append(button);
  return row;
}

document.addEventListener("visibilitychange", () => document.hidden || ask());
ask();
