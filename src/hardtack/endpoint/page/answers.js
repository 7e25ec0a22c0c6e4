// Answers: pictures with their boxes, and the dialog that shows one at its full size.

import * as words from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

// Elements are made, never parsed from text: what a picture or a model says is no markup.
export function element(name, text = "", className = "") {
  const made = document.createElement(name);
  if (text !== "") made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function facts(list, rows) {
  const state = JSON.stringify(rows);
  if (list.dataset.state === state) return;
  list.dataset.state = state;
  list.replaceChildren(
    ...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]),
  );
}

// Put the picture of `query` into `holder`, once; with `labels`, each box says what it is.
export function picture(holder, query, labels) {
  if (holder.dataset.query === key(query)) return;
  holder.dataset.query = key(query);
  const image = element("img");
  image.alt = `Picture: ${words.answer(query)}`;
  image.src = `device-api/v1/image-queries/${query.id}/image`;
  image.addEventListener("error", () => image.replaceWith(element("span", "no picture", "lost")));
  holder.replaceChildren(image);
  const boxes = query.rois ?? [];
  if (!boxes.length) return;
  const over = drawn("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const { geometry: g } of boxes) {
    const place = { x: g.left, y: g.top, width: g.right - g.left, height: g.bottom - g.top };
    over.append(drawn("rect", { ...place, class: "under" }), drawn("rect", place));
  }
  holder.append(over);
  if (labels) holder.append(...boxes.map(label));
}

function label(box, index) {
  const made = element("span", `${index + 1}`, "label");
  made.style.left = `${100 * box.geometry.left}%`;
  made.style.top = `${100 * box.geometry.top}%`;
  return made;
}

// The answer, how sure it is, and when it was given.
export function said(holder, query) {
  const result = query.result;
  const rows = [element("strong", words.answer(query))];
  if (result?.confidence !== undefined && result.confidence !== null) {
    const unsure = result.confidence < query.confidence_threshold;
    const sure = element("span", words.confidence(result.confidence), unsure ? "unsure" : "");
    if (unsure) sure.append(` · below ${words.confidence(query.confidence_threshold)}`);
    rows.push(sure);
  }
  rows.push(element("small", words.time(query.created_at)));
  holder.replaceChildren(...rows);
}

export function key(query) {
  return `${query.id} ${JSON.stringify(query.result)}`;
}

const dialog = document.getElementById("answer");
const older = document.getElementById("older");
const newer = document.getElementById("newer");
let shown = [];
let at = 0;

// Show one of `queries` (newest first) at its full size.
export function open(name, queries, index) {
  shown = queries;
  dialog.querySelector("h2").textContent = name;
  turn(index);
  dialog.showModal();
}

function turn(index) {
  at = Math.min(Math.max(index, 0), shown.length - 1);
  const query = shown[at];
  picture(dialog.querySelector(".picture"), query, true);
  said(dialog.querySelector(".said"), query);
  dialog.querySelector(".boxes").replaceChildren(
    ...(query.rois ?? []).map((box, i) =>
      element("li", `${i + 1}: ${box.label}, ${words.confidence(box.score)}`)),
  );
  const from = query.result?.from_edge ? "this box" : query.result ? "the cloud" : "nobody yet";
  const rows = [["Question", query.query], ["Answered by", from], ["Image query", query.id]];
  if (query.metadata?.error) rows.push(["Error", query.metadata.error]);
  if (query.done_processing === false) rows.push(["Still", "a better answer is on its way"]);
  facts(dialog.querySelector("dl"), rows);
  newer.disabled = at === 0;
  older.disabled = at === shown.length - 1;
}

newer.addEventListener("click", () => turn(at - 1));
older.addEventListener("click", () => turn(at + 1));
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") turn(at - 1);
  if (event.key === "ArrowRight") turn(at + 1);
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
