use super::{Block, Feature, Refusals};

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
    pub(super) fn transform<'a>(&self, mut block: Block<'a>, refusals: &mut Refusals) -> Block<'a> {
        for (place, feature) in block.columns.iter_mut().enumerate() {
            let of_column =
                |numbers: &Option<Vec<f64>>| numbers.as_ref().and_then(|numbers| numbers.get(place).copied());
            let operations = Operations {
                subtract: of_column(&self.subtract).unwrap_or(0.0),
                divide: of_column(&self.divide).unwrap_or(1.0),
                multiply: of_column(&self.multiply).unwrap_or(1.0),
                // Adding 0.0 would make 0.0 of -0.0.
                add: of_column(&self.add).unwrap_or(-0.0),
            };
            let mut values = std::mem::replace(feature, Feature::Absent).into_numbers(refusals).into_vec();
            operations.apply(&mut values);
            if let Some((low, high)) = self.clip {
                // `clamp` keeps NaN, as numpy's clip does.
                values.iter_mut().for_each(|value| *value = value.clamp(low, high));
            }
            *feature = Feature::Number(values);
        }
        block
    }
}

/// What a [`Scaler`] does to one column. A missing operation's number changes nothing, to the bit.
struct Operations {
    subtract: f64,
    divide: f64,
    multiply: f64,
    add: f64,
}

impl Operations {
    fn apply(&self, values: &mut [f64]) {
        #[cfg(target_arch = "x86_64")]
        {
            /// Divisions are what takes the time, and AVX2 makes twice as many at once.
            #[target_feature(enable = "avx2")]
            fn apply_avx2(operations: &Operations, values: &mut [f64]) {
                operations.apply_in_line(values);
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has AVX2.
                return unsafe { apply_avx2(self, values) };
            }
        }
        self.apply_in_line(values);
    }

    #[inline(always)]
    fn apply_in_line(&self, values: &mut [f64]) {
        for value in values {
            *value = ((*value - self.subtract) / self.divide) * self.multiply + self.add;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [f64; 9] =
        [-0.0, 0.0, 1.5, -2.25, f64::NAN, f64::INFINITY, 5e-324, -5e-324, 1.797_693_134_862_315_7e308];

    fn scaled(scaler: &Scaler) -> Vec<u64> {
        let block = Block { rows: VALUES.len(), columns: vec![Feature::Number(VALUES.to_vec())] };
        let mut block = scaler.transform(block, &mut Refusals::default());
        let numbers = block.columns.remove(0).coerced();
        numbers.as_slice().iter().map(|number| number.to_bits()).collect()
    }

    #[test]
    fn an_operation_that_a_scaler_lacks_changes_no_bit() {
        let unchanged: Vec<u64> = VALUES.iter().map(|value| value.to_bits()).collect();
        assert_eq!(scaled(&Scaler::default()), unchanged);
        let divided: Vec<u64> = VALUES.iter().map(|value| (value / 2.0).to_bits()).collect();
        assert_eq!(scaled(&Scaler { divide: Some(vec![2.0]), ..Scaler::default() }), divided);
    }

    #[test]
    fn the_fast_way_and_the_portable_way_agree_to_the_bit() {
        for add in [-0.0, 0.0, 0.1] {
            let operations = Operations { subtract: 0.0, divide: 3.0, multiply: 0.7, add };
            let (mut fast, mut portable) = (VALUES, VALUES);
            operations.apply(&mut fast);
            operations.apply_in_line(&mut portable);
            assert_eq!(fast.map(f64::to_bits), portable.map(f64::to_bits), "{add:?}");
        }
    }
}
