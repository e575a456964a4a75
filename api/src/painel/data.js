// What the page knows, and how it learns of it.

/** An answer that is not the one hoped for; of status 0 if there is none. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function answer(path) {
  const response = await fetch(path).catch((error) => { throw new Refused(0, error.message); });
  const body = await response.json().catch((error) => {
    // An answer that broke off is none.
    if (response.ok) throw new Refused(0, error.message);
    return {};
  });
  if (!response.ok) throw new Refused(response.status, body.detail ?? response.statusText);
  return body;
}

/** All predictions, a row for each asset. */
export async function readRows() {
  const columns = await answer("painel/dados");
  const rows = columns.symbols.map((symbol, place) => {
    const close = columns.ultimo_fechamento[place];
    const said = columns.modelos.map((model) => outcome(model, place, close));
    return { symbol, close, day: columns.dados_ate[place], isStale: columns.desatualizado[place], said, ...verdict(said) };
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

/** For how many seconds the server has been unable to see what is published; null if it is not. */
export async function readLack() {
  const { status, sem_contato_segundos: seconds } = await answer("health");
  return status === "degraded" ? seconds ?? 0 : null;
}

/**
 * An asset's past: which version of each model was asked, and what each said and what came, day by day; null if there
 * is none, undefined if it could not be read: predictions are served without it.
 */
export async function readHistory(symbol, days) {
  const path = `symbol/${encodeURIComponent(symbol)}/historico?dias=${days}`;
  const history = await orNothing(answer(path)).catch((refused) => {
    if (refused instanceof Refused) return undefined;
    throw refused;
  });
  if (history === undefined) return undefined;
  const models = Object.entries(history?.modelos ?? {});
  if (!models.length) return null;
  return { versions: Object.fromEntries(models.map(([name, { versao }]) => [name, versao])), days: byDay(history.modelos) };
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

/** What the newest backfill found out about models, by name; null for those of which nothing is known. */
export async function readEvaluations(names) {
  const models = await Promise.all(names.map((name) => orNothing(answer(`models/${encodeURIComponent(name)}`))));
  return Object.fromEntries(names.map((name, place) => [name, models[place]?.avaliacao ?? null]));
}

const orNothing = (reading) => reading.catch((refused) => {
  if (refused.status === 404) return null;
  throw refused;
});

/** After how many milliseconds who was refused asks again. */
const AGAIN = 10_000;

/**
 * Calls `generation` with each number that is served from now on, and `state` with "live" or "lost". What it returns ends
 * that.
 */
export function follow(generation, state) {
  let events;
  let timer;
  const begin = () => {
    events = new EventSource("eventos");
    events.addEventListener("open", () => state("live"));
    events.addEventListener("geracao", (event) => generation(JSON.parse(event.data).geracao));
    events.addEventListener("error", () => {
      state("lost");
      // Unlike a lost connection, an answer such as 503 ends the attempts of the browser.
      if (events.readyState === EventSource.CLOSED) timer = setTimeout(begin, AGAIN);
    });
  };
  begin();
  return () => {
    clearTimeout(timer);
    events.close();
  };
}
