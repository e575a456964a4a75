use super::{Block, Feature};

/// `StandardScaler`, `MinMaxScaler`, `MaxAbsScaler` and `RobustScaler` (`sklearn/preprocessing/_data.py`).
///
/// Each is some of these operations, in this order, one number a column. Missing values stay missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scaler {
    pub(crate) subtract: Option<Vec<f64>>,
    pub(crate) divide: Option<Vec<f64>>,
    pub(crate) multiply: Option<Vec<f64>>,
    pub(crate) add: Option<Vec<f64>>,
    pub(crate) clip: Option<(f64, f64)>,
}

impl Scaler {
    pub(super) fn transform<'a>(&self, mut block: Block<'a>) -> Block<'a> {
        for (place, feature) in block.columns.iter_mut().enumerate() {
            let of_column =
                |numbers: &Option<Vec<f64>>| numbers.as_ref().and_then(|numbers| numbers.get(place).copied());
            let subtract = of_column(&self.subtract).unwrap_or(0.0);
            let divide = of_column(&self.divide).unwrap_or(1.0);
            let multiply = of_column(&self.multiply).unwrap_or(1.0);
            let add = of_column(&self.add).unwrap_or(0.0);
            // Without an operation its number changes nothing, to the bit.
            let scaled = |value: f64| ((value - subtract) / divide) * multiply + add;
            let numbers = std::mem::replace(feature, Feature::Absent).into_numbers();
            *feature = Feature::Number(match self.clip {
                // `clamp` keeps NaN, as numpy's clip does.
                Some((low, high)) => numbers.map(|value| scaled(value).clamp(low, high)),
                None => numbers.map(scaled),
            });
        }
        block
    }
}
