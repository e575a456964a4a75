// The table of all assets. Of thousands of rows only those in sight exist; the others are room above and below.

import { element } from "./dom.js";
import { shortRecord } from "./record.js";
import { isPlausible } from "./words.js";

/** Rows beyond either edge, so that a quick scroll shows no gap. */
const MARGIN = 12;

const VERDICTS = {
  all: () => true,
  rise: (row) => row.rises > 0 && row.falls === 0,
  fall: (row) => row.falls > 0 && row.rises === 0,
  mixed: (row) => row.rises > 0 && row.falls > 0,
  missing: (row) => row.missing > 0,
  stale: (row) => row.isStale,
};

export class AssetTable {
  #table; #scroller; #open;
  #rows = []; #shown = []; #models = []; #records = {}; #words;
  #sort = { key: "symbol", descending: false };
  #filter = { search: "", verdict: "all" };
  /** The rows that exist, by symbol, and which of those that are shown they are; null if all are to be made anew. */
  #drawn = new Map(); #range = null;
  #above = space(); #below = space();
  #rowHeight = 42; #current = null;
  /** The symbols whose predictions are others than before. */
  #changed = new Set();
  #newest = "";

  /** `open` is called with the symbol that somebody chose. */
  constructor(table, scroller, open) {
    this.#table = table;
    this.#scroller = scroller;
    this.#open = open;
    scroller.addEventListener("scroll", () => this.#draw(), { passive: true });
    new ResizeObserver(() => this.#draw()).observe(scroller);
    table.tBodies[0].addEventListener("click", (event) => this.#clicked(event));
    table.tBodies[0].addEventListener("keydown", (event) => this.#pressed(event));
    table.tHead.addEventListener("click", (event) => this.#sorted(event));
  }

  /** Shows these rows. `fresh` marks those that changed. */
  show({ rows, models }, records, words, fresh) {
    this.#changed = fresh ? changed(this.#rows, rows) : new Set();
    [this.#rows, this.#models, this.#records, this.#words] = [rows, models, records, words];
    this.#newest = newestDay(rows);
    this.#drawHead();
    return this.#choose();
  }

  /** Shows how right the models were. */
  judge(records) {
    this.#records = records;
    this.#drawHead();
  }

  /** Shows only rows with this text in their symbol and this verdict; gives their number. */
  filter(filter) {
    this.#filter = filter;
    this.#changed.clear();
    this.#scroller.scrollTop = 0;
    return this.#choose();
  }

  /** Marks the row of an asset that is looked at more closely. */
  mark(symbol) {
    this.#current = symbol;
    for (const [name, row] of this.#drawn) markRow(row, name === symbol);
  }

  /** Brings the row of an asset into sight and gives it the focus. */
  focus(symbol) {
    const place = this.#shown.findIndex((row) => row.symbol === symbol);
    if (place < 0) return this.#scroller.focus();
    this.#reveal(place);
  }

  #choose() {
    const search = this.#filter.search.trim().toUpperCase();
    const fits = VERDICTS[this.#filter.verdict];
    this.#shown = this.#rows.filter((row) => row.symbol.includes(search) && fits(row));
    const { key, descending } = this.#sort;
    const keyed = this.#shown.map((row) => [sortKey(row, key), row]);
    // Rows come in the order of their symbols, and those that are alike stay in it.
    keyed.sort(([a], [b]) => compare(a, b, descending));
    this.#shown = keyed.map(([, row]) => row);
    this.#table.setAttribute("aria-rowcount", this.#shown.length + 1);
    this.#range = null;
    this.#drawn.clear();
    this.#draw();
    return this.#shown.length;
  }

  #drawHead() {
    const { text } = this.#words;
    const columns = [
      ["symbol", text.asset, "symbol"], ["close", text.lastClose, "close"], ["verdict", text.agreement, "verdict"],
      ...this.#models.map((model, place) => [place, model.modelo, "model", this.#records[model.modelo], model.versao]),
      ["day", text.dataUntil, "day"],
    ];
    const cells = columns.map(([key, name, kind, record, version]) => {
      const sorted = this.#sort.key === key;
      const direction = sorted ? (this.#sort.descending ? "descending" : "ascending") : "none";
      return element("th", { scope: "col", "aria-sort": direction, class: kind },
        element("button", { type: "button", "data-key": key }, name),
        kind === "model" ? element("span", { class: record?.seen ? "small seen" : "small" },
          shortRecord(record, this.#words), ...otherVersion(record, version, this.#words)) : null);
    });
    const focused = this.#table.tHead.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.#table.querySelector("colgroup").replaceChildren(...columns.map(([, , kind]) => element("col", { class: kind })));
    this.#table.tHead.replaceChildren(element("tr", { "aria-rowindex": 1 }, ...cells));
    if (focused !== null) this.#table.tHead.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  #draw() {
    if (!this.#words) return;
    const { scrollTop, clientHeight } = this.#scroller;
    const visible = Math.ceil(clientHeight / this.#rowHeight);
    const sight = Math.floor(scrollTop / this.#rowHeight);
    const first = Math.max(Math.min(sight, this.#shown.length - visible) - MARGIN, 0);
    const last = Math.min(first + visible + 2 * MARGIN, this.#shown.length);
    const before = this.#range;
    // The rows that exist do for now unless half of their margin is used up.
    if (before && Math.abs(before.first - first) < MARGIN / 2 && before.last - before.first === last - first) return;
    this.#range = { first, last };
    const body = this.#table.tBodies[0];
    const held = body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.symbol : null;
    if (before && first < before.last && last > before.first) this.#move(before, first, last);
    else this.#fill(first, last);
    this.#above.firstChild.style.height = `${first * this.#rowHeight}px`;
    this.#below.firstChild.style.height = `${(this.#shown.length - last) * this.#rowHeight}px`;
    // The focus does not get lost with its row.
    if (held && !body.contains(document.activeElement)) (this.#drawn.get(held)?.querySelector("a") ?? this.#scroller).focus({ preventScroll: true });
  }

  /** Makes all rows of a range anew. */
  #fill(first, last) {
    this.#drawn.clear();
    const rows = this.#shown.slice(first, last).map((_, place) => this.#rowAt(first + place));
    this.#table.tBodies[0].replaceChildren(this.#above, ...rows, this.#below);
    const height = rows[0]?.getBoundingClientRect().height;
    if (height) this.#rowHeight = height;
  }

  /** Adds and removes rows at the ends, and leaves those between alone. */
  #move(before, first, last) {
    const remove = (place) => {
      const { symbol } = this.#shown[place];
      this.#drawn.get(symbol).remove();
      this.#drawn.delete(symbol);
    };
    for (let place = before.first; place < Math.min(first, before.last); place += 1) remove(place);
    for (let place = Math.max(last, before.first); place < before.last; place += 1) remove(place);
    for (let place = Math.min(before.first, last) - 1; place >= first; place -= 1) this.#above.after(this.#rowAt(place));
    for (let place = Math.max(before.last, first); place < last; place += 1) this.#below.before(this.#rowAt(place));
  }

  #rowAt(place) {
    const row = this.#shown[place];
    const { text, price, daysAgo, numericDay } = this.#words;
    const age = row.day === null ? null : daysAgo(row.day);
    // How old the newest are is told above; what lags behind them is told here.
    const lags = row.day < this.#newest ? "small stale" : "small";
    const count = (number, kind, word) => (number ? element("span", { class: kind }, number, element("span", { class: "unseen" }, ` ${word} `)) : null);
    const node = element("tr", { "data-symbol": row.symbol, "aria-rowindex": place + 2, class: this.#changed.has(row.symbol) ? "fresh" : null },
      element("th", { scope: "row" }, element("a", { href: `#/ativo/${encodeURIComponent(row.symbol)}` }, row.symbol),
        element("span", { class: "small narrow" }, row.close === null ? text.noClose : price(row.close))),
      element("td", { class: "close" }, row.close === null ? missing(text.noClose) : price(row.close)),
      element("td", { class: "verdict" }, count(row.rises, "up", text.upwards), count(row.falls, "down", text.downwards),
        row.rises + row.falls === 0 ? missing("—") : null),
      ...row.said.map((said) => element("td", { class: "model" }, ...outcomeParts(said, this.#words))),
      element("td", { class: "day" }, age === null ? missing("—") : numericDay(row.day), age === null ? null : element("span", { class: lags }, row.isStale ? text.outdated : age.said)));
    markRow(node, row.symbol === this.#current);
    this.#drawn.set(row.symbol, node);
    return node;
  }

  #clicked(event) {
    const row = event.target.closest("tr[data-symbol]");
    if (row && !event.target.closest("a")) this.#open(row.dataset.symbol);
  }

  #pressed(event) {
    const symbol = event.target.closest("tr[data-symbol]")?.dataset.symbol;
    const place = this.#shown.findIndex((row) => row.symbol === symbol);
    const page = Math.max(Math.floor(this.#scroller.clientHeight / this.#rowHeight) - 2, 1);
    const to = { ArrowDown: place + 1, ArrowUp: place - 1, PageDown: place + page, PageUp: place - page, Home: 0, End: Infinity }[event.key];
    if (place < 0 || to === undefined) return;
    event.preventDefault();
    this.#reveal(Math.min(Math.max(to, 0), this.#shown.length - 1));
  }

  #reveal(place) {
    const head = this.#table.tHead.offsetHeight;
    const [top, room] = [place * this.#rowHeight, this.#scroller.clientHeight - head];
    if (top < this.#scroller.scrollTop) this.#scroller.scrollTop = top;
    else if (top + this.#rowHeight > this.#scroller.scrollTop + room) this.#scroller.scrollTop = top + this.#rowHeight - room;
    this.#draw();
    this.#drawn.get(this.#shown[place]?.symbol)?.querySelector("a").focus({ preventScroll: true });
  }

  #sorted(event) {
    const name = event.target.closest("button[data-key]")?.dataset.key;
    if (name === undefined) return;
    const key = /^\d+$/.test(name) ? Number(name) : name;
    // Numbers begin with the largest, which is what one looks for.
    this.#sort = { key, descending: this.#sort.key === key ? !this.#sort.descending : key !== "symbol" };
    this.#changed.clear();
    this.#drawHead();
    this.#scroller.scrollTop = 0;
    this.#choose();
  }
}

/** What one model says, as a change with the close beneath or as a chance with its bar. */
export function outcomeParts(said, { text, price, change, chance }) {
  if (said === null) return [missing(text.none)];
  if (said.chance !== undefined) {
    const bar = element("span", { class: said.chance < 0.5 ? "chance fall" : "chance", "aria-hidden": "true" }, element("i"));
    bar.style.setProperty("--p", `${100 * said.chance}%`);
    return [element("span", { class: said.rise ? "up" : "down" }, chance(said.chance)), element("span", { class: "small" }, bar)];
  }
  const close = element("span", { class: "small" }, price(said.predicted));
  if (said.change === null) return [missing(text.noClose), close];
  return [changeText(said.change, change), close];
}

/** A change with its direction; what no asset does in a day is shown as the doubtful thing it is. */
export function changeText(value, change) {
  const direction = value > 0 ? "up" : value < 0 ? "down" : null;
  return element("span", { class: isPlausible(value) ? direction : `${direction} doubtful` }, change(value));
}

/** Marks a record that is of another version than the one that predicts. */
function otherVersion(record, version, { text }) {
  if (!record || record.version === version) return [];
  const why = text.otherVersion(record.version);
  return [element("span", { "aria-hidden": "true", title: why.replace(/^; /, "") }, "*"), element("span", { class: "unseen" }, why)];
}

const missing = (why) => element("span", { class: "none" }, why);

function space() {
  return element("tr", { class: "space", "aria-hidden": "true" }, element("td"));
}

/** The newest day of which data are, or an empty text. */
export const newestDay = (rows) => rows.reduce((newest, row) => (row.day > newest ? row.day : newest), "");

/** The symbols of which something else is said than before. */
function changed(before, rows) {
  const known = new Map(before.map((row) => [row.symbol, row]));
  const said = (row) => row && JSON.stringify([row.close, row.day, row.said]);
  return new Set(rows.filter((row) => said(known.get(row.symbol)) !== said(row)).map((row) => row.symbol));
}

function markRow(row, isCurrent) {
  if (isCurrent) row.setAttribute("aria-current", "true");
  else row.removeAttribute("aria-current");
}

function sortKey(row, key) {
  if (key === "verdict") return row.rises + row.falls === 0 ? null : row.rises - row.falls;
  if (typeof key === "string") return row[key];
  const said = row.said[key];
  return said === null ? null : said.chance ?? said.change;
}

/** What is missing comes last, whichever way the others go. */
function compare(a, b, descending) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = Number(a > b) - Number(a < b);
  return descending ? -order : order;
}
