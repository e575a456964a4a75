// How often a model was right, how sure that is, and whether it may have known the answers.

const Z = 1.96;

/** The 97.5 % quantiles of Student's t of few degrees of freedom, from one. */
const T = [12.706, 4.303, 3.182, 2.776];

/** Of fewer days than these it cannot be told how much assets move together. */
const FEW_DAYS = 5;

/** Over how many days the accuracy over time is averaged. */
export const WINDOW = 30;

/** The day of a version such as 20250729-2130. */
export const versionDay = (version) => `${version.slice(0, 4)}-${version.slice(4, 6)}-${version.slice(6, 8)}`;

/**
 * Whether a version may have been trained on the row of a day: its outcome, the next day's close, was known when the
 * version was made.
 */
export const isSeen = (day, version) => day < versionDay(version);

/** The days of an evaluation that tell of directions. */
export function daysOf(evaluation) {
  return Object.entries(evaluation?.por_dia ?? {})
    .map(([day, { previsoes, acerto_direcional: rate }]) => ({ day, cases: previsoes, hits: rate * previsoes }))
    .filter(({ cases, hits }) => cases > 0 && Number.isFinite(hits));
}

/** Days' hits together: the rate, the bounds of its 95 % interval, and the number of cases and of days; or null. */
export function together(days) {
  const total = (of) => days.reduce((sum, day) => sum + of(day), 0);
  const cases = total((day) => day.cases);
  if (!(cases > 0)) return null;
  const rate = total((day) => day.hits) / cases;
  // Assets rise and fall together, so the predictions of one day tell less than their number says. They count as many as
  // would vary alike from day to day if they were independent (Kish's design effect, 1965).
  const count = days.length;
  const alike = rate * (1 - rate);
  // Where all were right, or none, nothing varied that could tell: then the days count.
  const told = count >= FEW_DAYS && alike > 0;
  const varied = told && (total((day) => (day.hits - rate * day.cases) ** 2) * count) / (count - 1);
  const effective = told ? cases / Math.max(varied / (cases * alike), 1) : count;
  return { rate, cases, days: count, ...wilson(rate, effective, student(count - 1)) };
}

/** Student's t at 97.5 %: how much days vary is itself only known from these days. One day tells as little as two. */
function student(freedom) {
  if (freedom <= T.length) return T[Math.max(freedom, 1) - 1];
  // The expansion around the normal distribution (Abramowitz and Stegun 26.7.5), within 1 % here.
  return Z + (Z ** 3 + Z) / (4 * freedom) + (5 * Z ** 5 + 16 * Z ** 3 + 3 * Z) / (96 * freedom ** 2);
}

/** Wilson's interval, which holds for few cases and for rates near 0 and 1 (Wilson 1927), with a given quantile. */
function wilson(rate, cases, t) {
  const spread = t * Math.sqrt((rate * (1 - rate)) / cases + (t * t) / (4 * cases * cases));
  const scale = 1 + (t * t) / cases;
  const middle = rate + (t * t) / (2 * cases);
  return { low: Math.max((middle - spread) / scale, 0), high: Math.min((middle + spread) / scale, 1) };
}

/**
 * A model's record over all assets: of the days that it cannot have been trained on, or else of all, which are then
 * `seen`; null where nothing is known.
 */
export function recordOf(evaluation) {
  if (!evaluation) return null;
  return chosen(daysOf(evaluation), evaluation.versao);
}

/** The same for one asset, from what was predicted of it and what came. */
export function assetRecord(predicted, version) {
  const days = predicted.filter((point) => point.hit !== null)
    .map((point) => ({ day: point.day, cases: 1, hits: point.hit ? 1 : 0, error: point.value === null ? null : Math.abs(point.value - point.came), came: point.came }));
  return days.length ? chosen(days, version) : null;
}

function chosen(days, version) {
  const unseen = days.filter(({ day }) => !isSeen(day, version));
  const used = unseen.length ? unseen : days;
  const record = together(used);
  if (!record) return null;
  const errors = used.filter(({ error }) => Number.isFinite(error));
  const mean = (of) => (errors.length ? errors.reduce((sum, day) => sum + of(day), 0) / errors.length : null);
  return { ...record, seen: !unseen.length, version, error: mean((day) => day.error), share: mean((day) => day.error / day.came) };
}

/**
 * How the rate went: at each day that of the last days up to it. Days that the version may have been trained on and days
 * that are new to it are never averaged together: those would lend these their hits.
 */
export function overTime(days, version, window = WINDOW) {
  const seen = days.filter(({ day }) => isSeen(day, version));
  const unseen = days.filter(({ day }) => !isSeen(day, version));
  return [...ratesOf(seen, window), ...ratesOf(unseen, window)];
}

function ratesOf(days, window) {
  const rates = days.map(({ day }, place) => ({ day, ...together(days.slice(Math.max(place + 1 - window, 0), place + 1)) }));
  // The first few would be nearly all interval.
  return rates.slice(Math.max(Math.min(FEW_DAYS, rates.length) - 1, 0));
}

/** A record in a few words. It is never silent: what has no record is said to have none. */
export function shortRecord(record, { text, percent, percents }) {
  if (record === undefined) return text.readingRecord;
  if (record === null) return text.noRecord;
  if (record.seen) return text.seenRecord(percent(record.rate));
  return text.shortRecord(percent(record.rate), percents(record.low, record.high));
}

/** A record in a sentence. `inForce` is the version that is asked now. */
export function fullRecord(record, { text, percent, percents, whole }, inForce) {
  if (record === undefined) return text.readingRecord;
  if (record === null) return text.noRecord;
  const other = inForce && inForce !== record.version ? text.otherVersion(record.version) : "";
  if (record.seen) return text.seenInFull(percent(record.rate), whole(record.cases)) + other;
  const chance = record.low <= 0.5 && record.high >= 0.5 ? text.likeChance : "";
  return text.record(percent(record.rate), percents(record.low, record.high), whole(record.cases)) + chance + other;
}
