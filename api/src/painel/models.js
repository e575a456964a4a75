// The models in force, how they did, and the files that were rejected.

import { element } from "./dom.js";
import { fullRecord } from "./record.js";

export function showModels(section, models, records, words) {
  const { text, day, daysAgo, instant, whole } = words;
  const heading = element("h2", { id: "models-heading", tabindex: -1 }, text.models);
  const columns = [text.model, text.version, text.state, text.predictedAssets, text.failed, text.dataUntil, text.hitsAll];
  const rows = models.models.map((name) => {
    const { ativos, falhas, dados_ate: until } = models.detalhes[name];
    return element("tr", {},
      element("th", { scope: "row" }, name),
      element("td", {}, instant(versionTime(models.versions[name])), element("span", { class: "small" }, models.versions[name])),
      element("td", {}, text.inForce),
      element("td", {}, whole(ativos)),
      element("td", {}, whole(falhas)),
      element("td", {}, until ? day(until) : "—", until ? element("span", { class: "small" }, daysAgo(until).said) : null),
      element("td", { class: "words" }, fullRecord(records[name], words)));
  });
  const table = element("div", { class: "wide", tabindex: 0, role: "region", "aria-labelledby": "models-heading" },
    element("table", {},
      element("thead", {}, element("tr", {}, ...columns.map((column, place) =>
        element("th", { scope: "col", class: place === columns.length - 1 ? "words" : null }, column)))),
      element("tbody", {}, ...rows)));
  const rejected = models.rejected.flatMap(({ key, reason }) => [
    element("dt", {}, element("code", {}, key)), element("dd", { lang: "en" }, reason)]);
  section.replaceChildren(heading, table, element("h3", {}, text.rejected),
    element("p", { class: "small" }, rejected.length ? text.rejectedWhy : text.noRejected),
    element("dl", { class: "rejected" }, ...rejected));
}

/** When a version was made: 20250729-2130 is in UTC. */
function versionTime(version) {
  const [, year, month, day, hour, minute, second = "00"] = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)?$/.exec(version);
  return `${year}-${month}-${day}T${hour}:${minute}:${second}Z`;
}
