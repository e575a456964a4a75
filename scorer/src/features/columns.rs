//! The feature table's columns: their order and their definitions, which are those of `glue/features.py`.
//!
//! A definition is written with the operations of the reference in the same order, so that wherever the reference
//! does not carry a sum from row to row, results are the same to the bit, up to the logarithms of the C library.

use jiff::civil::Date;

use super::{
    candles::{CandleSlice, Price},
    windows,
};

const EPSILON: f64 = 1e-9;
const MAD_TO_SIGMA: f64 = 1.4826;

/// The running sum of daily returns.
pub(super) const ACCUMULATED_RETURN: &str = "retorno_acumulado";
/// The highest close so far. Models are not trained on it.
pub(super) const HIGHEST_CLOSE: &str = "max_acum";

/// How many rows before a row have a say in its windows: twenty medians of twenty rows each.
pub(super) const LOOK_BACK: usize = 19 + 19;

/// The values of a column, one a row.
#[derive(Debug, Clone)]
pub(super) enum Values {
    /// Numbers; missing is NaN, and no number is infinite.
    Numbers(Vec<f64>),
    Integers(Vec<i32>),
    Words(Vec<&'static str>),
}

/// Running values over all rows of an asset.
#[derive(Debug)]
pub(super) struct Running {
    accumulated_return: Vec<f64>,
    highest_close: Vec<f64>,
}

impl Values {
    pub(super) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Numbers(values) => values.truncate(rows),
            Self::Integers(values) => values.truncate(rows),
            Self::Words(values) => values.truncate(rows),
        }
    }

    /// Appends the values of `other`, a column of the same kind, from row `from` on.
    pub(super) fn append(&mut self, other: &Self, from: usize) {
        match (self, other) {
            (Self::Numbers(these), Self::Numbers(those)) => these.extend(those.iter().skip(from)),
            (Self::Integers(these), Self::Integers(those)) => these.extend(those.iter().skip(from)),
            (Self::Words(these), Self::Words(those)) => these.extend(those.iter().skip(from)),
            // A column's kind is fixed by its name.
            _ => {}
        }
    }
}

impl Running {
    pub(super) fn of(candles: CandleSlice<'_>) -> Self {
        let returns = relative_changes(candles.close);
        Self {
            accumulated_return: windows::running_sum(returns.into_iter()).collect(),
            highest_close: windows::running_maximum(candles.close).collect(),
        }
    }
}

/// All columns but `ativo` and `data`, in the table's order, of candles whose first is row `first` of its asset.
pub(super) fn compute(
    candles: CandleSlice<'_>,
    running: &Running,
    first: usize,
) -> Vec<(&'static str, Values)> {
    let CandleSlice { days, open, close, volume, quote_volume, .. } = candles;
    let accumulated_return = running.accumulated_return.get(first..).unwrap_or_default();
    let highest_close = running.highest_close.get(first..).unwrap_or_default();
    let previous_close = &windows::previous(close);
    let previous_volume = &windows::previous(volume);

    let log_close: Vec<f64> = close.iter().map(|close| (positive(*close) + EPSILON).ln()).collect();
    let (median, quartile_range) = windows::median_and_quartile_range_20(close);
    let deviation = absolute_deviation(close, &median);
    let mad = windows::median_20(&deviation);
    let median_volume = windows::median_20(volume);
    let mad_of_volume = windows::median_20(&absolute_deviation(volume, &median_volume));

    let high = &each(candles.high, positive);
    let low = &each(candles.low, positive);
    let log_range = each2(high, low, |high, low| ((high + EPSILON) / (low + EPSILON)).ln().powi(2));
    let mean_log_range = windows::mean(&log_range, 10, 5);
    // `f64::max` gives the other operand where one is missing.
    let true_range = each3(high, low, previous_close, |high, low, previous| {
        (high - low).abs().max((high - previous).abs()).max((low - previous).abs())
    });
    let body = each2(close, open, |close, open| close - open);

    use Values::{Integers, Words};
    vec![
        (Price::High.column(), numbers(high.clone())),
        (Price::Low.column(), numbers(low.clone())),
        (Price::Open.column(), numbers(open.to_vec())),
        (Price::Close.column(), numbers(close.to_vec())),
        (Price::Volume.column(), numbers(volume.to_vec())),
        (Price::QuoteVolume.column(), numbers(quote_volume.to_vec())),
        ("fech_prev", numbers(previous_close.clone())),
        ("abert_prev", numbers(windows::previous(open))),
        ("vol_prev", numbers(previous_volume.clone())),
        ("retorno_diario", numbers(relative_changes(close))),
        (
            "retorno_log",
            numbers(each2(&log_close, &windows::previous(&log_close), |log, previous| log - previous)),
        ),
        (ACCUMULATED_RETURN, numbers(accumulated_return.to_vec())),
        ("valor_mm_5", numbers(windows::mean(close, 5, 1))),
        ("valor_mm_20", numbers(windows::mean(close, 20, 1))),
        ("volatilidade_5", numbers(windows::standard_deviation::<5>(close, 2))),
        ("abertura_mm_5", numbers(windows::mean(open, 5, 1))),
        ("abertura_mm_20", numbers(windows::mean(open, 20, 1))),
        ("volume_mm_5", numbers(windows::mean(volume, 5, 1))),
        ("volume_mm_20", numbers(windows::mean(volume, 20, 1))),
        ("mediana_20", numbers(median.clone())),
        ("mad_20", numbers(mad.clone())),
        ("iqr_20", numbers(quartile_range)),
        ("z_robusto_20", numbers(each3(close, &median, &mad, robust_z))),
        ("hl_log2", numbers(log_range)),
        (
            "parkinson_10",
            numbers(each(&mean_log_range, |mean| (mean / (4.0 * std::f64::consts::LN_2)).sqrt())),
        ),
        ("atr_14", numbers(windows::mean(&true_range, 14, 3))),
        (
            "pos_no_range",
            numbers(each3(close, low, high, |close, low, high| (close - low) / nonzero(high - low))),
        ),
        (
            "shadow_superior",
            numbers(each3(high, open, close, |high, open, close| high - maximum(open, close))),
        ),
        ("shadow_inferior", numbers(each3(low, open, close, |low, open, close| minimum(open, close) - low))),
        ("candle_corpo", numbers(each(&body, f64::abs))),
        ("candle_direcao", Words(body.iter().map(|body| by_sign(*body, "bull", "bear", "doji")).collect())),
        (
            "vol_pct_change",
            numbers(each2(volume, previous_volume, |volume, previous| volume / previous - 1.0)),
        ),
        ("volume_z_rob_20", numbers(each3(volume, &median_volume, &mad_of_volume, robust_z))),
        ("preco_medio_volume", numbers(each2(quote_volume, volume, |quote, volume| quote / volume))),
        (HIGHEST_CLOSE, numbers(highest_close.to_vec())),
        ("drawdown", numbers(each2(close, highest_close, |close, highest| close / highest - 1.0))),
        ("dia_semana", Integers(days.iter().map(weekday).collect())),
        ("mes", Integers(days.iter().map(|day| day.month().into()).collect())),
        ("fechamento_categoria", Words(changes(close, previous_close))),
        ("volume_categoria", Words(changes(volume, previous_volume))),
    ]
}

/// Numbers of which those that are not finite are missing.
fn numbers(mut values: Vec<f64>) -> Values {
    values.iter_mut().for_each(|value| *value = if value.is_finite() { *value } else { f64::NAN });
    Values::Numbers(values)
}

fn each(values: &[f64], of: impl Fn(f64) -> f64) -> Vec<f64> {
    values.iter().map(|value| of(*value)).collect()
}

fn each2(a: &[f64], b: &[f64], of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| of(*a, *b)).collect()
}

fn each3(a: &[f64], b: &[f64], c: &[f64], of: impl Fn(f64, f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).zip(c).map(|((a, b), c)| of(*a, *b, *c)).collect()
}

fn relative_changes(values: &[f64]) -> Vec<f64> {
    each2(values, &windows::previous(values), |value, previous| (value - previous) / previous)
}

fn absolute_deviation(values: &[f64], medians: &[f64]) -> Vec<f64> {
    each2(values, medians, |value, median| (value - median).abs())
}

fn robust_z(value: f64, median: f64, mad: f64) -> f64 {
    (value - median) / (MAD_TO_SIGMA * nonzero(mad))
}

/// What is not positive is missing.
fn positive(value: f64) -> f64 {
    if value > 0.0 { value } else { f64::NAN }
}

/// Zero is missing.
fn nonzero(value: f64) -> f64 {
    if value == 0.0 { f64::NAN } else { value }
}

/// The larger one; other than with `f64::max` a missing operand keeps it missing.
fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The smaller one, as [`maximum`].
fn minimum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

fn weekday(day: &Date) -> i32 {
    day.weekday().to_monday_zero_offset().into()
}

fn changes(values: &[f64], previous: &[f64]) -> Vec<&'static str> {
    values
        .iter()
        .zip(previous)
        .map(|(value, previous)| by_sign(value - previous, "acima", "abaixo", "igual"))
        .collect()
}

/// A word for the sign of a change. The word for none is no missing value but text, as in the tables that there are.
fn by_sign(change: f64, positive: &'static str, negative: &'static str, zero: &'static str) -> &'static str {
    // A place instead of branches, since signs cannot be predicted.
    let place = usize::from(change > 0.0) + 2 * usize::from(change < 0.0) + 3 * usize::from(change == 0.0);
    ["nan", positive, negative, zero].get(place).copied().unwrap_or("nan")
}
