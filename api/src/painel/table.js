// The table of all assets. Of thousands of rows only those in sight exist; the others are room above and below.

import { element } from "./dom.js";
import { shortRecord } from "./record.js";

/** Rows beyond either edge, so that a quick scroll shows no gap. */
const MARGIN = 12;

const COLLATOR = new Intl.Collator("en", { numeric: true });

const VERDICTS = {
  all: () => true,
  rise: (row) => row.rises > 0 && row.falls === 0,
  fall: (row) => row.falls > 0 && row.rises === 0,
  mixed: (row) => row.rises > 0 && row.falls > 0,
  missing: (row) => row.missing > 0,
};

export class AssetTable {
  #table; #scroller; #open;
  #rows = []; #shown = []; #models = []; #records = {}; #words;
  #sort = { key: "symbol", descending: false };
  #filter = { search: "", verdict: "all" };
  #drawn = new Map(); #range = null; #rowHeight = 44; #current = null; #fresh = false;

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

  /** Shows these rows. `fresh` marks them as changed. */
  show({ rows, models }, records, words, fresh) {
    [this.#rows, this.#models, this.#records, this.#words, this.#fresh] = [rows, models, records, words, fresh];
    this.#table.setAttribute("aria-colcount", 4 + models.length);
    this.#drawHead();
    return this.#choose();
  }

  /** Shows only rows with this text in their symbol and this verdict; gives their number. */
  filter(filter) {
    this.#filter = filter;
    this.#fresh = false;
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
    keyed.sort(([a, one], [b, other]) => compare(a, b, descending) || COLLATOR.compare(one.symbol, other.symbol));
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
      ["symbol", text.asset], ["close", text.lastClose], ["verdict", text.agreement],
      ...this.#models.map((model, place) => [place, model.modelo, shortRecord(this.#records[model.modelo], this.#words)]),
      ["day", text.dataUntil],
    ];
    const cells = columns.map(([key, name, record]) => {
      const sorted = this.#sort.key === key;
      const direction = sorted ? (this.#sort.descending ? "descending" : "ascending") : "none";
      return element("th", { scope: "col", "aria-sort": direction },
        element("button", { type: "button", "data-key": key }, name),
        record ? element("span", { class: "small" }, record) : null);
    });
    const focused = this.#table.tHead.contains(document.activeElement) ? document.activeElement.dataset.key : null;
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
    // What is drawn is drawn anew when half of the margin is used up.
    const before = this.#range;
    if (before && Math.abs(before.first - first) < MARGIN / 2 && before.last - before.first === last - first) return;
    this.#range = { first, last };
    const held = document.activeElement?.closest?.("tr")?.dataset.symbol;
    const drawn = new Map();
    for (let place = first; place < last; place += 1) {
      const row = this.#shown[place];
      const node = this.#drawn.get(row.symbol) ?? this.#rowOf(row);
      node.setAttribute("aria-rowindex", place + 2);
      drawn.set(row.symbol, node);
    }
    this.#drawn = drawn;
    const body = this.#table.tBodies[0];
    const hadFocus = body.contains(document.activeElement);
    body.replaceChildren(space(first * this.#rowHeight), ...drawn.values(), space((this.#shown.length - last) * this.#rowHeight));
    const measured = drawn.values().next().value?.getBoundingClientRect().height;
    if (measured) this.#rowHeight = measured;
    // The focus does not get lost with its row.
    if (hadFocus) (drawn.get(held)?.querySelector("a") ?? this.#scroller).focus({ preventScroll: true });
  }

  #rowOf(row) {
    const { text, price, daysAgo, day } = this.#words;
    const age = row.day === null ? null : daysAgo(row.day);
    const node = element("tr", { "data-symbol": row.symbol, class: this.#fresh ? "fresh" : null },
      element("th", { scope: "row" }, element("a", { href: `#/ativo/${encodeURIComponent(row.symbol)}` }, row.symbol)),
      element("td", {}, row.close === null ? missing(text.noClose) : price(row.close)),
      element("td", {}, row.rises ? element("span", { class: "up" }, text.riseCount(row.rises)) : null,
        row.rises && row.falls ? element("br") : null,
        row.falls ? element("span", { class: "down" }, text.fallCount(row.falls)) : null,
        row.rises + row.falls === 0 ? missing("—") : null),
      ...row.said.map((said) => element("td", {}, ...outcomeParts(said, this.#words))),
      element("td", {}, age === null ? missing("—")
        : element("span", {}, day(row.day), element("span", { class: age.days > 2 ? "small stale" : "small" }, age.said))));
    markRow(node, row.symbol === this.#current);
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
    this.#fresh = false;
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
    return [chance(said.chance), element("span", { class: "small" }, bar)];
  }
  const close = element("span", { class: "small" }, price(said.predicted));
  if (said.change === null) return [missing(text.noClose), close];
  return [element("span", { class: direction(said.change) }, change(said.change)), close];
}

const direction = (change) => (change > 0 ? "up" : change < 0 ? "down" : null);
const missing = (why) => element("span", { class: "none" }, why);

function space(height) {
  const row = element("tr", { class: "space", "aria-hidden": "true" }, element("td"));
  row.firstChild.style.height = `${height}px`;
  return row;
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
  const order = typeof a === "string" ? COLLATOR.compare(a, b) : a - b;
  return descending ? -order : order;
}
