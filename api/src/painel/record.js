// How often a model was right, and how sure that is.

const Z = 1.96;

/** What a record says of directions: the rate, the bounds of its 95 % interval and the number of cases; or null. */
export function hits(record) {
  const cases = record?.previsoes;
  const rate = record?.acerto_direcional;
  if (typeof rate !== "number" || !(cases > 0)) return null;
  // Wilson's interval, which holds for few cases and for rates near 0 and 1 (Wilson 1927).
  const spread = Z * Math.sqrt((rate * (1 - rate)) / cases + (Z * Z) / (4 * cases * cases));
  const scale = 1 + (Z * Z) / cases;
  const middle = rate + (Z * Z) / (2 * cases);
  return { rate, cases, low: Math.max((middle - spread) / scale, 0), high: Math.min((middle + spread) / scale, 1) };
}

/** A record in a few words. It is never silent: what has no record is said to have none. */
export function shortRecord(record, { text, percent }) {
  const found = hits(record);
  return found ? text.shortRecord(percent(found.rate), percent(found.low), percent(found.high)) : text.noRecord;
}

export function fullRecord(record, { text, percent, whole }) {
  const found = hits(record);
  if (!found) return text.noRecord;
  return text.record(percent(found.rate), percent(found.low), percent(found.high), whole(found.cases));
}
