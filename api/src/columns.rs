//! All predictions of a generation side by side: a column for each model, a row for each asset.
//!
//! The store has one text for each asset. Comparing assets needs their numbers, so the texts of a generation are read
//! when somebody compares for the first time, and what was read is kept as long as the generation is served.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use shared::{Asset, ModelKind, ModelName, ModelSummary, Summary};

use crate::{
    answers::Origin,
    rendered::{RenderError, Rendered},
};

/// The numbers of one generation. All columns have the assets' order, which is the alphabet's.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) summary: Arc<Summary>,
    pub(crate) assets: Vec<Asset>,
    pub(crate) days: Vec<Option<Date>>,
    /// Whether that day lies far behind those of the other assets.
    pub(crate) stale: Vec<bool>,
    /// NaN where it is not known.
    pub(crate) last_closes: Vec<f64>,
    /// In the order of the summary's models.
    pub(crate) models: Vec<ModelColumn>,
    /// The body of `GET /painel/dados`.
    pub(crate) rendered: Rendered,
}

/// What one model says of each asset; NaN and nothing where it says nothing.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum ModelColumn {
    Closes { predicao: Vec<f64> },
    Directions { predicao: Vec<Option<i64>>, probabilidade: Vec<f64> },
}

/// `GET /painel/dados`. NaN is written as null.
#[derive(Serialize)]
struct Page<'a> {
    total_symbols: usize,
    symbols: &'a [Asset],
    dados_ate: &'a [Option<Date>],
    desatualizado: &'a [bool],
    ultimo_fechamento: &'a [f64],
    modelos: Vec<PageModel<'a>>,
    #[serde(flatten)]
    origin: Origin,
}

#[derive(Serialize)]
struct PageModel<'a> {
    modelo: &'a ModelName,
    tipo: &'static str,
    versao: &'a str,
    #[serde(flatten)]
    column: &'a ModelColumn,
}

/// What is read of [`shared::answer::SymbolAnswer`].
#[derive(Deserialize)]
struct Answer {
    dados_ate: Option<Date>,
    ultimo_fechamento: Option<f64>,
    #[serde(default)]
    desatualizado: bool,
    modelos: BTreeMap<ModelName, ModelAnswer>,
}

#[derive(Deserialize)]
struct ModelAnswer {
    predicao: Number,
    probabilidade: Option<f64>,
}

impl Columns {
    /// Reads all answers of a generation. Takes a while when they are many.
    pub(crate) fn read(
        summary: Arc<Summary>,
        by_asset: &HashMap<Asset, Rendered>,
    ) -> Result<Self, RenderError> {
        let mut answers: Vec<(&Asset, &Rendered)> = by_asset.iter().collect();
        answers.sort_unstable_by_key(|(asset, _)| *asset);
        let rows = answers.len();
        let mut assets = Vec::with_capacity(rows);
        let (mut days, mut last_closes) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let mut stale = Vec::with_capacity(rows);
        let mut models: Vec<ModelColumn> =
            summary.models.iter().map(|model| ModelColumn::new(model, rows)).collect();
        for (asset, rendered) in answers {
            let answer: Answer = serde_json::from_slice(rendered.body())?;
            assets.push(asset.clone());
            days.push(answer.dados_ate);
            stale.push(answer.desatualizado);
            last_closes.push(answer.ultimo_fechamento.unwrap_or(f64::NAN));
            for (model, column) in summary.models.iter().zip(&mut models) {
                column.push(answer.modelos.get(&model.name));
            }
        }
        let page = Page {
            total_symbols: assets.len(),
            symbols: &assets,
            dados_ate: &days,
            desatualizado: &stale,
            ultimo_fechamento: &last_closes,
            modelos: summary.models.iter().zip(&models).map(PageModel::from).collect(),
            origin: Origin::from(&*summary),
        };
        let rendered = Rendered::dated(serde_json::to_vec(&page)?.into(), summary.scored_at)?;
        Ok(Self { summary, assets, days, stale, last_closes, models, rendered })
    }

    /// A model and what it says.
    pub(crate) fn model(&self, name: &ModelName) -> Option<(&ModelSummary, &ModelColumn)> {
        self.summary.models.iter().zip(&self.models).find(|(model, _)| model.name == *name)
    }
}

impl ModelColumn {
    fn new(model: &ModelSummary, rows: usize) -> Self {
        match model.name.kind() {
            ModelKind::Regressor => Self::Closes { predicao: Vec::with_capacity(rows) },
            ModelKind::Classifier => Self::Directions {
                predicao: Vec::with_capacity(rows),
                probabilidade: Vec::with_capacity(rows),
            },
        }
    }

    fn push(&mut self, answer: Option<&ModelAnswer>) {
        match self {
            Self::Closes { predicao } => {
                predicao.push(answer.and_then(|answer| answer.predicao.as_f64()).unwrap_or(f64::NAN));
            }
            Self::Directions { predicao, probabilidade } => {
                predicao.push(answer.and_then(|answer| answer.predicao.as_i64()));
                probabilidade.push(answer.and_then(|answer| answer.probabilidade).unwrap_or(f64::NAN));
            }
        }
    }
}

impl<'a> From<(&'a ModelSummary, &'a ModelColumn)> for PageModel<'a> {
    fn from((model, column): (&'a ModelSummary, &'a ModelColumn)) -> Self {
        let (modelo, versao) = (&model.name, model.version.as_str());
        Self { modelo, tipo: model.name.kind().as_str(), versao, column }
    }
}
