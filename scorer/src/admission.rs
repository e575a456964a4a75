//! Whether a new version of a model may replace the one in force.
//!
//! That it can be read and asked is not enough: a model that was trained on the wrong column answers readily. So it is
//! held against the version that it would replace, on the same rows, in two figures. Both are wide: they are there to
//! stop what is broken, not to judge what is better.

use std::cmp::Ordering;

use shared::Outcome;
use thiserror::Error;

use crate::score::ModelScores;

/// The limits within which a new version may differ from the version that it replaces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Admission {
    /// The share of assets that the new version may have no prediction for although the version in force has one,
    /// from 0 to 1. Default 0.2; nothing switches it off.
    pub new_failures: Option<f64>,
    /// The factor by which a regressor's predictions may move, up or down, in the median over the assets. Default 10;
    /// nothing switches it off.
    pub shift: Option<f64>,
}

impl Default for Admission {
    fn default() -> Self {
        Self { new_failures: Some(0.2), shift: Some(10.0) }
    }
}

/// Why a new version may not replace the one in force.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum NotAdmitted {
    /// It has no predictions where there were some.
    #[error(
        "not admitted: it has no prediction for {missing} of the {before} assets that the version in force predicts \
         ({:.0} %, and {:.0} % are allowed)", 100.0 * *missing as f64 / *before as f64, 100.0 * limit
    )]
    Failures {
        /// Assets with a prediction of the version in force and none of this.
        missing: usize,
        /// Assets with a prediction of the version in force.
        before: usize,
        /// The share that is allowed.
        limit: f64,
    },
    /// It says something else altogether.
    #[error(
        "not admitted: its predictions differ from those of the version in force by a factor of {median:.3} in the \
         median of {assets} assets, and {limit} is allowed"
    )]
    Shift {
        /// The median of the factors; infinite where signs differ.
        median: f64,
        /// How many assets both versions predict.
        assets: usize,
        /// The factor that is allowed.
        limit: f64,
    },
}

impl Admission {
    /// Holds what a new version says against what the version in force says of the same rows.
    ///
    /// # Errors
    /// It is outside the limits.
    #[expect(clippy::cast_precision_loss, reason = "shares of counts")]
    pub fn check(&self, new: &ModelScores, in_force: &ModelScores) -> Result<(), NotAdmitted> {
        let pairs = || new.outcomes().zip(in_force.outcomes());
        let before = in_force.outcomes().flatten().count();
        let missing = pairs().filter(|(new, before)| new.is_none() && before.is_some()).count();
        if let Some(limit) = self.new_failures
            && before > 0
            && missing as f64 > limit * before as f64
        {
            return Err(NotAdmitted::Failures { missing, before, limit });
        }
        let factors = pairs().filter_map(|pair| match pair {
            (Some(Outcome::Close(new)), Some(Outcome::Close(before))) => Some(factor(*new, *before)),
            _ => None,
        });
        let mut factors: Vec<f64> = factors.collect();
        // The lower one of two in the middle: half of the assets must have moved by more than is allowed.
        let middle = factors.len().saturating_sub(1) / 2;
        factors.sort_by(f64::total_cmp);
        match (self.shift, factors.get(middle)) {
            (Some(limit), Some(&median)) if median > limit => {
                Err(NotAdmitted::Shift { median, assets: factors.len(), limit })
            }
            _ => Ok(()),
        }
    }
}

/// By which factor two numbers differ, at least 1; infinite if their signs do.
fn factor(one: f64, other: f64) -> f64 {
    match one.abs().total_cmp(&other.abs()) {
        Ordering::Equal if one == other => 1.0,
        _ if one * other <= 0.0 => f64::INFINITY,
        Ordering::Greater => one / other,
        _ => other / one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closes(values: &[Option<f64>]) -> ModelScores {
        let outcome = |value: &Option<f64>| value.map(Outcome::Close).ok_or_else(|| "no".to_owned());
        ModelScores::new(values.iter().map(outcome).collect())
    }

    #[test]
    fn a_version_may_fail_where_the_one_before_failed_and_for_a_fifth_of_the_others() {
        let before = closes(&[Some(1.0), Some(1.0), Some(1.0), Some(1.0), Some(1.0), None]);
        let check = |new: &[Option<f64>]| Admission::default().check(&closes(new), &before);
        assert_eq!(check(&[Some(1.0); 6]), Ok(()));
        assert_eq!(check(&[Some(1.0), Some(1.0), Some(1.0), Some(1.0), None, None]), Ok(()));
        let refused = check(&[Some(1.0), Some(1.0), Some(1.0), None, None, Some(1.0)]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "not admitted: it has no prediction for 2 of the 5 assets that the version in force predicts (40 %, and \
             20 % are allowed)"
        );
        let all = Admission { new_failures: None, ..Admission::default() };
        assert_eq!(all.check(&closes(&[None; 6]), &before), Ok(()));
    }

    #[test]
    fn half_of_the_predictions_may_not_move_by_more_than_the_limit() {
        let before = closes(&[Some(1.0), Some(-2.0), Some(100.0), Some(0.0)]);
        let check = |new: &[f64]| {
            let new: Vec<Option<f64>> = new.iter().copied().map(Some).collect();
            Admission::default().check(&closes(&new), &before)
        };
        assert_eq!(check(&[1.0, -2.0, 100.0, 0.0]), Ok(()));
        assert_eq!(check(&[10.0, -0.2, 9999.0, 1.0]), Ok(()), "two within the limit");
        let refused = check(&[12.0, -30.0, 1.0, 0.0]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "not admitted: its predictions differ from those of the version in force by a factor of 12.000 in the \
             median of 4 assets, and 10 is allowed"
        );
        assert!(
            matches!(check(&[-1.0, 2.0, -100.0, 1.0]), Err(NotAdmitted::Shift { median, .. }) if median.is_infinite())
        );
        let any = Admission { shift: None, ..Admission::default() };
        assert_eq!(any.check(&closes(&[Some(-1e9); 4]), &before), Ok(()));
    }

    #[test]
    fn classifiers_are_held_to_the_share_of_failures_only() {
        let direction = |class| Outcome::Direction { class, probability: 0.5 };
        let scores = |class| ModelScores::new(vec![Ok(direction(class)); 3]);
        assert_eq!(Admission::default().check(&scores(1), &scores(0)), Ok(()));
    }
}
