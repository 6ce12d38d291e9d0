//! One run: where it was, what was measured, and what could not be.

use serde::{Deserialize, Serialize};

use crate::Row;

/// As it is kept in `bench.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The machine and the programs: what, and which.
    pub environment: Vec<(String, String)>,
    /// In the order of measuring.
    pub rows: Vec<Row>,
    /// What gave up, and why.
    #[serde(default)]
    pub failures: Vec<(String, String)>,
}

impl Report {
    /// From its text.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// As text.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Goal, Unit};

    #[test]
    fn the_file_has_the_keys_that_others_read() {
        let row = Row::new("edit", Unit::Milliseconds, &[7.5]).goal(Goal::p50(8.0));
        let plain = Row::new("cp", Unit::Seconds, &[1.0]).note("as it is");
        let report = Report {
            environment: vec![("kernel".into(), "6".into())],
            rows: vec![row, plain],
            failures: vec![("idle".into(), "it ended".into())],
        };
        let text = report.to_json().unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "name": "edit", "unit": "ms", "min": 7.5, "p50": 7.5, "p90": 7.5, "p99": 7.5, "max": 7.5, "trials": 1,
            "goal": "p50 ≤ 8", "met": true,
        });
        assert_eq!(value["rows"][0], expected);
        assert_eq!(value["rows"][1]["goal"], serde_json::Value::Null);
        assert_eq!(Report::parse(&text).unwrap(), report);
    }
}
