use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The symbol of an asset, such as `BTC`: 1 to 32 ASCII letters, digits, `.`, `-` or `_`, in upper case.
///
/// Symbols match without regard to case, so case is folded when one is parsed.
///
/// ```
/// let asset: shared::Asset = " btc ".parse()?;
/// assert_eq!(asset.as_str(), "BTC");
/// # Ok::<(), shared::InvalidAsset>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Asset(Box<str>);

/// A text that cannot be the symbol of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not an asset symbol: 1 to 32 letters, digits, '.', '-' or '_' expected")]
pub struct InvalidAsset(String);

impl Asset {
    /// The longest symbol, in bytes.
    pub const MAX_LEN: usize = 32;

    /// The symbol in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Asset {
    type Err = InvalidAsset;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let symbol = text.trim();
        let well_formed = (1..=Self::MAX_LEN).contains(&symbol.len())
            && symbol.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
            && symbol.bytes().any(|byte| byte.is_ascii_alphanumeric());
        if !well_formed {
            return Err(InvalidAsset(text.chars().take(2 * Self::MAX_LEN).collect()));
        }
        Ok(Self(symbol.to_ascii_uppercase().into()))
    }
}

impl TryFrom<String> for Asset {
    type Error = InvalidAsset;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Asset> for String {
    fn from(asset: Asset) -> Self {
        asset.0.into()
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_folded_and_white_space_trimmed() {
        assert_eq!(" eth\n".parse::<Asset>().unwrap().as_str(), "ETH");
        assert_eq!("1inch".parse::<Asset>().unwrap().as_str(), "1INCH");
        assert_eq!("btc-usd".parse::<Asset>().unwrap().as_str(), "BTC-USD");
    }

    #[test]
    fn what_is_no_symbol_is_refused() {
        for text in ["", "  ", "B/C", "..", "-", "BTC ETH", "Ξ", &"A".repeat(33)] {
            assert!(text.parse::<Asset>().is_err(), "{text:?} was accepted");
        }
    }
}
