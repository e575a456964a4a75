use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::civil::Date;
use shared::Asset;
use thiserror::Error;

/// Which rows a shard has: a part of the assets on a part of the days.
///
/// Days are dealt out one by one, since markets grow and an early month has fewer assets than a late one; a shard has
/// whole days as long as there are enough of them, so that there are as few parts as possible. Where there are more
/// shards than days, each day's assets are split as well. What a shard has follows from its number, the number of
/// shards and the range, and from nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    shard: u32,
    shards: u32,
    groups_of_assets: u32,
    groups_of_days: u32,
}

/// There is no such shard.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSplit {
    /// The number is too large.
    #[error("shard {shard} of {shards} shards: 0 to {} expected", shards.saturating_sub(1))]
    Shard {
        /// The shard.
        shard: u32,
        /// How many there are.
        shards: u32,
    },
    /// The range has no day.
    #[error("the last day, {to}, is before the first, {from}")]
    Range {
        /// The first day.
        from: Date,
        /// The last day.
        to: Date,
    },
}

impl Split {
    /// The part `shard` of `shards`, counted from 0, of a range of days.
    ///
    /// # Errors
    /// There is no such part.
    pub fn new(shard: u32, shards: u32, from: Date, to: Date) -> Result<Self, InvalidSplit> {
        if shard >= shards {
            return Err(InvalidSplit::Shard { shard, shards });
        }
        if to < from {
            return Err(InvalidSplit::Range { from, to });
        }
        let days = to.duration_since(from).as_hours() / 24 + 1;
        let days = u32::try_from(days).unwrap_or(u32::MAX);
        let groups_of_assets = shards.div_ceil(days);
        // Where it does not come out even, the last shards have nothing to do.
        let groups_of_days = shards / groups_of_assets;
        Ok(Self { shard, shards, groups_of_assets, groups_of_days })
    }

    /// The shard's number.
    #[must_use]
    pub fn shard(self) -> u32 {
        self.shard
    }

    /// The same backfill's part of another number.
    #[must_use]
    pub(super) fn of_shard(self, shard: u32) -> Self {
        Self { shard, ..self }
    }

    /// The file name of its parts: which of how many parts of a day. Where days are whole it is the same whatever the
    /// number of shards, so that a later backfill overwrites the parts of an earlier one. Where it is not, the names
    /// differ, so that parts of different splits are told from each other.
    #[must_use]
    pub fn part(self) -> String {
        let parts = self.groups_of_assets;
        format!("part-{:05}-of-{parts:05}.parquet", self.shard % parts)
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(self) -> u32 {
        self.shards
    }

    /// Whether the shard has the row of an asset and a day.
    #[must_use]
    pub fn has(self, day: Date, asset: &Asset) -> bool {
        let day = day.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24;
        let day = day.rem_euclid(i64::from(self.groups_of_days));
        let mut hasher = DefaultHasher::new();
        asset.hash(&mut hasher);
        let asset = hasher.finish() % u64::from(self.groups_of_assets);
        u64::try_from(day).ok().and_then(|day| day.checked_mul(self.groups_of_assets.into()))
            == u64::from(self.shard).checked_sub(asset)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn every_row_belongs_to_exactly_one_shard_and_days_stay_whole_while_there_are_enough() {
        let (from, to) = (date(2024, 12, 25), date(2025, 1, 3));
        let assets: Vec<Asset> = (0..50).map(|number| format!("A{number}").parse().unwrap()).collect();
        for shards in [1, 2, 3, 7, 10, 11, 25, 40] {
            let splits: Vec<Split> =
                (0..shards).map(|shard| Split::new(shard, shards, from, to).unwrap()).collect();
            let mut day = from;
            while day <= to {
                let of = |asset| {
                    let having: Vec<usize> =
                        (0..splits.len()).filter(|place| splits[*place].has(day, asset)).collect();
                    assert_eq!(having.len(), 1, "{asset} on {day} of {shards}");
                    having[0]
                };
                let mut owners: Vec<usize> = assets.iter().map(of).collect();
                owners.sort_unstable();
                owners.dedup();
                assert_eq!(owners.len() == 1, shards <= 10, "{day} of {shards}");
                let parts: Vec<String> = owners.iter().map(|owner| splits[*owner].part()).collect();
                let of = shards.div_ceil(10);
                let expected: Vec<String> =
                    (0..of).map(|part| format!("part-{part:05}-of-{of:05}.parquet")).collect();
                assert_eq!(parts, expected, "{day} of {shards}");
                day = day.tomorrow().unwrap();
            }
        }
    }

    #[test]
    fn what_is_no_part_is_refused() {
        let day = date(2025, 1, 1);
        assert!(matches!(Split::new(3, 3, day, day), Err(InvalidSplit::Shard { .. })));
        assert!(matches!(Split::new(0, 0, day, day), Err(InvalidSplit::Shard { .. })));
        assert!(matches!(Split::new(0, 1, day, date(2024, 12, 31)), Err(InvalidSplit::Range { .. })));
    }
}
