// The page: which view is shown, in which language, and what happens when a new generation is served.

import { showAsset } from "./asset.js";
import { Refused, follow, readModels, readRecords, readRows } from "./data.js";
import { showModels } from "./models.js";
import { AssetTable } from "./table.js";
import { words as wordsOf } from "./words.js";

const MINUTE = 60_000;
const byId = (id) => document.getElementById(id);
const open = (symbol) => { location.hash = `#/ativo/${encodeURIComponent(symbol)}`; };

const state = { rows: null, models: null, records: {}, live: "connecting", trouble: null };
const table = new AssetTable(byId("table"), byId("scroller"), open);
let words = wordsOf(...preferred());

/** The language that was chosen here before, or else the server's choice by Accept-Language; and the reader's locale. */
function preferred() {
  const chosen = stored();
  const language = chosen ?? document.documentElement.lang.slice(0, 2);
  if (!chosen) return [language, navigator.languages];
  // Who asked for a language reads numbers as it writes them, in the variety that the browser knows of.
  return [language, navigator.languages.find((one) => one.startsWith(language)) ?? language];
}

function stored() {
  try {
    return localStorage.getItem("language");
  } catch {
    return null;
  }
}

function switchLanguage() {
  try {
    localStorage.setItem("language", words.language === "pt" ? "en" : "pt");
  } catch {
    // Then the choice lasts as long as the page.
  }
  words = wordsOf(...preferred());
  translate();
  showAll(false);
  route();
}

function translate() {
  const { text, language } = words;
  document.documentElement.lang = language === "en" ? "en" : "pt-BR";
  document.title = text.title;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text[node.dataset.text];
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", text[node.dataset.label]);
  const other = byId("language");
  [other.textContent, other.lang] = language === "en" ? ["Português", "pt-BR"] : ["English", "en"];
  showState(state.live);
  document.documentElement.dataset.ready = "";
}

function showState(live) {
  state.live = live;
  byId("live").dataset.state = live;
  const said = byId("live").firstElementChild;
  said.dataset.text = live;
  said.textContent = words.text[live];
}

/** Everything that rests on what was read. */
function showAll(fresh) {
  const { text, whole } = words;
  const empty = byId("empty");
  byId("scroller").hidden = byId("filters").hidden = state.rows === null;
  if (state.rows === null) {
    empty.hidden = state.trouble === null;
    empty.textContent = state.trouble === null ? "" : state.trouble.status === 503 && !state.trouble.seen ? text.cannotRead(state.trouble.message) : text.notYet;
    return;
  }
  const { rows, models } = state.rows;
  showCount(table.show(state.rows, state.records, words, fresh));
  showAge();
  if (fresh) byId("news").textContent = text.newGeneration(whole(state.rows.generation), whole(rows.length));
  if (state.models) showModels(byId("models"), state.models, state.records, words);
  byId("table").dataset.generation = state.rows.generation;
  byId("table").dataset.models = models.length;
}

function showAge() {
  if (state.rows === null) return;
  const { rows, models, generation, timestamp } = state.rows;
  byId("summary").textContent = words.text.summary(words.whole(rows.length), words.whole(models.length), words.whole(generation), words.ago(timestamp));
}

function showCount(shown) {
  byId("count").textContent = words.text.countOf(words.whole(shown), words.whole(state.rows.rows.length));
  byId("empty").hidden = shown > 0;
  byId("empty").textContent = words.text.emptyFilter;
}

function filter() {
  if (state.rows) showCount(table.filter({ search: byId("search").value, verdict: byId("verdict").value }));
}

/** Reads what is served now and shows it. Whoever calls while this goes on gets one more round. */
const refresh = oneAtATime(async () => {
  const before = state.rows?.generation;
  try {
    const [rows, models] = await Promise.all([readRows(), readModels()]);
    [state.rows, state.models, state.trouble] = [rows, models, null];
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused;
    state.trouble = refused;
  }
  const isNew = before !== undefined && state.rows?.generation !== before;
  showAll(isNew);
  if (state.rows) {
    state.records = await readRecords(state.models.models);
    if (Object.values(state.records).some((record) => record !== null)) showAll(false);
  }
  if (isNew) route();
});

function oneAtATime(work) {
  let running = false;
  let again = false;
  return async () => {
    again = true;
    if (running) return;
    running = true;
    try {
      while (again) {
        again = false;
        await work();
      }
    } finally {
      running = false;
    }
  };
}

/** Shows the view that the address names. `moved` says that the reader has just gone there. */
function route(moved = false) {
  const [, symbol] = /^#\/ativo\/(.+)$/.exec(location.hash) ?? [];
  const view = symbol ? "asset" : location.hash === "#/modelos" ? "models" : "assets";
  const before = byId("asset").dataset.symbol;
  document.querySelector("main").dataset.view = view;
  byId("assets").hidden = view === "models";
  byId("asset").hidden = view !== "asset";
  byId("models").hidden = view !== "models";
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    if (link.dataset.view === (view === "asset" ? "assets" : view)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const asset = symbol ? decodeURIComponent(symbol).toUpperCase() : null;
  table.mark(asset);
  if (asset) {
    const { hash } = location;
    showAsset(byId("asset"), asset, words, close, () => location.hash === hash);
  } else {
    delete byId("asset").dataset.symbol;
  }
  if (!moved) return;
  if (view === "assets" && before) table.focus(before);
  else byId(`${view}-heading`)?.focus();
}

function close() {
  location.hash = "#/";
}

translate();
route();
byId("scroller").hidden = false;
byId("language").addEventListener("click", switchLanguage);
byId("search").addEventListener("input", filter);
byId("verdict").addEventListener("change", filter);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", () => route(true));
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !byId("asset").hidden) close();
});
setInterval(showAge, MINUTE);
refresh();
follow((generation) => {
  if (generation !== state.rows?.generation) refresh();
}, showState);
