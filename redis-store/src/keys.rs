use crc::{CRC_32_CKSUM, Crc};
use shared::{Asset, Generation, ModelName, RequestId};

use crate::Prefix;

/// A shard holds no more assets than this on average.
const SHARD_ASSETS: usize = 1024;

/// The field of a shard that says how many answers it has. It is there in every shard, so that a shard without
/// answers can be told from one that is gone. No asset can be called so.
pub(crate) const COUNT: &str = "_";

/// How keys are named; the crate's documentation has the table.
#[derive(Debug)]
pub(crate) struct Keys {
    prefix: Prefix,
}

impl Keys {
    pub(crate) fn new(prefix: Prefix) -> Self {
        Self { prefix }
    }

    pub(crate) fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    pub(crate) fn current(&self) -> String {
        self.control("current")
    }

    pub(crate) fn drawn(&self) -> String {
        self.control("drawn")
    }

    pub(crate) fn published(&self) -> String {
        self.control("published")
    }

    pub(crate) fn kept(&self) -> String {
        self.control("kept")
    }

    pub(crate) fn pending(&self) -> String {
        self.control("pending")
    }

    pub(crate) fn withdrawn(&self) -> String {
        self.control("withdrawn")
    }

    /// The generation of which a reader missed a part.
    pub(crate) fn incomplete(&self) -> String {
        self.control("incomplete")
    }

    /// In one slot of a cluster.
    fn control(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.prefix)
    }

    pub(crate) fn shard(&self, generation: Generation, shard: u32) -> String {
        format!("{}:{generation}:{shard}", self.prefix)
    }

    pub(crate) fn summary(&self, generation: Generation) -> String {
        format!("{}:{generation}:summary", self.prefix)
    }

    /// All keys of a generation.
    pub(crate) fn of(&self, generation: Generation, shards: u32) -> impl Iterator<Item = String> + Send + '_ {
        std::iter::once(self.summary(generation)).chain((0..shards).map(move |n| self.shard(generation, n)))
    }

    pub(crate) fn report(&self, request: &RequestId) -> String {
        format!("{}:reload:{}", self.prefix, request.as_str())
    }

    pub(crate) fn history(&self, asset: &Asset) -> String {
        format!("{}:history:{asset}", self.prefix)
    }

    pub(crate) fn track_record(&self, model: &ModelName) -> String {
        format!("{}:track:{model}", self.prefix)
    }

    /// Not a key, and so not of any slot.
    pub(crate) fn channel(&self) -> String {
        format!("{}:generations", self.prefix)
    }
}

/// How many shards a table of so many assets has.
pub(crate) fn shards(assets: usize) -> u32 {
    let shards = assets.div_ceil(SHARD_ASSETS).max(1).checked_next_power_of_two();
    shards.and_then(|shards| u32::try_from(shards).ok()).unwrap_or(1 << 31)
}

/// Which of `shards` holds an asset: what POSIX `cksum` prints for its symbol, modulo their number.
pub(crate) fn shard_of(asset: &Asset, shards: u32) -> u32 {
    const CKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_CKSUM);
    let symbol = asset.as_str().as_bytes();
    let mut digest = CKSUM.digest();
    digest.update(symbol);
    // The length comes after the text, in as many bytes as it needs; a symbol's fits in one.
    digest.update(&[u8::try_from(symbol.len()).unwrap_or(u8::MAX)]);
    digest.finalize() % shards.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_a_power_of_two_and_at_least_half_full() {
        for (assets, expected) in
            [(0, 1), (1, 1), (28, 1), (1024, 1), (1025, 2), (2049, 4), (20_000, 32), (1_000_000, 1024)]
        {
            assert_eq!(shards(assets), expected, "{assets}");
        }
    }

    #[test]
    fn the_shard_of_an_asset_is_what_cksum_says() {
        // printf %s BTC | cksum
        for (symbol, cksum) in [("BTC", 3_235_580_313), ("A", 1_751_207_896), ("123456789", 930_766_865)] {
            let asset: Asset = symbol.parse().unwrap();
            assert_eq!(shard_of(&asset, u32::MAX), cksum % u32::MAX, "{symbol}");
            assert_eq!(shard_of(&asset, 1024), cksum % 1024, "{symbol}");
        }
    }
}
