//! What a row is measured against: a limit for the median, and perhaps one for the slow ones.

use crate::figure::figure;

/// Limits, in the row's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    p50: f64,
    p90: Option<f64>,
    max: Option<f64>,
}

impl Goal {
    /// The median at most this.
    pub const fn p50(limit: f64) -> Self {
        Self { p50: limit, p90: None, max: None }
    }

    /// And nine of ten at most this.
    #[must_use]
    pub const fn p90(self, limit: f64) -> Self {
        Self { p90: Some(limit), ..self }
    }

    /// And none more than this.
    #[must_use]
    pub const fn max(self, limit: f64) -> Self {
        Self { max: Some(limit), ..self }
    }

    pub(crate) fn met(self, p50: f64, p90: f64, max: f64) -> bool {
        p50 <= self.p50
            && self.p90.is_none_or(|limit| p90 <= limit)
            && self.max.is_none_or(|limit| max <= limit)
    }

    /// As text, the limits in the order in which the row has the figures.
    pub(crate) fn words(self) -> String {
        let limits = [("p50", Some(self.p50)), ("p90", self.p90), ("max", self.max)];
        let word = |(name, limit): (&str, Option<f64>)| Some(format!("{name} ≤ {}", figure(limit?)));
        limits.into_iter().filter_map(word).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_counts() {
        let goal = Goal::p50(8.0).p90(12.0);
        assert!(goal.met(8.0, 12.0, 99.0));
        assert!(!goal.met(8.1, 12.0, 12.0));
        assert!(!goal.met(8.0, 12.1, 12.1));
        assert!(!goal.max(13.0).met(8.0, 12.0, 13.1));
        assert_eq!(goal.max(13.5).words(), "p50 ≤ 8, p90 ≤ 12, max ≤ 13.5");
    }
}
