//! A row of the table: one thing that was measured, several times.
//!
//! A percentile is a value that was measured (nearest rank), never one in between.

use serde::{Deserialize, Serialize};

use crate::Goal;

/// What the figures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "MB")]
    Megabytes,
    /// Of one core.
    #[serde(rename = "%")]
    Percent,
    /// Round trips, and what else is counted.
    #[serde(rename = "count")]
    Count,
}

impl Unit {
    /// As the table has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Megabytes => "MB",
            Self::Percent => "%",
            Self::Count => "",
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What, and where.
    pub name: String,
    /// Of all the figures but `trials`.
    pub unit: Unit,
    /// The least.
    pub min: f64,
    /// Half of the trials had at most this.
    pub p50: f64,
    /// 90 % of them.
    pub p90: f64,
    /// 99 % of them.
    pub p99: f64,
    /// The most.
    pub max: f64,
    /// How often.
    pub trials: usize,
    /// What it should be, in words; null where nothing is asked.
    pub goal: Option<String>,
    /// Whether it is.
    pub met: Option<bool>,
    /// How to read it; empty where the name says all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// For who looks for where the time goes: not in the README.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detail: bool,
}

impl Row {
    /// Of at least one figure.
    ///
    /// # Panics
    /// Without any.
    pub fn new(name: impl Into<String>, unit: Unit, figures: &[f64]) -> Self {
        assert!(!figures.is_empty(), "a row of nothing");
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let rank = |percent: usize| rounded(sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]);
        Self {
            name: name.into(),
            unit,
            min: rounded(sorted[0]),
            p50: rank(50),
            p90: rank(90),
            p99: rank(99),
            max: rank(100),
            trials: sorted.len(),
            goal: None,
            met: None,
            note: String::new(),
            detail: false,
        }
    }

    /// Measured against this.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.met = Some(goal.met(self.p50, self.p90, self.max));
        self.goal = Some(goal.words());
        self
    }

    /// One that few want to know.
    #[must_use]
    pub fn detail(self) -> Self {
        Self { detail: true, ..self }
    }

    /// With a word on how to read it.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// A millionth of a second is more than any of this can tell.
fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let figures: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        let row = Row::new("x", Unit::Seconds, &figures);
        assert_eq!(
            (row.min, row.p50, row.p90, row.p99, row.max, row.trials),
            (1.0, 5.0, 9.0, 10.0, 10.0, 10)
        );
        let one = Row::new("x", Unit::Seconds, &[0.000_4]);
        assert_eq!((one.min, one.p50, one.p99, one.max), (0.0, 0.0, 0.0, 0.0));
    }

    #[test]
    fn the_goal_is_words_and_a_verdict() {
        let row = Row::new("x", Unit::Seconds, &[1.0, 2.0, 3.0]);
        assert_eq!((row.goal.clone(), row.met), (None, None));
        let missed = row.goal(Goal::p50(1.8));
        assert_eq!((missed.goal.as_deref(), missed.met), (Some("p50 ≤ 1.8"), Some(false)));
    }
}
