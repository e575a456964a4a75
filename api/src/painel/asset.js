// One asset: what is predicted, how such predictions did, and what came of the last ones.

import { chart, mark, points } from "./chart.js";
import { Refused, readAsset, readHistory } from "./data.js";
import { element, svg } from "./dom.js";
import { fullRecord } from "./record.js";

/** How much of the past is looked at. */
const DAYS = 90;

/** Shows an asset in a section. `close` is called when the reader has seen enough. */
export async function showAsset(section, symbol, words, close, isWanted) {
  const { text } = words;
  const heading = element("h2", { id: "asset-heading", tabindex: -1 }, symbol);
  const button = element("button", { type: "button" }, text.back);
  button.addEventListener("click", close);
  const top = element("div", { class: "heading" }, heading, button);
  if (section.dataset.symbol !== symbol) {
    section.dataset.symbol = symbol;
    section.replaceChildren(top);
  }
  let parts;
  try {
    const [asset, history] = await Promise.all([readAsset(symbol), readHistory(symbol, DAYS)]);
    parts = content(asset, history, words);
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused;
    const why = refused.status === 404 ? text.unknownAsset : text.cannotRead(refused.message);
    parts = [element("p", { class: "notice" }, why)];
  }
  if (!isWanted()) return;
  // The focus stays where it is when the same asset is shown anew.
  const focused = section.contains(document.activeElement) ? document.activeElement.tagName : null;
  section.replaceChildren(top, ...parts);
  if (focused) section.querySelector(focused)?.focus();
}

function content(asset, history, words) {
  const { text, price, day, daysAgo } = words;
  const parts = [];
  if (asset.ultimo_fechamento !== undefined) parts.push(element("p", { class: "figure" }, price(asset.ultimo_fechamento)));
  const about = [asset.ultimo_fechamento === undefined ? text.noClose : text.lastClose.toLowerCase()];
  if (asset.dados_ate) about.push(`${day(asset.dados_ate)}, ${daysAgo(asset.dados_ate).said}`);
  parts.push(element("p", { class: "small" }, about.join(" · ")));
  parts.push(element("h3", {}, text.predictions), predictionTable(asset, history, words));
  const failures = Object.entries(asset.falhas ?? {});
  if (failures.length) {
    parts.push(element("h3", {}, text.failures),
      element("dl", { class: "rejected" }, ...failures.flatMap(([model, reason]) => [
        element("dt", {}, model), element("dd", { lang: "en" }, reason)])));
  }
  parts.push(element("h3", {}, text.past), ...past(asset, history, words));
  return parts;
}

function predictionTable(asset, history, words) {
  const { text, price, change, chance } = words;
  const rows = Object.values(asset.modelos).map((said) => {
    const isClose = said.tipo === "regressor";
    const moved = isClose && asset.ultimo_fechamento > 0 ? said.predicao / asset.ultimo_fechamento - 1 : null;
    const direction = moved === null ? null : moved > 0 ? "up" : moved < 0 ? "down" : null;
    return element("tr", {},
      element("th", { scope: "row" }, said.modelo,
        element("span", { class: "small" }, fullRecord(history?.records[said.modelo], words))),
      element("td", {}, isClose ? price(said.predicao) : said.predicao === 1 ? text.rises : text.falls),
      element("td", { class: direction }, isClose ? (moved === null ? "—" : change(moved)) : chance(said.probabilidade)));
  });
  return element("div", { class: "wide" }, element("table", {},
    element("thead", {}, element("tr", {},
      element("th", { scope: "col" }, text.model), element("th", { scope: "col" }, text.predicted),
      element("th", { scope: "col" }, `${text.change} / ${text.rising.toLowerCase()}`))),
    element("tbody", {}, ...rows)));
}

function past(asset, history, words) {
  const { text, price, day, shortDay, error } = words;
  if (!history) return [element("p", { class: "notice" }, text.noPast)];
  const names = [...new Set(history.days.flatMap((one) => Object.keys(one.modelos)))];
  const select = element("select", { id: "chart-model" }, ...names.map((name) => element("option", {}, name)));
  const figure = element("figure");
  const table = element("details", {}, element("summary", {}, text.dayTable));
  let width = 480;
  const draw = () => {
    const model = select.value;
    const found = points(history.days, model);
    const record = history.records[model];
    const label = text.chartText(asset.ativo, day(history.days[0].data), day(history.days.at(-1).data), model);
    figure.replaceChildren(
      chart(found, { width, label, price, shortDay, error: record?.mae }),
      legend(found, record, text),
      element("figcaption", {}, `${model}: ${fullRecord(record, words)}`
        + (record?.mape === undefined ? "" : ` · ${text.error} ${error(record.mape)}`)));
    table.replaceChildren(table.firstChild, dayTable(found, words));
  };
  select.addEventListener("change", draw);
  new ResizeObserver(([entry]) => {
    const room = Math.round(entry.contentRect.width);
    if (room > 0 && room !== width) {
      width = room;
      draw();
    }
  }).observe(figure);
  draw();
  return [element("p", {}, element("label", {}, `${text.chartModel} `, select)), figure, table];
}

function legend({ predicted }, record, text) {
  const swatch = (...shapes) => svg("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" }, ...shapes);
  const line = (kind) => swatch(svg("path", { class: kind, d: "M0 5H26" }));
  const entry = (shape, name) => element("span", {}, shape, " ", name);
  const hasCloses = predicted.some((point) => point.value !== null);
  return element("p", { class: "legend" }, entry(line("close"), text.closes),
    hasCloses ? entry(line("predicted"), text.predictedLine) : null,
    hasCloses && record?.mae ? entry(swatch(svg("path", { class: "error", d: "M13 0V10" }), svg("circle", { class: "point", cx: 13, cy: 5, r: 3 })), text.errorBar) : null,
    entry(swatch(mark(13, 5, true)), text.hit), entry(swatch(mark(13, 5, false)), text.miss));
}

function dayTable({ predicted }, { text, price, day }) {
  const rows = predicted.toReversed().map((point) => element("tr", {},
    element("th", { scope: "row" }, day(point.day)),
    element("td", {}, point.value === null ? (point.rise ? text.rises : text.falls) : price(point.value)),
    element("td", {}, point.came === null ? "—" : price(point.came)),
    element("td", { class: "words" }, point.hit === null ? "—" : point.hit ? text.hit : text.miss)));
  const heads = [text.day, text.predicted, text.came, ""];
  return element("div", { class: "wide" }, element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map((head) => element(head ? "th" : "td", head ? { scope: "col" } : {}, head)))),
    element("tbody", {}, ...rows)));
}
