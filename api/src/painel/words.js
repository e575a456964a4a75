// What is said, in two languages, and how numbers, days and ages are written where the reader is.

const PORTUGUESE = {
  title: "Previsões", views: "Visões", assets: "Ativos", models: "Modelos",
  connecting: "conectando…", live: "ao vivo", lost: "sem conexão, tentando de novo…",
  search: "Buscar", show: "Mostrar", showAll: "todos", showRise: "todos os modelos em alta",
  showFall: "todos os modelos em queda", showMixed: "modelos divergem", showMissing: "falta alguma previsão",
  tableLabel: "Tabela de previsões, com rolagem",
  tableCaption: "Ativos e o que cada modelo prevê para o dia seguinte",
  caveat: "Previsões são estimativas com erro, não conselhos. Sob o nome de cada modelo está o histórico de acertos dele.",
  asset: "Ativo", lastClose: "Último fechamento", dataUntil: "Dados até", agreement: "Modelos",
  rises: "alta", falls: "queda", riseCount: (count) => `${count} em alta`, fallCount: (count) => `${count} em queda`, none: "sem previsão", noClose: "sem último fechamento",
  countOf: (shown, all) => `${shown} de ${all} ativos`,
  emptyFilter: "Nenhum ativo corresponde à busca e ao filtro.",
  notYet: "Ainda não há previsões publicadas; o painel mostra as primeiras assim que houver.",
  cannotRead: (why) => `Não foi possível ler as previsões: ${why}`,
  summary: (assets, models, generation, age) => `${assets} ativos · ${models} modelos · publicação ${generation} · previsto ${age}`,
  newGeneration: (generation, assets) => `Publicação ${generation}: ${assets} ativos atualizados.`,
  noRecord: "sem histórico de acertos",
  record: (rate, low, high, count) => `acerta a direção em ${rate} (${low} a ${high}) de ${count}`,
  shortRecord: (rate, low, high) => `acerto ${rate} (${low}–${high})`,
  back: "Fechar", unknownAsset: "Este ativo não existe na publicação atual.",
  predictions: "Previsões para o dia seguinte", model: "Modelo", predicted: "Previsto", change: "Variação",
  rising: "Chance de alta", hitRate: "Acerto neste ativo", version: "Versão", error: "Erro médio",
  failures: "Sem previsão",
  past: "O que foi previsto e o que veio",
  noPast: "Não há histórico para este ativo: nada aqui mostra quanto estas previsões costumam acertar.",
  chartModel: "Comparar com",
  chartText: (asset, from, to, model) => `Fechamentos de ${asset} de ${from} a ${to}, e o que ${model} previu para cada dia.`,
  closes: "fechamento", predictedLine: "previsto para o dia", hit: "direção certa", miss: "direção errada",
  errorBar: "próxima, ± erro médio",
  day: "Dia", came: "Veio", dayTable: "Ver em tabela",
  inForce: "em uso", state: "Situação", predictedAssets: "Ativos com previsão", failed: "Sem previsão",
  loaded: "Lido", hitsAll: "Acerto de direção",
  rejected: "Arquivos recusados", noRejected: "Nenhum arquivo foi recusado.",
  rejectedWhy: "O mais novo de seu nome que não pôde ser usado; o que estava em uso continua.",
};

const ENGLISH = {
  title: "Predictions", views: "Views", assets: "Assets", models: "Models",
  connecting: "connecting…", live: "live", lost: "connection lost, trying again…",
  search: "Search", show: "Show", showAll: "all", showRise: "all models say rise",
  showFall: "all models say fall", showMixed: "models disagree", showMissing: "a prediction is missing",
  tableLabel: "Table of predictions, scrollable",
  tableCaption: "Assets and what each model predicts for the next day",
  caveat: "Predictions are estimates with errors, not advice. Under each model's name is its track record.",
  asset: "Asset", lastClose: "Last close", dataUntil: "Data until", agreement: "Models",
  rises: "rise", falls: "fall", riseCount: (count) => `${count} up`, fallCount: (count) => `${count} down`, none: "no prediction", noClose: "no last close",
  countOf: (shown, all) => `${shown} of ${all} assets`,
  emptyFilter: "No asset matches the search and the filter.",
  notYet: "No predictions have been published yet; the first appear here as soon as they are.",
  cannotRead: (why) => `The predictions could not be read: ${why}`,
  summary: (assets, models, generation, age) => `${assets} assets · ${models} models · publication ${generation} · predicted ${age}`,
  newGeneration: (generation, assets) => `Publication ${generation}: ${assets} assets updated.`,
  noRecord: "no track record",
  record: (rate, low, high, count) => `right about the direction in ${rate} (${low} to ${high}) of ${count}`,
  shortRecord: (rate, low, high) => `right ${rate} (${low}–${high})`,
  back: "Close", unknownAsset: "There is no such asset in the current publication.",
  predictions: "Predictions for the next day", model: "Model", predicted: "Predicted", change: "Change",
  rising: "Chance of a rise", hitRate: "Right on this asset", version: "Version", error: "Mean error",
  failures: "No prediction",
  past: "What was predicted and what came",
  noPast: "There is no track record for this asset: nothing here shows how often such predictions are right.",
  chartModel: "Compare with",
  chartText: (asset, from, to, model) => `Closes of ${asset} from ${from} to ${to}, and what ${model} predicted for each day.`,
  closes: "close", predictedLine: "predicted for the day", hit: "direction right", miss: "direction wrong",
  errorBar: "next, ± mean error",
  day: "Day", came: "Came", dayTable: "Show as a table",
  inForce: "in force", state: "State", predictedAssets: "Assets predicted", failed: "Not predicted",
  loaded: "Read", hitsAll: "Direction right",
  rejected: "Rejected files", noRejected: "No file was rejected.",
  rejectedWhy: "The newest of its name that could not be used; what was in force stays.",
};

const DAY = 86_400_000;

/** The words of a language ("pt" or "en") and the formats of the reader's locale. */
export function words(language, locale) {
  const number = (options) => new Intl.NumberFormat(locale, options);
  const whole = number();
  const large = number({ minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const small = number({ minimumSignificantDigits: 4, maximumSignificantDigits: 4 });
  const signed = number({ style: "percent", signDisplay: "exceptZero", minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const percent = number({ style: "percent", maximumFractionDigits: 0 });
  const fine = number({ style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const calendar = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeZone: "UTC" });
  const shortCalendar = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", timeZone: "UTC" });
  const instant = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
  const since = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  return {
    language,
    text: language === "en" ? ENGLISH : PORTUGUESE,
    whole: (value) => whole.format(value),
    price: (value) => (Math.abs(value) >= 1 || value === 0 ? large : small).format(value),
    change: (value) => signed.format(value),
    percent: (value) => percent.format(value),
    error: (value) => fine.format(value),
    /** A chance is never certain, whatever it rounds to. */
    chance: (value) => (value < 0.005 ? `< ${percent.format(0.01)}` : value > 0.995 ? `> ${percent.format(0.99)}` : percent.format(value)),
    day: (date) => calendar.format(new Date(date)),
    shortDay: (date) => shortCalendar.format(new Date(date)),
    instant: (time) => instant.format(new Date(time)),
    /** How long ago an instant was. */
    ago: (time) => {
      const seconds = (Date.now() - new Date(time)) / 1000;
      const [unit, length] = [["day", 86_400], ["hour", 3600], ["minute", 60]].find(([, length]) => seconds >= length) ?? ["second", 1];
      return since.format(-Math.round(Math.max(seconds, 0) / length), unit);
    },
    /** How many whole days a day is past. */
    daysAgo: (date) => {
      const days = Math.max(Math.floor((Date.now() - new Date(date)) / DAY), 0);
      return { days, said: since.format(-days, "day") };
    },
  };
}
