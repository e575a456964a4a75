// Charts: closes with what a model predicted for each day and whether it was right, and its accuracy over time.

import { svg } from "./dom.js";

const [HEIGHT, TOP, STRIP, BOTTOM, RIGHT] = [280, 10, 24, 22, 14];

/** One day of a history, placed where it came true: what was predicted on a day is about the next. */
export function points(days, model) {
  const closes = days.map((day, x) => ({ x, day: day.data, close: day.fechamento }));
  const predicted = days.flatMap((day, x) => {
    const said = day.modelos[model];
    if (!said) return [];
    const came = day.fechamento_next ?? null;
    const rise = said.probabilidade === undefined ? said.predicao > day.fechamento : said.predicao === 1;
    const value = said.probabilidade === undefined ? said.predicao : null;
    return [{ x: x + 1, day: day.data, from: day.fechamento, value, rise, came, hit: came === null ? null : rise === (came > day.fechamento) }];
  });
  return { closes, predicted };
}

/**
 * The chart of an asset, as wide as it is told to be. `error` is the model's mean error, drawn around what is still to
 * come; days before `unseenFrom` are marked as those that the model may have been trained on.
 */
export function chart({ closes, predicted }, { width, label, axis, shortDay, error, unseenFrom }) {
  const next = predicted.find((point) => point.came === null && point.value !== null);
  const reach = next && error ? [next.value - error, next.value + error] : [];
  const values = [...closes.map((point) => point.close), ...predicted.map((point) => point.value), ...reach].filter(Number.isFinite);
  const ticks = niceTicks(Math.min(...values), Math.max(...values));
  const left = 14 + 7 * Math.max(...ticks.map((tick) => axis(tick).length));
  const floor = HEIGHT - BOTTOM - STRIP;
  const [low, high] = [Math.min(ticks[0], ...values), Math.max(ticks.at(-1), ...values)];
  const x = (place) => left + (place / Math.max(closes.length, 1)) * (width - left - RIGHT);
  const y = (value) => floor - ((value - low) / (high - low || 1)) * (floor - TOP);
  const drawn = predicted.filter((point) => point.value !== null);
  // A prediction stands at the day after the one that it was made on.
  const seen = predicted.filter((point) => point.day < unseenFrom).at(-1)?.x ?? null;
  return svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": label },
    seen === null ? null : svg("rect", { class: "seen", x: left, y: TOP, width: x(seen) - left, height: HEIGHT - BOTTOM - TOP }),
    ...ticks.flatMap((tick) => [
      svg("line", { class: "grid", x1: left, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
      svg("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, axis(tick)),
    ]),
    ...dayTexts(closes.map((point) => point.day), x, HEIGHT - 4, shortDay),
    svg("path", { class: "close", d: line(closes.filter((point) => Number.isFinite(point.close)).map((point) => [x(point.x), y(point.close)])) }),
    svg("path", { class: "predicted", d: line(drawn.map((point) => [x(point.x), y(point.value)])) }),
    ...(next ? [
      reach.length ? svg("line", { class: "error", x1: x(next.x), x2: x(next.x), y1: y(reach[0]), y2: y(reach[1]) }) : null,
      svg("circle", { class: "point", cx: x(next.x), cy: y(next.value), r: 3.5 }),
    ] : []),
    ...predicted.filter((point) => point.hit !== null).map((point) => mark(x(point.x), HEIGHT - BOTTOM - (point.hit ? 16 : 6), point.hit)));
}

const [RATE_HEIGHT, RATE_LEFT] = [150, 40];

/** The least and the greatest rate in a chart of accuracy, so that those of all models compare. */
export const RATES = [0.3, 0.7];

/**
 * A model's accuracy over time as a line within its interval. `rates` are `{day, rate, low, high}`, ascending; the line
 * breaks at `unseenFrom`, as what follows rests on nothing before it. `span` is the first and the last day of the axis,
 * `range` the least and the greatest rate.
 */
export function accuracyChart(rates, { width, label, percent, shortDay, unseenFrom, span, range: [low, high] }) {
  const [from, to] = span.map((day) => Date.parse(day));
  const [top, floor] = [8, RATE_HEIGHT - BOTTOM];
  const x = (day) => RATE_LEFT + ((Date.parse(day) - from) / (to - from || 1)) * (width - RATE_LEFT - RIGHT);
  const y = (rate) => floor - ((Math.min(Math.max(rate, low), high) - low) / (high - low)) * (floor - top);
  const ticks = [0, 0.25, 0.5, 0.75, 1].filter((tick) => tick >= low && tick <= high);
  const parts = [rates.filter(({ day }) => day < unseenFrom), rates.filter(({ day }) => day >= unseenFrom)];
  const seen = parts[0].at(-1)?.day;
  const around = (part) => [...part.map(({ day, high: upper }) => [x(day), y(upper)]), ...part.toReversed().map(({ day, low: lower }) => [x(day), y(lower)])];
  return svg("svg", { viewBox: `0 0 ${width} ${RATE_HEIGHT}`, height: RATE_HEIGHT, role: "img", "aria-label": label },
    seen ? svg("rect", { class: "seen", x: x(rates[0].day), y: top, width: x(seen) - x(rates[0].day), height: floor - top }) : null,
    ...ticks.flatMap((tick) => [
      svg("line", { class: tick === 0.5 ? "grid chance-line" : "grid", x1: RATE_LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
      svg("text", { x: RATE_LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, percent(tick)),
    ]),
    ...dayTexts(span, (place) => x(span[place]), RATE_HEIGHT - 4, shortDay),
    ...parts.filter((part) => part.length).flatMap((part) => [
      svg("path", { class: "interval", d: `${line(around(part))}Z` }),
      svg("path", { class: "rate", d: line(part.map(({ day, rate }) => [x(day), y(rate)])) }),
      part.length === 1 ? svg("circle", { class: "point", cx: x(part[0].day), cy: y(part[0].rate), r: 3 }) : null,
    ]));
}

/** A dot for a direction that was right, a cross for one that was not. */
export function mark(x, y, hit) {
  return hit
    ? svg("circle", { class: "hit", cx: x, cy: y, r: 2.5 })
    : svg("path", { class: "miss", d: `M${x - 3} ${y - 3}l6 6m0 -6l-6 6` });
}

const line = (places) => places.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** The first, the middle and the last of some days. */
function dayTexts(days, x, y, shortDay) {
  const last = days.length - 1;
  const places = [...new Set([0, Math.floor(last / 2), last])].filter((place) => place >= 0);
  const anchor = (place) => (place === 0 ? "start" : place === last ? "end" : "middle");
  return places.map((place) => svg("text", { x: x(place), y, "text-anchor": anchor(place) }, shortDay(days[place])));
}

/** Four or so round values from below the least to above the greatest. */
function niceTicks(least, greatest) {
  const rough = (greatest - least || Math.abs(greatest) || 1) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) * power;
  const first = Math.ceil(least / step);
  const count = Math.floor(greatest / step) - first + 1;
  return Array.from({ length: Math.max(count, 1) }, (_, place) => (first + place) * step);
}

/** Draws into an element, and again whenever there is another width for it. `draw` makes what fits a width. */
export function drawn(room, draw) {
  let width = 480;
  const now = () => room.replaceChildren(...[draw(width)].flat());
  new ResizeObserver(([entry]) => {
    const found = Math.round(entry.contentRect.width);
    if (found > 0 && found !== width) {
      width = found;
      now();
    }
  }).observe(room);
  now();
  return now;
}
