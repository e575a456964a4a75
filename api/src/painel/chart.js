// A chart of closes, what a model predicted for each day, and whether it was right about the direction.

import { svg } from "./dom.js";

const [HEIGHT, TOP, STRIP, BOTTOM, RIGHT] = [260, 8, 22, 22, 12];

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

/** The chart, as wide as it is told to be. `error` is the model's mean error, drawn around what is still to come. */
export function chart({ closes, predicted }, { width, label, price, shortDay, error }) {
  const next = predicted.find((point) => point.came === null && point.value !== null);
  const reach = next && error ? [next.value - error, next.value + error] : [];
  const values = [...closes.map((point) => point.close), ...predicted.map((point) => point.value), ...reach].filter(Number.isFinite);
  const ticks = niceTicks(Math.min(...values), Math.max(...values));
  const left = 16 + 7 * Math.max(...ticks.map((tick) => price(tick).length));
  const floor = HEIGHT - BOTTOM - STRIP;
  const [low, high] = [Math.min(ticks[0], ...values), Math.max(ticks.at(-1), ...values)];
  const x = (place) => left + (place / Math.max(closes.length, 1)) * (width - left - RIGHT);
  const y = (value) => floor - ((value - low) / (high - low || 1)) * (floor - TOP);
  const path = (list) => list.map(([px, py], place) => `${place ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
  const drawn = predicted.filter((point) => point.value !== null);
  const days = [...new Set([0, Math.floor((closes.length - 1) / 2), closes.length - 1])];
  return svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": label },
    ...ticks.flatMap((tick) => [
      svg("line", { class: "grid", x1: left, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
      svg("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, price(tick)),
    ]),
    ...days.map((place, at) => svg("text", { x: x(place), y: HEIGHT - 4, "text-anchor": ["start", "middle", "end"][days.length < 2 ? 0 : at] }, shortDay(closes[place].day))),
    svg("path", { class: "close", d: path(closes.map((point) => [x(point.x), y(point.close)])) }),
    svg("path", { class: "predicted", d: path(drawn.map((point) => [x(point.x), y(point.value)])) }),
    ...(next ? [
      reach.length ? svg("line", { class: "error", x1: x(next.x), x2: x(next.x), y1: y(reach[0]), y2: y(reach[1]) }) : "",
      svg("circle", { class: "point", cx: x(next.x), cy: y(next.value), r: 3.5 }),
    ] : []),
    ...predicted.filter((point) => point.hit !== null).map((point) => mark(x(point.x), HEIGHT - BOTTOM - (point.hit ? 15 : 5), point.hit)));
}

/** A dot for a direction that was right, a cross for one that was not. */
export function mark(x, y, hit) {
  return hit
    ? svg("circle", { class: "hit", cx: x, cy: y, r: 2.5 })
    : svg("path", { class: "miss", d: `M${x - 3} ${y - 3}l6 6m0 -6l-6 6` });
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
