// What the page knows, and how it learns of it.

/** An answer that is not the one hoped for. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function answer(path) {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body.detail ?? response.statusText);
  return body;
}

/** All predictions, a row for each asset. */
export async function readRows() {
  const columns = await answer("painel/dados");
  const rows = columns.symbols.map((symbol, place) => {
    const close = columns.ultimo_fechamento[place];
    const said = columns.modelos.map((model) => outcome(model, place, close));
    return { symbol, close, day: columns.dados_ate[place], said, ...verdict(said) };
  });
  return { rows, models: columns.modelos, generation: columns.geracao, timestamp: columns.timestamp };
}

/** What a model says of the asset at a place, or null. `rise` is null where it cannot be told. */
function outcome(model, place, close) {
  const predicted = model.predicao[place];
  if (predicted === null) return null;
  if (model.tipo === "classifier") {
    return { chance: model.probabilidade[place], rise: predicted === 1 };
  }
  const change = close > 0 ? predicted / close - 1 : null;
  return { predicted, change, rise: change === null ? null : change > 0 };
}

function verdict(said) {
  const rises = said.filter((one) => one?.rise === true).length;
  const falls = said.filter((one) => one?.rise === false).length;
  return { rises, falls, missing: said.length - rises - falls };
}

export const readAsset = (symbol) => answer(`symbol/${encodeURIComponent(symbol)}`);

export const readModels = () => answer("models");

/**
 * An asset's past, day by day, with what each model said and what came, and each model's record for this asset; null if
 * there is none.
 */
export async function readHistory(symbol, days) {
  const history = await orNothing(answer(`symbol/${encodeURIComponent(symbol)}/historico?dias=${days}`));
  const names = Object.keys(history?.modelos ?? {});
  if (!names.length) return null;
  const evaluations = await readEvaluations(names);
  const records = names.map((name) => [name, evaluations[name]?.por_ativo[history.ativo] ?? null]);
  return { days: byDay(history.modelos), records: Object.fromEntries(records) };
}

/** From what each model said day by day to what was said each day. */
export function byDay(models) {
  const days = new Map();
  for (const [model, { previsoes }] of Object.entries(models)) {
    for (const { data, fechamento, fechamento_next, predicao, probabilidade } of previsoes) {
      if (!days.has(data)) days.set(data, { data, fechamento, fechamento_next, modelos: {} });
      days.get(data).modelos[model] = { predicao, probabilidade };
    }
  }
  return [...days.values()].sort((one, other) => one.data.localeCompare(other.data));
}

/** How each model has done over all assets, by name; null for those of which nothing is known. */
export async function readRecords(names) {
  const evaluations = await readEvaluations(names);
  return Object.fromEntries(names.map((name) => [name, evaluations[name]?.geral ?? null]));
}

/** What the newest backfill found out about models, by name. */
async function readEvaluations(names) {
  const models = await Promise.all(names.map((name) => orNothing(answer(`models/${encodeURIComponent(name)}`))));
  return Object.fromEntries(names.map((name, place) => [name, models[place]?.avaliacao ?? null]));
}

const orNothing = (reading) => reading.catch((refused) => {
  if (refused.status === 404 || refused.status === 503) return null;
  throw refused;
});

/** Calls `generation` with each number that is served from now on, and `state` with "live" or "lost". */
export function follow(generation, state) {
  const events = new EventSource("eventos");
  events.addEventListener("open", () => state("live"));
  events.addEventListener("geracao", (event) => generation(JSON.parse(event.data).geracao));
  events.addEventListener("error", () => {
    state("lost");
    // Unlike a lost connection, an answer such as 503 ends the attempts of the browser.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => follow(generation, state), 10_000);
  });
}
