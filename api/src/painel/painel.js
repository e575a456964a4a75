// The page: which view is shown, in which language, and what happens when a new generation is served.

import { showAsset } from "./asset.js";
import { Refused, follow, readEvaluations, readLack, readModels, readRows } from "./data.js";
import { element } from "./dom.js";
import { showModels } from "./models.js";
import { recordOf } from "./record.js";
import { AssetTable, newestDay } from "./table.js";
import { words as wordsOf } from "./words.js";

/** How often what grows old is looked at. */
const MINUTE = 60_000;

/** After how long what is known of the models' records is read again: a backfill publishes no generation. */
const RECORDS_AGE = 10 * MINUTE;

const byId = (id) => document.getElementById(id);
const open = (symbol) => { location.hash = `#/ativo/${encodeURIComponent(symbol)}`; };

/** `evaluations` are undefined until they were read, which was last begun at `evaluated`. */
const state = { rows: null, models: null, evaluations: undefined, evaluated: -Infinity, live: "connecting", trouble: null, day: today() };
const table = new AssetTable(byId("table"), byId("scroller"), open);
let words = wordsOf(...preferred());

/** The language that was chosen here before, or else the server's choice by Accept-Language; and the reader's locale. */
function preferred() {
  const chosen = stored();
  const language = chosen ?? document.documentElement.lang.slice(0, 2);
  if (!chosen) return [language, navigator.languages];
  // Who asked for a language reads numbers as it writes them, in the variety that the browser knows of.
  return [language, [navigator.languages.find((one) => one.startsWith(language)) ?? language]];
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
  byId("scroller").hidden = byId("filters").hidden = !state.rows?.rows.length;
  showTrouble();
  if (state.rows === null) {
    const { trouble, models } = state;
    showEmpty(trouble === null ? null : trouble.status === 503 && models === null ? text.notYet : text.cannotRead(trouble.message));
    modelsInSight();
    return;
  }
  const { rows } = state.rows;
  showCount(table.show(state.rows, records(), words, fresh));
  showAge();
  if (fresh) byId("news").textContent = text.newGeneration(whole(rows.length));
  modelsInSight();
  byId("table").dataset.generation = state.rows.generation;
}

function modelsInSight() {
  if (state.models && !byId("models").hidden) showModels(byId("models"), state.models, state.evaluations, words);
}

function records() {
  return Object.fromEntries(state.models.models.map((name) => [name, state.evaluations && recordOf(state.evaluations[name])]));
}

/** Says that what is in sight could not be read anew; where nothing is in sight, that is said in its place. */
function showTrouble() {
  const { rows, trouble } = state;
  const isStale = rows !== null && trouble !== null;
  const said = isStale ? words.text.cannotRead(trouble.message) : "";
  byId("trouble").hidden = !isStale;
  // What is written again is read out again.
  if (byId("trouble").textContent !== said) byId("trouble").textContent = said;
}

function showEmpty(why) {
  byId("empty").hidden = why === null;
  byId("empty").textContent = why;
}

function showAge() {
  if (state.rows === null) return;
  const { text, whole, ago, day, daysAgo } = words;
  const { rows, models, timestamp } = state.rows;
  const newest = newestDay(rows);
  const age = newest && daysAgo(newest);
  const stale = rows.filter((row) => row.isStale).length;
  byId("summary").replaceChildren(text.summary(whole(rows.length), whole(models.length), ago(timestamp)),
    ...(newest ? [" · ", element("span", { class: age.isStale ? "stale" : null }, text.summaryData(day(newest), age.said))] : []),
    ...(stale ? [" · ", element("span", { class: "stale" }, text.outdatedAssets(whole(stale)))] : []));
}

function showCount(shown) {
  byId("count").textContent = words.text.countOf(words.whole(shown), words.whole(state.rows.rows.length));
  showEmpty(shown > 0 ? null : state.rows.rows.length ? words.text.emptyFilter : words.text.noneScored);
}

function filter() {
  if (state.rows) showCount(table.filter({ search: byId("search").value, verdict: byId("verdict").value }));
}

/** Reads what is served now and shows it. Whoever calls while this goes on gets one more round. */
const refresh = oneAtATime(async () => {
  const before = state.rows?.generation;
  const [rows, models] = await Promise.allSettled([readRows(), readModels()]);
  // There may be models without a table, where the assets are more than the server compares.
  if (models.status === "fulfilled") state.models = models.value;
  state.trouble = rows.reason ?? models.reason ?? null;
  if (state.trouble === null) state.rows = rows.value;
  else if (!(state.trouble instanceof Refused)) throw state.trouble;
  const isNew = before !== undefined && state.rows?.generation !== before;
  showAll(isNew);
  await judge();
  if (isNew) route();
});

/** Reads how the models did. What was known stays where that cannot be read; `tick` tries again. */
const judge = oneAtATime(async () => {
  if (state.models === null) return;
  state.evaluated = Date.now();
  const evaluations = await readEvaluations(state.models.models).catch(() => null);
  if (evaluations === null) {
    state.evaluated = -Infinity;
    return;
  }
  if (JSON.stringify(evaluations) === JSON.stringify(state.evaluations)) return;
  state.evaluations = evaluations;
  if (state.rows) table.judge(records());
  modelsInSight();
});

/** What changes although no generation comes: ages, days, and whether the server is up to date itself. */
async function tick() {
  if (document.hidden) return;
  // Neither a read that failed nor a backfill is followed by an event.
  if (state.trouble) refresh();
  else if (Date.now() - state.evaluated > RECORDS_AGE) judge();
  if ("unread" in byId("asset").dataset) route();
  showAge();
  if (state.day !== today()) {
    state.day = today();
    showAll(false);
  }
  // Whether there is a connection at all is told beside the title.
  const lack = await readLack().catch(() => null);
  byId("lack").hidden = lack === null;
  byId("lack").textContent = lack === null ? "" : words.text.degraded(words.ago(Date.now() - 1000 * lack));
}

let stopFollowing = null;

/**
 * Follows the generations while somebody looks. A browser has six connections to a server for all of its tabs: those in
 * the background must not hold one each. Who comes back is told at once what is current.
 */
function followInSight() {
  if (document.hidden) {
    stopFollowing?.();
    stopFollowing = null;
  } else {
    stopFollowing ??= follow((generation) => {
      if (generation !== state.rows?.generation) refresh();
    }, (live) => {
      showState(live);
      if (live === "live") tick();
    });
  }
}

function today() {
  return new Date().toISOString().slice(0, 10);
}

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
  const asset = symbol ? decoded(symbol).toUpperCase() : null;
  table.mark(asset);
  if (asset) {
    const { hash } = location;
    showAsset(byId("asset"), asset, words, close, () => location.hash === hash);
  } else {
    delete byId("asset").dataset.symbol;
    delete byId("asset").dataset.unread;
  }
  modelsInSight();
  if (!moved) return;
  if (view === "assets" && before) table.focus(before);
  else byId(`${view}-heading`)?.focus();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
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
document.addEventListener("visibilitychange", followInSight);
setInterval(tick, MINUTE);
refresh();
followInSight();
