//! Assets in the order of what a model says of them.

use std::{cmp::Ordering, str::FromStr};

use jiff::civil::Date;
use serde::Serialize;
use shared::{Asset, ModelName, answer::Number};

use crate::{
    answers::Origin,
    columns::{Columns, ModelColumn},
    error::ApiError,
    query,
    rendered::{RenderError, Rendered},
};

/// How many places are shown, if nobody says.
const USUAL_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranking {
    model: ModelName,
    /// By what is the model's own measure, if nobody says: the change, or the probability.
    by: Option<Criterion>,
    order: Order,
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Criterion {
    /// The predicted close against the last one.
    Variacao,
    /// The predicted close.
    Predicao,
    /// The probability of class 1, a rise.
    Probabilidade,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    /// The largest first.
    Desc,
    /// The smallest first.
    Asc,
}

/// `GET /ranking`.
#[derive(Serialize)]
struct RankingAnswer<'a> {
    modelo: &'a ModelName,
    tipo: &'static str,
    versao: &'a str,
    por: Criterion,
    ordem: Order,
    /// How many assets have a place.
    total: usize,
    /// How many have none, for want of a prediction or of a last close.
    sem_valor: usize,
    ranking: Vec<Place<'a>>,
    #[serde(flatten)]
    origin: Origin,
}

#[derive(Serialize)]
struct Place<'a> {
    posicao: usize,
    ativo: &'a Asset,
    predicao: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilidade: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ultimo_fechamento: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variacao: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dados_ate: Option<Date>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    desatualizado: bool,
}

impl FromStr for Criterion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "variacao" => Ok(Self::Variacao),
            "predicao" => Ok(Self::Predicao),
            "probabilidade" => Ok(Self::Probabilidade),
            _ => Err(()),
        }
    }
}

impl FromStr for Order {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "desc" => Ok(Self::Desc),
            "asc" => Ok(Self::Asc),
            _ => Err(()),
        }
    }
}

impl Ranking {
    /// Reads `modelo`, `por`, `ordem` and `limite`.
    pub(crate) fn from_query(query: &str) -> Result<Self, ApiError> {
        let (mut model, mut by, mut order, mut limit) = (None, None, Order::Desc, USUAL_LIMIT);
        for (name, value) in query::pairs(query) {
            match &*name {
                "modelo" => model = Some(query::parsed(&name, &value, "o nome de um modelo; veja /models")?),
                "por" => by = Some(query::parsed(&name, &value, "variacao, predicao ou probabilidade")?),
                "ordem" => order = query::parsed(&name, &value, "desc ou asc")?,
                "limite" => {
                    let expected = "um número de 1 a 1000";
                    limit = query::parsed(&name, &value, expected)?;
                    if !(1..=MAX_LIMIT).contains(&limit) {
                        return Err(query::wrong(&name, &value, expected));
                    }
                }
                _ => {}
            }
        }
        let model = model.ok_or(ApiError::MissingParameter("modelo", "o nome de um modelo; veja /models"))?;
        Ok(Self { model, by, order, limit })
    }

    /// The answer. Takes a while when assets are many.
    pub(crate) fn answer(&self, columns: &Columns) -> Result<Rendered, ApiError> {
        let (model, column) =
            columns.model(&self.model).ok_or_else(|| ApiError::UnknownModel(self.model.to_string()))?;
        let (by, usable): (Criterion, &[Criterion]) = match column {
            ModelColumn::Closes { .. } => (Criterion::Variacao, &[Criterion::Variacao, Criterion::Predicao]),
            ModelColumn::Directions { .. } => (Criterion::Probabilidade, &[Criterion::Probabilidade]),
        };
        let by = self.by.unwrap_or(by);
        if !usable.contains(&by) {
            let expected = match column {
                ModelColumn::Closes { .. } => "variacao e por=predicao",
                ModelColumn::Directions { .. } => "probabilidade",
            };
            return Err(ApiError::NoSuchRanking(self.model.clone(), expected));
        }
        let mut valued: Vec<(usize, f64)> = (0..columns.assets.len())
            .filter_map(|row| Some((row, columns.value(column, by, row)?)))
            .collect();
        let total = valued.len();
        // Assets of one value have the alphabet's order, whichever way the values go.
        let before = |(row, value): &(usize, f64), (other_row, other): &(usize, f64)| -> Ordering {
            let by_value = match self.order {
                Order::Desc => other.total_cmp(value),
                Order::Asc => value.total_cmp(other),
            };
            by_value.then(row.cmp(other_row))
        };
        if self.limit < total {
            valued.select_nth_unstable_by(self.limit, before);
            valued.truncate(self.limit);
        }
        valued.sort_unstable_by(before);
        let ranking = (1..).zip(valued).filter_map(|(posicao, (row, _))| columns.place(posicao, column, row));
        let answer = RankingAnswer {
            modelo: &model.name,
            tipo: model.name.kind().as_str(),
            versao: model.version.as_str(),
            por: by,
            ordem: self.order,
            total,
            sem_valor: columns.assets.len() - total,
            ranking: ranking.collect(),
            origin: Origin::from(&*columns.summary),
        };
        let body = serde_json::to_vec(&answer).map_err(RenderError::from)?;
        Ok(Rendered::dated(body.into(), columns.summary.scored_at).map_err(RenderError::from)?)
    }
}

impl Columns {
    /// What a row is ordered by; nothing if it has no such thing.
    fn value(&self, column: &ModelColumn, by: Criterion, row: usize) -> Option<f64> {
        let value = match (column, by) {
            (ModelColumn::Closes { predicao }, Criterion::Variacao) => {
                return change(*predicao.get(row)?, *self.last_closes.get(row)?);
            }
            (ModelColumn::Closes { predicao }, Criterion::Predicao) => *predicao.get(row)?,
            (ModelColumn::Directions { probabilidade, .. }, Criterion::Probabilidade) => {
                *probabilidade.get(row)?
            }
            _ => return None,
        };
        value.is_finite().then_some(value)
    }

    fn place(&self, posicao: usize, column: &ModelColumn, row: usize) -> Option<Place<'_>> {
        let last = *self.last_closes.get(row)?;
        let (predicao, probabilidade, variacao) = match column {
            ModelColumn::Closes { predicao } => {
                let close = *predicao.get(row)?;
                (Number::Close(close), None, change(close, last))
            }
            ModelColumn::Directions { predicao, probabilidade } => {
                (Number::Class((*predicao.get(row)?)?), probabilidade.get(row).copied(), None)
            }
        };
        let ativo = self.assets.get(row)?;
        let ultimo_fechamento = last.is_finite().then_some(last);
        let dados_ate = *self.days.get(row)?;
        let desatualizado = *self.stale.get(row)?;
        Some(Place {
            posicao,
            ativo,
            predicao,
            probabilidade,
            ultimo_fechamento,
            variacao,
            dados_ate,
            desatualizado,
        })
    }
}

/// The predicted close against the last one, as a fraction of the last.
fn change(predicted: f64, last: f64) -> Option<f64> {
    let change = predicted / last - 1.0;
    (last > 0.0 && change.is_finite()).then_some(change)
}
