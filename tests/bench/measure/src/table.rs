//! The rows as markdown: all of it for `bench.md`, what most people want to know for the README.

use std::fmt::Write as _;

use crate::{Report, Row, figure::figure};

fn verdict(row: &Row) -> &'static str {
    match row.met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "",
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// With where it was measured, and every figure.
pub fn full(report: &Report) -> String {
    let mut text = String::from("# Bench\n\n");
    for (what, which) in &report.environment {
        let _ = writeln!(text, "- {what}: {which}");
    }
    text.push_str("\n| what | unit | min | p50 | p90 | p99 | max | trials | goal | met |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
    for row in &report.rows {
        let figures = [row.min, row.p50, row.p90, row.p99, row.max].map(figure).join(" | ");
        let goal = row.goal.as_deref().unwrap_or_default();
        let (name, unit, trials) = (cell(&row.name), row.unit.word(), row.trials);
        let _ =
            writeln!(text, "| {name} | {unit} | {figures} | {trials} | {} | {} |", cell(goal), verdict(row));
    }
    let noted: Vec<&Row> = report.rows.iter().filter(|row| !row.note.is_empty()).collect();
    if !noted.is_empty() {
        text.push('\n');
        for row in noted {
            let _ = writeln!(text, "- {}: {}", row.name, row.note);
        }
    }
    if !report.failures.is_empty() {
        text.push_str("\nNot measured:\n\n");
        for (what, why) in &report.failures {
            let _ = writeln!(text, "- {what}: {}", why.replace('\n', " "));
        }
    }
    text
}

/// Median, p90 and goal of each row, of any number of reports; the first one's environment below.
pub fn short(reports: &[Report]) -> String {
    let mut text = String::from("| what | p50 | p90 | goal | met |\n|---|---|---|---|---|\n");
    for row in reports.iter().flat_map(|report| &report.rows).filter(|row| !row.detail) {
        let with_unit = |number: f64| format!("{} {}", figure(number), row.unit.word()).trim_end().to_owned();
        let goal = row.goal.as_deref().unwrap_or_default();
        let (p50, p90) = (with_unit(row.p50), with_unit(row.p90));
        let _ = writeln!(text, "| {} | {p50} | {p90} | {} | {} |", cell(&row.name), cell(goal), verdict(row));
    }
    if let Some(first) = reports.first() {
        let environment: Vec<String> =
            first.environment.iter().map(|(what, which)| format!("{what}: {which}")).collect();
        let _ = writeln!(text, "\n{}.", environment.join("; "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Goal, Unit};

    fn report() -> Report {
        Report {
            environment: vec![("kernel".into(), "6.1".into())],
            rows: vec![
                Row::new("edit | docker", Unit::Milliseconds, &[7.0, 9.0])
                    .goal(Goal::p50(8.0).p90(8.5))
                    .note("n"),
                Row::new("trips", Unit::Count, &[1.5]),
                Row::new("stage", Unit::Count, &[1.0]).detail(),
            ],
            failures: vec![("idle".into(), "two\nlines".into())],
        }
    }

    #[test]
    fn all_of_it() {
        assert_eq!(
            full(&report()),
            "# Bench\n\n- kernel: 6.1\n\n\
             | what | unit | min | p50 | p90 | p99 | max | trials | goal | met |\n\
             |---|---|---|---|---|---|---|---|---|---|\n\
             | edit \\| docker | ms | 7 | 7 | 9 | 9 | 9 | 2 | p50 ≤ 8, p90 ≤ 8.5 | **no** |\n\
             | trips |  | 1.5 | 1.5 | 1.5 | 1.5 | 1.5 | 1 |  |  |\n\
             | stage |  | 1 | 1 | 1 | 1 | 1 | 1 |  |  |\n\n\
             - edit | docker: n\n\nNot measured:\n\n- idle: two lines\n"
        );
    }

    #[test]
    fn what_most_want_to_know() {
        assert_eq!(
            short(&[report()]),
            "| what | p50 | p90 | goal | met |\n|---|---|---|---|---|\n\
             | edit \\| docker | 7 ms | 9 ms | p50 ≤ 8, p90 ≤ 8.5 | **no** |\n\
             | trips | 1.5 | 1.5 |  |  |\n\nkernel: 6.1.\n"
        );
    }
}
