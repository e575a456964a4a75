//! Which rows are in force: those of the newest feature table that can be read or computed from candles, or else of
//! each asset's own table.
//!
//! * Features are computed from `raw.csv` if its newest day is later than that of the feature table, or the same and
//!   the candles were uploaded after it. A table that the feature job wrote from them is thus taken as it is. Where
//!   both give the same rows, which was written from which makes no difference, and the candles stay.
//! * Tables with a date in their name order by it, as the training job orders them. A copy without a date (`latest`)
//!   is usually the newest of them again, recognised by its size. Otherwise it is read too, and is in force if its
//!   newest day is later: times of upload say little, since copying a bucket changes them.
//! * A new table that cannot be read leaves the rows in memory as they are. So does a bucket without tables.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use shared::{Asset, Object};
use tokio::task::{JoinSet, spawn_blocking};

use super::{
    Findings, ReloadError, State,
    source::{Refusal, Source},
};
use crate::{
    catalogue::{Catalogue, DATA},
    events,
    features::{self, Features, LIMITS, read_raw},
    tables::{AssetRow, NewestRows, newest_row_of_csv},
};

/// Rows, and where they are from.
#[derive(Clone)]
pub(super) struct Rows {
    pub(super) rows: Arc<NewestRows>,
    /// For a person to read.
    pub(super) origin: String,
    /// The object, or the objects of the single assets.
    objects: Vec<Object>,
}

impl Rows {
    /// Whether these are the very same rows.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }

    /// The table or the candles that they are from; nothing where each asset has a table of its own.
    pub(super) fn object(&self) -> Option<&Object> {
        match self.objects.as_slice() {
            [object] if !object.key.starts_with(DATA) => Some(object),
            _ => None,
        }
    }

    fn are_of_one_table(&self, key: &str) -> bool {
        matches!(self.objects.as_slice(), [object] if object.key == key)
    }
}

/// Rows that were read and may be asked for again.
#[derive(Default)]
pub(super) struct RowsMemory {
    /// Of the feature tables that the last choice looked at.
    tables: HashMap<Object, Arc<NewestRows>>,
    /// Of the candles, with the features that are computed from them.
    raw: Option<RawMemory>,
    /// Of the tables of single assets.
    assets: BTreeMap<Asset, (Object, Arc<AssetRow>)>,
}

/// What was computed from `raw.csv`.
struct RawMemory {
    object: Object,
    /// Of all days, so that only what changes is computed again.
    features: Features,
    rows: Arc<NewestRows>,
}

pub(super) async fn choose(
    source: &Arc<Source>,
    state: &mut State,
    catalogue: &Catalogue,
    findings: &mut Findings,
) -> Result<Option<Rows>, ReloadError> {
    let of_table = of_feature_tables(source, state, catalogue, findings).await;
    let of_candles = of_raw(source, state, catalogue, findings).await?;
    if let Some(rows) = newer(of_table, of_candles) {
        return Ok(Some(rows));
    }
    let has_tables =
        !catalogue.dated_tables.is_empty() || !catalogue.latest_tables.is_empty() || catalogue.raw.is_some();
    if has_tables && state.rows.is_some() {
        return Ok(state.rows.clone());
    }
    let of_assets = of_asset_tables(source, state, findings).await?;
    Ok(of_assets.or_else(|| state.rows.clone()))
}

async fn of_feature_tables(
    source: &Source,
    state: &mut State,
    catalogue: &Catalogue,
    findings: &mut Findings,
) -> Option<Rows> {
    let mut looked_at = HashMap::new();
    let mut chosen: Option<Rows> = None;
    for (tried, table) in catalogue.dated_tables.iter().enumerate() {
        let is_in_force = state.rows.as_ref().is_some_and(|rows| rows.are_of_one_table(&table.key));
        if tried >= source.settings().versions_tried && !is_in_force {
            continue;
        }
        match read(source, state, table).await {
            Ok(rows) => {
                looked_at.insert(table.clone(), Arc::clone(&rows.rows));
                chosen = Some(rows);
            }
            Err(refusal) => {
                findings.note_table(&table.key, &refusal);
                // What was read under this key is overwritten by something unusable: it stays, from memory.
                chosen = state.rows.clone().filter(|_| is_in_force);
            }
        }
        if chosen.is_some() {
            break;
        }
    }
    for table in &catalogue.latest_tables {
        let is_a_copy = |rows: &Rows| rows.objects.iter().any(|object| object.size == table.size);
        if chosen.as_ref().is_some_and(|rows| !rows.are_of_one_table(&table.key) && is_a_copy(rows)) {
            continue;
        }
        match read(source, state, table).await {
            Ok(rows) => {
                looked_at.insert(table.clone(), Arc::clone(&rows.rows));
                if is_later(&rows, chosen.as_ref()) {
                    chosen = Some(rows);
                }
            }
            Err(refusal) => {
                findings.note_table(&table.key, &refusal);
                let before = state.rows.as_ref().filter(|rows| rows.are_of_one_table(&table.key));
                chosen = before.cloned().filter(|rows| is_later(rows, chosen.as_ref())).or(chosen);
            }
        }
    }
    state.memory.tables = looked_at;
    chosen
}

/// The rows of a feature table or those of candles, whichever know more.
fn newer(of_table: Option<Rows>, of_candles: Option<Rows>) -> Option<Rows> {
    let (Some(table), Some(candles)) = (&of_table, &of_candles) else { return of_table.or(of_candles) };
    let age =
        |rows: &Rows| (rows.rows.newest_date(), rows.objects.iter().map(|object| object.last_modified).max());
    if age(candles) > age(table) || candles.rows.say_the_same_as(&table.rows) { of_candles } else { of_table }
}

/// The rows that are computed from the bucket's candles.
async fn of_raw(
    source: &Source,
    state: &mut State,
    catalogue: &Catalogue,
    findings: &mut Findings,
) -> Result<Option<Rows>, ReloadError> {
    let Some(object) = &catalogue.raw else {
        state.memory.raw = None;
        return Ok(None);
    };
    if state.memory.raw.as_ref().is_none_or(|known| known.object != *object) {
        let candles = source.read_table(object, |content| read_raw(&content, &LIMITS)).await;
        match candles {
            Ok(candles) => {
                let known = state.memory.raw.take();
                let object = object.clone();
                let begun = Instant::now();
                let computed = spawn_blocking(move || {
                    let (mut features, before) =
                        known.map_or_else(Default::default, |known| (known.features, Some(known.rows)));
                    let update = features.update(candles);
                    let rows = features.newest_rows().map(Arc::new);
                    // The same rows are the same to those who were asked about them.
                    let rows = rows.map(|rows| before.filter(|before| *before == rows).unwrap_or(rows));
                    (features, update, rows)
                });
                let (features, update, rows) = computed.await?;
                events::FeaturesComputed { key: &object.key, update, took: begun.elapsed() }.emit();
                match rows {
                    Ok(rows) => state.memory.raw = Some(RawMemory { object, features, rows }),
                    Err(error) => findings.reject(&object.key, error.to_string()),
                }
            }
            Err(refusal) => {
                // What was computed before stays.
                findings.note_table(&object.key, &refusal);
            }
        }
    }
    Ok(state.memory.raw.as_ref().map(|known| Rows {
        rows: Arc::clone(&known.rows),
        origin: known.object.key.clone(),
        objects: vec![known.object.clone()],
    }))
}

fn is_later(rows: &Rows, than: Option<&Rows>) -> bool {
    than.is_none_or(|than| rows.rows.newest_date() > than.rows.newest_date())
}

async fn read(source: &Source, state: &State, table: &Object) -> Result<Rows, Refusal> {
    let rows = match state.memory.tables.get(table) {
        Some(known) => Arc::clone(known),
        None => {
            let limits = source.settings().table_limits.clone();
            Arc::new(
                source.read_table(table, move |content| NewestRows::from_parquet(content, &limits)).await?,
            )
        }
    };
    Ok(Rows { rows, origin: table.key.clone(), objects: vec![table.clone()] })
}

async fn of_asset_tables(
    source: &Arc<Source>,
    state: &mut State,
    findings: &mut Findings,
) -> Result<Option<Rows>, ReloadError> {
    let listing = source.list(DATA).await?;
    findings.listed.extend(listing.iter().cloned());
    let catalogue = Catalogue::new(listing);
    findings.reject_all(catalogue.unfit);
    let mut before = std::mem::take(&mut state.memory.assets);
    let mut known: BTreeMap<Asset, (Object, Arc<AssetRow>)> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    for (asset, (_, object)) in catalogue.asset_tables {
        match before.remove(&asset) {
            Some(row) if row.0 == object => _ = known.insert(asset, row),
            fallback => {
                let source = Arc::clone(source);
                tasks.spawn(async move {
                    let row = read_asset_row(&source, &asset, &object).await;
                    (asset, object, row, fallback)
                });
            }
        }
    }
    while let Some(task) = tasks.join_next().await {
        let (asset, object, row, fallback) = task?;
        match row {
            Ok(row) => _ = known.insert(asset, (object, Arc::new(row))),
            Err(refusal) => {
                findings.note_table(&object.key, &refusal);
                // The asset's row that was read before stays.
                known.extend(fallback.map(|row| (asset, row)));
            }
        }
    }
    state.memory.assets = known;
    let (objects, rows): (Vec<Object>, Vec<&AssetRow>) =
        state.memory.assets.values().map(|(object, row)| (object.clone(), &**row)).unzip();
    if let Some(same) = state.rows.as_ref().filter(|rows| rows.objects == objects) {
        return Ok(Some(same.clone()));
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let origin = format!("{DATA}: {} tables", objects.len());
    match NewestRows::from_asset_rows(rows) {
        Ok(rows) => Ok(Some(Rows { rows: Arc::new(rows), origin, objects })),
        Err(error) => {
            findings.reject(DATA, error.to_string());
            Ok(None)
        }
    }
}

async fn read_asset_row(source: &Source, asset: &Asset, object: &Object) -> Result<AssetRow, Refusal> {
    let (asset, limits) = (asset.clone(), source.settings().table_limits.clone());
    let read = move |content: Vec<u8>| {
        if features::are_candles(&content) {
            features::newest_row(&content, &asset, &limits)
        } else {
            newest_row_of_csv(&content, &asset, &limits)
        }
    };
    source.read_table(object, read).await
}
