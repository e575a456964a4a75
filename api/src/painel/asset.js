// One asset: what is predicted, how such predictions did, and what came of the last ones.

import { chart, drawn, mark, points } from "./chart.js";
import { Refused, readAsset, readHistory } from "./data.js";
import { element, svg } from "./dom.js";
import { assetRecord, fullRecord, isSeen, versionDay } from "./record.js";
import { changeText } from "./table.js";

/** How much of the past is looked at. */
const DAYS = 90;

/**
 * Shows an asset in a section. `close` is called when the reader has seen enough. What could not be read leaves the
 * section marked as unread.
 */
export async function showAsset(section, symbol, words, close, isWanted) {
  const { text } = words;
  const heading = element("h2", { id: "asset-heading", tabindex: -1 }, symbol);
  const button = element("button", { type: "button", id: "asset-close" }, text.back);
  button.addEventListener("click", close);
  const top = element("div", { class: "heading" }, heading, button);
  const sameAsset = section.dataset.symbol === symbol;
  if (!sameAsset) {
    section.dataset.symbol = symbol;
    section.replaceChildren(top);
  }
  let [parts, isRead] = [[], false];
  try {
    const [asset, history] = await Promise.all([readAsset(symbol), readHistory(symbol, DAYS)]);
    // What the reader chose stays when the same asset is shown anew.
    const kept = { model: sameAsset && section.querySelector("#chart-model")?.value, open: sameAsset && section.querySelector("details")?.open };
    heading.after(...lastClose(asset, words));
    parts = content(asset, history, kept, words);
    isRead = history !== undefined;
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused;
    isRead = refused.status === 404;
    const why = isRead ? text.unknownAsset : text.cannotRead(refused.message);
    parts = [element("p", { class: "notice" }, why)];
  }
  if (!isWanted()) return;
  section.toggleAttribute("data-unread", !isRead);
  const focused = section.contains(document.activeElement) ? document.activeElement.id : null;
  section.replaceChildren(top, ...parts);
  if (focused) document.getElementById(focused)?.focus();
}

function lastClose(asset, { text, price, day, daysAgo }) {
  const { ultimo_fechamento: close, dados_ate: until } = asset;
  const age = until && daysAgo(until);
  return [
    element("p", { class: "figure" }, close === undefined ? "—" : price(close)),
    element("p", { class: "small" }, close === undefined ? text.noClose : text.lastClose.toLowerCase(),
      ...(until ? [` · ${day(until)}, `, element("span", { class: age.isStale ? "stale" : null }, age.said)] : [])),
    ...(asset.desatualizado ? [element("p", { class: "small stale", id: "asset-outdated" }, text.outdatedAsset)] : []),
  ];
}

function content(asset, history, kept, words) {
  const { text } = words;
  // Of each model, like the history itself, undefined if it could not be read and null if there is none.
  const records = {};
  for (const name of new Set([...Object.keys(asset.modelos), ...Object.keys(history?.versions ?? {})])) {
    records[name] = history && (name in history.versions ? assetRecord(points(history.days, name).predicted, history.versions[name]) : null);
  }
  const failures = Object.entries(asset.falhas ?? {});
  const now = element("div", {}, element("h3", { id: "asset-predictions" }, text.predictions), predictionTable(asset, records, words),
    ...(failures.length ? [element("h3", {}, text.failures),
      element("dl", { class: "rejected" }, ...failures.flatMap(([model, reason]) => [
        element("dt", {}, model), element("dd", { lang: "en" }, reason)]))] : []));
  const then = element("div", {}, element("h3", { id: "asset-past" }, text.past), ...past(asset, history, records, kept, words));
  return [element("div", { class: "halves" }, now, then)];
}

function predictionTable(asset, records, words) {
  const { text, price, change, chance } = words;
  const rows = Object.values(asset.modelos).map((said) => {
    const isClose = said.tipo === "regressor";
    const moved = isClose && asset.ultimo_fechamento > 0 ? said.predicao / asset.ultimo_fechamento - 1 : null;
    return element("tr", {},
      element("th", { scope: "row" }, said.modelo,
        element("span", { class: "small" }, fullRecord(records[said.modelo], words, said.versao))),
      element("td", {}, isClose ? price(said.predicao) : said.predicao === 1 ? text.rises : text.falls),
      element("td", {}, isClose ? (moved === null ? "—" : changeText(moved, change))
        : element("span", { class: said.predicao === 1 ? "up" : "down" }, chance(said.probabilidade))));
  });
  return element("div", { class: "wide" }, element("table", { "aria-labelledby": "asset-predictions" },
    element("thead", {}, element("tr", {},
      element("th", { scope: "col" }, text.model), element("th", { scope: "col" }, text.predicted),
      element("th", { scope: "col" }, `${text.change} / ${text.rising.toLowerCase()}`))),
    element("tbody", {}, ...rows)));
}

function past(asset, history, records, kept, words) {
  const { text, day, error } = words;
  if (!history) return [element("p", { class: "notice" }, history === null ? text.noPast : text.unreadPast)];
  const { days, versions } = history;
  const names = Object.keys(versions);
  const select = element("select", { id: "chart-model" }, ...names.map((name) => element("option", {}, name)));
  if (names.includes(kept.model)) select.value = kept.model;
  const figure = element("figure");
  const table = element("details", {}, element("summary", { id: "chart-days" }, text.dayTable));
  table.open = kept.open === true;
  const draw = drawn(figure, (width) => {
    const model = select.value;
    const found = points(days, model);
    const record = records[model];
    const label = text.chartText(asset.ativo, day(days[0].data), day(days.at(-1).data), model);
    const unseenFrom = versionDay(versions[model]);
    return [
      chart(found, { ...words, axis: words.short, width, label, error: record?.error, unseenFrom }),
      legend(found, record, days.some((one) => isSeen(one.data, versions[model])), text),
      element("figcaption", {}, `${model}: ${fullRecord(record, words)}`
        + (Number.isFinite(record?.share) ? ` · ${text.error} ${error(record.share)}` : "")),
    ];
  });
  const list = () => table.replaceChildren(table.firstChild, dayTable(points(days, select.value), words));
  select.addEventListener("change", () => {
    draw();
    list();
  });
  list();
  return [element("p", {}, element("label", {}, `${text.chartModel} `, select)), figure, table];
}

function legend({ predicted }, record, hasSeen, text) {
  const swatch = (...shapes) => svg("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" }, ...shapes);
  const line = (kind) => swatch(svg("path", { class: kind, d: "M0 5H26" }));
  const entry = (shape, name) => element("span", {}, shape, " ", name);
  const hasCloses = predicted.some((point) => point.value !== null);
  return element("p", { class: "legend" }, entry(line("close"), text.closes),
    hasCloses ? entry(line("predicted"), text.predictedLine) : null,
    hasCloses && record?.error ? entry(swatch(svg("path", { class: "error", d: "M13 0V10" }), svg("circle", { class: "point", cx: 13, cy: 5, r: 3 })), text.errorBar) : null,
    entry(swatch(mark(13, 5, true)), text.hit), entry(swatch(mark(13, 5, false)), text.miss),
    hasSeen ? entry(element("span", { class: "swatch", "aria-hidden": "true" }), text.seenDays) : null);
}

function dayTable({ predicted }, { text, price, day }) {
  const rows = predicted.toReversed().map((point) => element("tr", {},
    element("th", { scope: "row" }, day(point.day)),
    element("td", {}, point.value === null ? (point.rise ? text.rises : text.falls) : price(point.value)),
    element("td", {}, point.came === null ? "—" : price(point.came)),
    element("td", { class: "words" }, point.hit === null ? "—" : point.hit ? text.hit : text.miss)));
  const heads = [text.day, text.predicted, text.came, ""];
  return element("div", { class: "wide" }, element("table", { "aria-labelledby": "asset-past" },
    element("thead", {}, element("tr", {}, ...heads.map((head) => element(head ? "th" : "td", head ? { scope: "col" } : {}, head)))),
    element("tbody", {}, ...rows)));
}
