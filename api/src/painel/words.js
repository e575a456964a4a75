// What is said, in two languages, and how numbers, days and ages are written where the reader is.

const PORTUGUESE = {
  title: "Previsões", views: "Visões", assets: "Ativos", models: "Modelos",
  connecting: "conectando…", live: "ao vivo", lost: "sem conexão, tentando de novo…",
  search: "Buscar", show: "Mostrar", showAll: "todos", showRise: "todos os modelos em alta",
  showFall: "todos os modelos em queda", showMixed: "modelos divergem", showMissing: "falta alguma previsão", showStale: "dados desatualizados",
  filters: "Busca e filtro",
  tableLabel: "Tabela de previsões, com rolagem",
  tableCaption: "Ativos e o que cada modelo prevê para o dia seguinte",
  caveat: "Previsões são estimativas com erro, não recomendações.",
  caveatRecords: "Sob o nome de cada modelo está quanto ele acertou a direção, com intervalo de 95%; “treino” são dias que ele pode ter visto ao ser treinado, e dizem pouco sobre os próximos.",
  asset: "Ativo", lastClose: "Último fechamento", dataUntil: "Dados até", agreement: "Consenso",
  rises: "alta", falls: "queda", upwards: "em alta", downwards: "em queda", none: "sem previsão", noClose: "sem último fechamento",
  countOf: (shown, all) => `${shown} de ${all} ativos`,
  emptyFilter: "Nenhum ativo corresponde à busca e ao filtro.",
  notYet: "Ainda não há previsões publicadas; o painel mostra as primeiras assim que houver.",
  noneScored: "Nada pôde ser previsto nesta publicação; os modelos e os arquivos recusados estão em Modelos.",
  cannotRead: (why) => `Não foi possível ler as previsões: ${why}`,
  summary: (assets, models, age) => `${assets} ativos · ${models} modelos · previsto ${age}`,
  summaryData: (day, age) => `dados até ${day}, ${age}`,
  outdated: "desatualizado",
  outdatedAssets: (count) => `${count} com dados desatualizados`,
  outdatedAsset: "Os dados deste ativo estão muito atrás dos demais: a previsão é para o dia seguinte ao deles, que já passou.",
  degraded: (age) => `O servidor perdeu contato com as publicações ${age}; o que se vê é o que ele tinha então.`,
  newGeneration: (assets) => `Nova publicação: ${assets} ativos.`,
  readingRecord: "lendo acertos…", noRecord: "sem histórico",
  shortRecord: (rate, range) => `acerto ${rate} (${range})`,
  seenRecord: (rate) => `treino: ${rate}`,
  record: (rate, range, count) => `acertou a direção em ${rate} (${range}) de ${count}, em dias novos para ele`,
  seenInFull: (rate, count) => `acertou a direção em ${rate} de ${count}, mas em dias que pode ter visto no treino`,
  likeChance: "; não se distingue do acaso",
  otherVersion: (version) => `; avaliada a versão ${version}, não a que está em uso`,
  back: "Fechar", unknownAsset: "Este ativo não existe na publicação atual.",
  predictions: "Previsões para o dia seguinte", model: "Modelo", predicted: "Previsto", change: "Variação",
  rising: "Chance de alta", version: "Versão", error: "erro médio",
  failures: "Sem previsão",
  past: "Previsto e realizado",
  noPast: "Não há histórico para este ativo: nada aqui mostra quanto estas previsões costumam acertar.",
  unreadPast: "Não foi possível ler o histórico; o painel tenta de novo a cada minuto.",
  chartModel: "Comparar com",
  chartText: (asset, from, to, model) => `Fechamentos de ${asset} de ${from} a ${to}, e o que ${model} previu para cada dia.`,
  closes: "fechamento", predictedLine: "previsto para o dia", hit: "direção certa", miss: "direção errada",
  errorBar: "próxima, ± erro médio", seenDays: "dias que o modelo pode ter visto no treino",
  day: "Dia", came: "Realizado", dayTable: "Ver em tabela",
  inForce: "em uso", predictedAssets: "Ativos", withPrediction: (count, failed) => (failed === "0" ? `${count} com previsão` : `${count} com previsão, ${failed} sem`),
  admission: "Admissão", admitted: "aceito", hits: "Acerto",
  compared: ({ metric, now, before, version, rows, from, to }) => `aceito: ${metric} ${now}${before === null ? "" : ` contra ${before} da versão ${version}`}, em ${rows} linhas de ${from} a ${to}`,
  challenger: "Desafiante", lost: ({ metric, now, before, rows, from, to }) => `não é melhor: ${metric} ${now} contra ${before ?? "—"}, em ${rows} linhas de ${from} a ${to}`,
  newerRejected: "um arquivo mais novo foi recusado; o motivo está abaixo",
  accuracy: (days) => `Acerto de direção em janelas de ${days} dias, com intervalo de 95%. A linha em 50% é o acaso.`,
  accuracyText: ({ model, from, to, last, low, high, seen }) => `Acerto de direção de ${model} de ${from} a ${to}: entre ${low} e ${high}, por último ${last}${seen ? ", em dias que pode ter visto no treino" : ""}.`,
  noAccuracy: "Ainda não foi avaliado: nada mostra quanto ele acerta.",
  noModels: "Nenhum modelo está em uso.",
  rejected: "Arquivos recusados", noRejected: "Nenhum arquivo foi recusado.",
  rejectedWhy: "O mais novo de cada nome que não pôde ser usado; o que estava em uso continua. Os motivos vêm do programa, em inglês.",
};

const ENGLISH = {
  title: "Predictions", views: "Views", assets: "Assets", models: "Models",
  connecting: "connecting…", live: "live", lost: "connection lost, trying again…",
  search: "Search", show: "Show", showAll: "all", showRise: "all models say rise",
  showFall: "all models say fall", showMixed: "models disagree", showMissing: "a prediction is missing", showStale: "outdated data",
  filters: "Search and filter",
  tableLabel: "Table of predictions, scrollable",
  tableCaption: "Assets and what each model predicts for the next day",
  caveat: "Predictions are estimates with errors, not advice.",
  caveatRecords: "Under each model's name is how often it was right about the direction, with a 95% interval; “training” are days that it may have been trained on, and say little of the next.",
  asset: "Asset", lastClose: "Last close", dataUntil: "Data until", agreement: "Consensus",
  rises: "rise", falls: "fall", upwards: "up", downwards: "down", none: "no prediction", noClose: "no last close",
  countOf: (shown, all) => `${shown} of ${all} assets`,
  emptyFilter: "No asset matches the search and the filter.",
  notYet: "No predictions have been published yet; the first appear here as soon as they are.",
  noneScored: "Nothing could be predicted in this publication; the models and the rejected files are under Models.",
  cannotRead: (why) => `The predictions could not be read: ${why}`,
  summary: (assets, models, age) => `${assets} assets · ${models} models · predicted ${age}`,
  summaryData: (day, age) => `data until ${day}, ${age}`,
  outdated: "outdated",
  outdatedAssets: (count) => `${count} with outdated data`,
  outdatedAsset: "The data of this asset lie far behind those of the others: the prediction is for the day after them, which is over.",
  degraded: (age) => `The server lost contact with the publications ${age}; what is shown is what it had then.`,
  newGeneration: (assets) => `New publication: ${assets} assets.`,
  readingRecord: "reading record…", noRecord: "no track record",
  shortRecord: (rate, range) => `right ${rate} (${range})`,
  seenRecord: (rate) => `training: ${rate}`,
  record: (rate, range, count) => `right about the direction in ${rate} (${range}) of ${count}, on days new to it`,
  seenInFull: (rate, count) => `right about the direction in ${rate} of ${count}, but on days that it may have been trained on`,
  likeChance: "; no different from chance",
  otherVersion: (version) => `; version ${version} was evaluated, not the one in force`,
  back: "Close", unknownAsset: "There is no such asset in the current publication.",
  predictions: "Predictions for the next day", model: "Model", predicted: "Predicted", change: "Change",
  rising: "Chance of a rise", version: "Version", error: "mean error",
  failures: "No prediction",
  past: "What was predicted and what came",
  noPast: "There is no track record for this asset: nothing here shows how often such predictions are right.",
  unreadPast: "The history could not be read; the dashboard tries again every minute.",
  chartModel: "Compare with",
  chartText: (asset, from, to, model) => `Closes of ${asset} from ${from} to ${to}, and what ${model} predicted for each day.`,
  closes: "close", predictedLine: "predicted for the day", hit: "direction right", miss: "direction wrong",
  errorBar: "next, ± mean error", seenDays: "days that the model may have been trained on",
  day: "Day", came: "Came", dayTable: "Show as a table",
  inForce: "in force", predictedAssets: "Assets", withPrediction: (count, failed) => (failed === "0" ? `${count} predicted` : `${count} predicted, ${failed} not`),
  admission: "Admission", admitted: "accepted", hits: "Record",
  compared: ({ metric, now, before, version, rows, from, to }) => `accepted: ${metric} ${now}${before === null ? "" : ` against ${before} of version ${version}`}, on ${rows} rows of ${from} to ${to}`,
  challenger: "Challenger", lost: ({ metric, now, before, rows, from, to }) => `not better: ${metric} ${now} against ${before ?? "—"}, in ${rows} rows from ${from} to ${to}`,
  newerRejected: "a newer file was rejected; the reason is below",
  accuracy: (days) => `How often the direction was right, over windows of ${days} days, with a 95% interval. The line at 50% is chance.`,
  accuracyText: ({ model, from, to, last, low, high, seen }) => `How often ${model} was right about the direction from ${from} to ${to}: between ${low} and ${high}, last ${last}${seen ? ", on days that it may have been trained on" : ""}.`,
  noAccuracy: "Not evaluated yet: nothing shows how often it is right.",
  noModels: "No model is in force.",
  rejected: "Rejected files", noRejected: "No file was rejected.",
  rejectedWhy: "The newest of each name that could not be used; what was in force stays.",
};

const DAY = 86_400_000;

/** A change beyond these says that a model is out of its depth, and no more. */
const [LEAST_CHANGE, GREATEST_CHANGE] = [-1, 9.99];

/**
 * The words of a language ("pt" or "en") and the formats of the reader's locales. Numbers are written as the reader's
 * first locale does; what has words in it, such as dates, as the first that speaks the page's language does.
 */
export function words(language, locales) {
  const spoken = locales.find((locale) => locale.startsWith(language)) ?? language;
  // Formats take longer to make than to use: each is made when it is needed.
  const number = (options) => lazily(() => new Intl.NumberFormat(locales, options));
  const date = (locale, options) => lazily(() => new Intl.DateTimeFormat(locale, options));
  const whole = number();
  const large = number({ minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const small = number({ minimumSignificantDigits: 4, maximumSignificantDigits: 4 });
  const short = number({ maximumSignificantDigits: 4 });
  const signed = number({ style: "percent", signDisplay: "exceptZero", minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const percent = number({ style: "percent", maximumFractionDigits: 0 });
  const fine = number({ style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const calendar = date(spoken, { dateStyle: "medium", timeZone: "UTC" });
  const shortCalendar = date(spoken, { day: "numeric", month: "short", timeZone: "UTC" });
  // Without words in it.
  const numeric = date(locales, { day: "2-digit", month: "2-digit", year: "numeric", timeZone: "UTC" });
  const instant = date(spoken, { dateStyle: "medium", timeStyle: "short" });
  const since = lazily(() => new Intl.RelativeTimeFormat(spoken, { numeric: "auto" }));
  return {
    language,
    text: language === "en" ? ENGLISH : PORTUGUESE,
    whole: (value) => whole().format(value),
    price: (value) => (Math.abs(value) >= 1 || value === 0 ? large : small)().format(value),
    /** A number of which only the size matters. */
    short: (value) => short().format(value),
    change: (value) => {
      if (value < LEAST_CHANGE) return `< ${percent().format(LEAST_CHANGE)}`;
      if (value > GREATEST_CHANGE) return `> +${percent().format(GREATEST_CHANGE)}`;
      return signed().format(value);
    },
    percent: (value) => percent().format(value),
    percents: (low, high) => `${whole().format(Math.round(100 * low))}–${percent().format(high)}`,
    error: (value) => fine().format(value),
    /** A chance is never certain, whatever it rounds to. */
    chance: (value) => (value < 0.005 ? `< ${percent().format(0.01)}` : value > 0.995 ? `> ${percent().format(0.99)}` : percent().format(value)),
    day: (date) => calendar().format(new Date(date)),
    numericDay: (date) => numeric().format(new Date(date)),
    shortDay: (date) => shortCalendar().format(new Date(date)),
    instant: (time) => instant().format(new Date(time)),
    /** How long ago an instant was. */
    ago: (time) => {
      const seconds = (Date.now() - new Date(time)) / 1000;
      const [unit, length] = [["day", 86_400], ["hour", 3600], ["minute", 60]].find(([, length]) => seconds >= length) ?? ["second", 1];
      return since().format(-Math.round(Math.max(seconds, 0) / length), unit);
    },
    /** How many whole days a day is past. */
    daysAgo: (date) => {
      const days = Math.max(Math.floor((Date.now() - new Date(date)) / DAY), 0);
      return { days, said: since().format(-days, "day"), isStale: days > 2 };
    },
  };
}

function lazily(make) {
  let made;
  return () => (made ??= make());
}

/** Whether a change is one that an asset can make in a day, by any stretch. */
export const isPlausible = (change) => change >= LEAST_CHANGE && change <= GREATEST_CHANGE;
