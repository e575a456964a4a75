// The models in force, how they did, and the files that were rejected.

import { RATES, accuracyChart, drawn } from "./chart.js";
import { element } from "./dom.js";
import { WINDOW, daysOf, fullRecord, overTime, recordOf, versionDay } from "./record.js";

/** Shows the models. `evaluations` are undefined until they were read. */
export function showModels(section, models, evaluations, words) {
  const { text } = words;
  const rates = Object.fromEntries(models.models.map((name) => [name, evaluations?.[name] ? overTime(daysOf(evaluations[name]), evaluations[name].versao) : []]));
  const scale = scaleOf(Object.values(rates).flat());
  const cards = models.models.map((name) => card(name, models, evaluations && (evaluations[name] ?? null), rates[name], scale, words));
  const rejected = models.rejected.flatMap(({ key, reason }) => [
    element("dt", {}, element("code", {}, key)), element("dd", { lang: "en" }, reason)]);
  const held = section.contains(document.activeElement) && document.activeElement.id;
  section.replaceChildren(
    element("h2", { id: "models-heading", tabindex: -1 }, text.models),
    element("p", { class: "small" }, cards.length ? text.accuracy(words.whole(WINDOW)) : text.noModels),
    element("div", { class: "cards" }, ...cards),
    element("h3", {}, text.rejected),
    element("p", { class: "small" }, rejected.length ? text.rejectedWhy : text.noRejected),
    element("dl", { class: "rejected" }, ...rejected));
  if (held) document.getElementById(held)?.focus();
}

function card(name, { versions, detalhes, rejected }, evaluation, rates, scale, words) {
  const { text, day, daysAgo, instant, whole } = words;
  const { ativos, falhas, dados_ate: until, comparacao, desafiante } = detalhes[name];
  const version = versions[name];
  const newer = rejected.some(({ key }) => versionIn(key, name) > version);
  const fact = (term, ...what) => [element("dt", {}, term), element("dd", {}, ...what)];
  const id = `model-${name}`;
  const figure = element("figure");
  const unseenFrom = evaluation && versionDay(evaluation.versao);
  if (rates.length) drawn(figure, (width) => accuracyChart(rates, { ...words, ...scale, width, label: accuracyText(name, rates, unseenFrom, words), unseenFrom }));
  const age = until && daysAgo(until);
  return element("article", { class: "card", "aria-labelledby": id },
    element("h3", { id }, name, " ", element("span", { class: "chip" }, text.inForce)),
    element("dl", { class: "facts" },
      ...fact(text.version, instant(versionTime(version)), " ", element("code", {}, version)),
      ...fact(text.admission, admission(comparacao, words), newer ? element("span", { class: "small stale" }, text.newerRejected) : null),
      ...(desafiante ? fact(text.challenger, compared(text.lost, desafiante, words), " ", element("code", {}, desafiante.versao)) : []),
      ...fact(text.predictedAssets, text.withPrediction(whole(ativos), whole(falhas))),
      ...fact(text.dataUntil, ...(until ? [day(until), " ", element("span", { class: age.isStale ? "stale" : "none" }, `(${age.said})`)] : ["—"])),
      ...fact(text.hits, fullRecord(evaluation && recordOf(evaluation), words, version))),
    rates.length ? figure : evaluation === null ? element("p", { class: "notice" }, text.noAccuracy) : null,
    rates.some((rate) => rate.day < unseenFrom)
      ? element("p", { class: "small" }, element("span", { class: "swatch", "aria-hidden": "true" }), " ", text.seenDays) : null);
}

/** What came of the comparison with the version before, where there was one. */
function admission(comparison, words) {
  return comparison ? compared(words.text.compared, comparison, words) : words.text.admitted;
}

function compared(say, comparison, { short, whole, day }) {
  // A metric that is no number is left out.
  const told = (value) => (value === undefined ? "—" : short(value));
  const { metrica: metric, metricas, anterior, linhas, de, ate } = comparison;
  return say({
    metric, now: told(metricas[metric]), before: anterior ? told(anterior.metricas[metric]) : null, version: anterior?.versao,
    rows: whole(linhas), from: day(de), to: day(ate),
  });
}

/** What is drawn, of the days that are new to the model; of the others only where there are no such days. */
function accuracyText(model, rates, unseenFrom, { text, percent, day }) {
  const unseen = rates.filter((rate) => rate.day >= unseenFrom);
  const used = unseen.length ? unseen : rates;
  const all = used.map(({ rate }) => rate);
  return text.accuracyText({
    model, from: day(used[0].day), to: day(used.at(-1).day), last: percent(all.at(-1)),
    low: percent(Math.min(...all)), high: percent(Math.max(...all)), seen: !unseen.length,
  });
}

/** One scale for the charts of all models. */
function scaleOf(rates) {
  const days = rates.map(({ day }) => day).sort();
  const all = rates.map(({ rate }) => rate);
  const range = [Math.min(RATES[0], ...all), Math.max(RATES[1], ...all)];
  return { span: [days[0], days.at(-1)], range: [Math.floor(range[0] * 10) / 10, Math.ceil(range[1] * 10) / 10] };
}

/** The version that a key of this model's has, or nothing. Of `regressor_rf_big` the key begins as one of `regressor_rf`. */
export function versionIn(key, name) {
  const file = key.split("/").at(-1);
  return file.startsWith(`${name}_`) ? /^(\d{8}-\d{4}(?:\d\d)?)\./.exec(file.slice(name.length + 1))?.[1] ?? "" : "";
}

/** When a version was made: 20250729-2130 is in UTC. */
function versionTime(version) {
  const [, hour, minute, second = "00"] = /-(\d\d)(\d\d)(\d\d)?$/.exec(version);
  return `${versionDay(version)}T${hour}:${minute}:${second}Z`;
}
