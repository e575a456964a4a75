use std::collections::HashMap;

use jiff::civil::Date;

use crate::tables::UnusableRows;

/// Daily candles of many assets: what the feature table is computed from.
#[derive(Debug, Clone, Default)]
pub struct Candles {
    /// In the order of their symbols' bytes.
    pub(super) assets: Vec<AssetCandles>,
    pub(super) unusable: Vec<UnusableRows>,
}

/// One asset's candles in date order; days may be missing, and may occur twice. NaN is a missing value.
#[derive(Debug, Clone, Default)]
pub(super) struct AssetCandles {
    pub(super) symbol: Box<str>,
    pub(super) days: Vec<Date>,
    /// Prices and volumes by [`Price`], each as long as `days`.
    prices: [Vec<f64>; Price::ALL.len()],
}

/// A column of prices or volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Price {
    High,
    Low,
    Open,
    Close,
    Volume,
    /// `volumeto`, the volume in the currency that prices are in.
    QuoteVolume,
}

/// Some candles of one asset that lie one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct CandleSlice<'a> {
    pub(super) days: &'a [Date],
    pub(super) high: &'a [f64],
    pub(super) low: &'a [f64],
    pub(super) open: &'a [f64],
    pub(super) close: &'a [f64],
    pub(super) volume: &'a [f64],
    pub(super) quote_volume: &'a [f64],
}

impl Price {
    pub(super) const ALL: [Self; 6] =
        [Self::High, Self::Low, Self::Open, Self::Close, Self::Volume, Self::QuoteVolume];

    /// The column's name, in raw.csv and in the feature table.
    pub(super) const fn column(self) -> &'static str {
        match self {
            Self::High => "maximo",
            Self::Low => "minimo",
            Self::Open => "abertura",
            Self::Close => "fechamento",
            Self::Volume => "volumefrom",
            Self::QuoteVolume => "volumeto",
        }
    }
}

impl Candles {
    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.assets.iter().map(|asset| asset.days.len()).sum()
    }

    /// The rows that have no place in any window, with reasons.
    #[must_use]
    pub fn unusable(&self) -> &[UnusableRows] {
        &self.unusable
    }

    /// Candles of several sources. Those of one asset come together; of one day, those of the earlier source first.
    #[must_use]
    pub fn merged(sources: impl IntoIterator<Item = Self>) -> Self {
        let mut merged = Self::default();
        for source in sources {
            merged.assets.extend(source.assets);
            merged.unusable.extend(source.unusable);
        }
        // Stable, so that the order of sources is kept.
        merged.assets.sort_by(|one, other| one.symbol.cmp(&other.symbol));
        merged.assets.dedup_by(|later, earlier| {
            let same = later.symbol == earlier.symbol;
            if same {
                let rows: Vec<usize> = (0..earlier.days.len().saturating_add(later.days.len())).collect();
                earlier.days.append(&mut later.days);
                for (earlier, later) in earlier.prices.iter_mut().zip(&mut later.prices) {
                    earlier.append(later);
                }
                *earlier = AssetCandles::gathered(&earlier.symbol, rows, &earlier.days, &earlier.prices);
            }
            same
        });
        merged
    }

    /// Rows sorted by asset and day; `symbols` and `days` say what each row is about, if it is of use.
    pub(super) fn grouped<'a>(
        rows: impl Iterator<Item = Option<&'a str>>,
        days: &[Date],
        prices: &[Vec<f64>; Price::ALL.len()],
    ) -> Vec<AssetCandles> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
        let mut latest: Option<(&str, usize)> = None;
        for (row, symbol) in rows.enumerate() {
            let Some(symbol) = symbol else { continue };
            // Rows of one asset usually follow each other.
            let place = match latest {
                Some((known, place)) if known == symbol => place,
                _ => *places.entry(symbol).or_insert_with(|| {
                    groups.push((symbol, Vec::new()));
                    groups.len().saturating_sub(1)
                }),
            };
            latest = Some((symbol, place));
            if let Some((_, rows)) = groups.get_mut(place) {
                rows.push(row);
            }
        }
        groups.sort_unstable_by_key(|(symbol, _)| *symbol);
        groups.into_iter().map(|(symbol, rows)| AssetCandles::gathered(symbol, rows, days, prices)).collect()
    }
}

impl AssetCandles {
    /// The rows of one asset, in date order; rows of one day keep their order.
    fn gathered(
        symbol: &str,
        mut rows: Vec<usize>,
        days: &[Date],
        prices: &[Vec<f64>; Price::ALL.len()],
    ) -> Self {
        let day = |row: &usize| days.get(*row).copied().unwrap_or_default();
        if !rows.is_sorted_by_key(day) {
            rows.sort_by_key(day);
        }
        let price = |column: &Vec<f64>| {
            rows.iter().map(|row| column.get(*row).copied().unwrap_or(f64::NAN)).collect()
        };
        Self {
            symbol: symbol.into(),
            days: rows.iter().map(day).collect(),
            prices: prices.each_ref().map(price),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.days.len()
    }

    pub(super) fn price(&self, price: Price) -> &[f64] {
        let [high, low, open, close, volume, quote_volume] = &self.prices;
        match price {
            Price::High => high,
            Price::Low => low,
            Price::Open => open,
            Price::Close => close,
            Price::Volume => volume,
            Price::QuoteVolume => quote_volume,
        }
    }

    /// The candles from a row on.
    pub(super) fn since(&self, row: usize) -> CandleSlice<'_> {
        let of = |price| self.price(price).get(row..).unwrap_or_default();
        CandleSlice {
            days: self.days.get(row..).unwrap_or_default(),
            high: of(Price::High),
            low: of(Price::Low),
            open: of(Price::Open),
            close: of(Price::Close),
            volume: of(Price::Volume),
            quote_volume: of(Price::QuoteVolume),
        }
    }

    /// How many rows from the start on are the same, to the bit.
    pub(super) fn rows_in_common(&self, other: &Self) -> usize {
        let days = common(&self.days, &other.days, |one, other| one == other);
        let prices = self.prices.iter().zip(&other.prices);
        prices.fold(days, |rows, (one, other)| {
            rows.min(common(one, other, |one, other| one.to_bits() == other.to_bits()))
        })
    }
}

/// The length of the longest common start.
fn common<T>(one: &[T], other: &[T], same: impl Fn(&T, &T) -> bool) -> usize {
    let shorter = one.len().min(other.len());
    one.iter().zip(other).position(|(one, other)| !same(one, other)).unwrap_or(shorter)
}
