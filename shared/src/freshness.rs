//! When an asset's row is too old to be compared with those of the others.

use std::collections::BTreeMap;

use jiff::{ToSpan, civil::Date};

use crate::{Asset, AssetPredictions};

/// How many days an asset's row may lie behind the newest row of all assets, by default.
///
/// Assets are traded every day, so each has a row a day. Exchanges close the day at different hours, and a job may be a
/// day late: two days behind is usual after a bad night. More than three says that nothing comes any more.
pub const STALE_AFTER_DAYS: u16 = 3;

/// Marks the assets whose row lies more than `days` behind the newest row of all assets.
///
/// A row of a day after `tomorrow` is wrong, and the others are not measured by it. An asset without a known day is not
/// marked.
pub fn mark_stale(assets: &mut BTreeMap<Asset, AssetPredictions>, days: u16, tomorrow: Date) {
    let known = assets.values().filter_map(|asset| asset.data_date);
    let newest = known.filter(|day| *day <= tomorrow).max();
    let Some(oldest) = newest.and_then(|newest| newest.checked_sub(i64::from(days).days()).ok()) else {
        return;
    };
    for asset in assets.values_mut() {
        asset.is_stale = asset.data_date.is_some_and(|day| day < oldest);
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn an_asset_is_stale_if_its_row_lies_too_far_behind_the_newest() {
        let days = [
            ("NEWEST", Some(date(2025, 7, 28)), false),
            ("LATE", Some(date(2025, 7, 25)), false),
            ("STALE", Some(date(2025, 7, 24)), true),
            ("ANCIENT", Some(date(2024, 6, 23)), true),
            ("UNKNOWN", None, false),
            ("FUTURE", Some(date(2099, 1, 1)), false),
        ];
        let mut assets: BTreeMap<Asset, AssetPredictions> = days
            .iter()
            .map(|(name, data_date, _)| {
                let asset = AssetPredictions { data_date: *data_date, ..AssetPredictions::default() };
                (name.parse().unwrap(), asset)
            })
            .collect();
        mark_stale(&mut assets, STALE_AFTER_DAYS, date(2025, 7, 30));
        for (name, day, is_stale) in days {
            let asset: Asset = name.parse().unwrap();
            assert_eq!(assets[&asset].is_stale, is_stale, "{name} {day:?}");
        }
        mark_stale(&mut assets, u16::MAX, date(2025, 7, 30));
        assert!(assets.values().all(|asset| !asset.is_stale), "a mark is taken back");
    }
}
