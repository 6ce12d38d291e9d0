//! The rows that are times as a picture: a bar from the least to the most, thick up to p90, the median marked, and a
//! line where the goal is; on a logarithmic scale, since they reach from milliseconds to minutes.

use plotters::{coord::Shift, prelude::*};

use crate::{Row, Unit};

const WIDTH: u32 = 1200;
const LABELS: i32 = 580;
const LINE: i32 = 22;
const TOP: i32 = 34;
const BOTTOM: i32 = 34;

const BAR: RGBColor = RGBColor(120, 160, 210);
const MARK: RGBColor = RGBColor(20, 60, 120);
const GOAL: RGBColor = RGBColor(200, 60, 40);
const GRID: RGBColor = RGBColor(215, 215, 215);

type Failed = Box<dyn std::error::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Milliseconds, where it is a time.
fn milliseconds(row: &Row, figure: f64) -> Option<f64> {
    match row.unit {
        Unit::Milliseconds => Some(figure),
        Unit::Seconds => Some(figure * 1000.0),
        Unit::Megabytes | Unit::Percent | Unit::Count => None,
    }
}

/// The limit for the median.
fn goal(row: &Row) -> Option<f64> {
    let words = row.goal.as_deref()?.strip_prefix("p50 ≤ ")?;
    words.split(',').next()?.parse().ok()
}

/// Where on the scale from 10 to the `decades.0` to 10 to the `decades.1` milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "pixels")]
fn across(time: f64, decades: (i32, i32)) -> i32 {
    let (low, high) = (f64::from(decades.0), f64::from(decades.1));
    let part = (time.max(0.001).log10() - low) / (high - low);
    let room = f64::from(WIDTH) - f64::from(LABELS) - 20.0;
    LABELS + (part.clamp(0.0, 1.0) * room).round() as i32
}

#[expect(clippy::cast_possible_truncation, reason = "a handful of decades")]
fn decades(rows: &[&Row]) -> (i32, i32) {
    let times = || rows.iter().flat_map(|row| [row.min, row.max].map(|time| milliseconds(row, time)));
    let least = times().flatten().fold(f64::INFINITY, f64::min).max(0.1);
    let most = times().flatten().fold(1.0, f64::max);
    let low = least.log10().floor() as i32;
    (low, (most.log10().ceil() as i32).max(low + 1))
}

/// The picture; nothing but the frame where no row is a time.
pub fn svg(rows: &[Row]) -> Result<String, Failed> {
    let rows: Vec<&Row> = rows.iter().filter(|row| milliseconds(row, row.p50).is_some()).collect();
    let lines = i32::try_from(rows.len())?;
    let height = TOP + lines * LINE + BOTTOM;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, u32::try_from(height)?)).into_drawing_area();
        area.fill(&WHITE)?;
        let scale = if rows.is_empty() { (0, 1) } else { decades(&rows) };
        grid(&area, scale, height)?;
        for (line, row) in (0..).zip(&rows) {
            draw(&area, row, scale, TOP + line * LINE + LINE / 2)?;
        }
        area.present()?;
    }
    Ok(text)
}

fn small() -> TextStyle<'static> {
    ("sans-serif", 13).into_font().into()
}

fn grid(area: &Area<'_>, scale: (i32, i32), height: i32) -> Result<(), Failed> {
    for decade in scale.0..=scale.1 {
        let time = 10_f64.powi(decade);
        let x = across(time, scale);
        area.draw(&PathElement::new([(x, TOP), (x, height - BOTTOM)], GRID))?;
        let label = if time < 1000.0 { format!("{time} ms") } else { format!("{} s", time / 1000.0) };
        area.draw(&Text::new(label, (x - 14, height - BOTTOM + 8), small()))?;
    }
    let key = "least to most; thick to p90; dark: median; red: the goal for it";
    area.draw(&Text::new(key, (LABELS, 10), small()))?;
    Ok(())
}

fn draw(area: &Area<'_>, row: &Row, scale: (i32, i32), y: i32) -> Result<(), Failed> {
    let at = |figure: f64| milliseconds(row, figure).map_or(LABELS, |time| across(time, scale));
    area.draw(&Text::new(row.name.clone(), (8, y - 7), small()))?;
    area.draw(&Rectangle::new(
        [(at(row.min), y - 1), (at(row.max).max(at(row.min) + 1), y + 1)],
        BAR.filled(),
    ))?;
    area.draw(&Rectangle::new(
        [(at(row.min), y - 5), (at(row.p90).max(at(row.min) + 1), y + 5)],
        BAR.filled(),
    ))?;
    area.draw(&Rectangle::new([(at(row.p50) - 1, y - 7), (at(row.p50) + 2, y + 7)], MARK.filled()))?;
    if let Some(goal) = goal(row) {
        area.draw(&Rectangle::new([(at(goal), y - 9), (at(goal) + 1, y + 9)], GOAL.filled()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Goal;

    #[test]
    fn times_are_drawn_and_nothing_else_is() {
        let rows = [
            Row::new("an edit", Unit::Milliseconds, &[7.0, 9.0]).goal(Goal::p50(8.0)),
            Row::new("a tree", Unit::Seconds, &[1.5]),
            Row::new("memory", Unit::Megabytes, &[12.0]),
        ];
        let text = svg(&rows).unwrap();
        assert!(text.contains("an edit") && text.contains("a tree") && !text.contains("memory"), "{text}");
        assert!(text.trim_end().ends_with("</svg>"), "{text}");
        // The goal of the one row that has one.
        assert_eq!(text.matches("#C83C28").count(), 1, "{text}");
    }

    #[test]
    fn the_scale_holds_all() {
        let rows = [Row::new("x", Unit::Milliseconds, &[7.0]), Row::new("y", Unit::Seconds, &[12.0])];
        let scale = decades(&rows.iter().collect::<Vec<_>>());
        assert_eq!(scale, (0, 5));
        assert_eq!(across(1.0, scale), LABELS);
        assert!(across(7.0, scale) < across(12_000.0, scale));
        assert!(svg(&[]).unwrap().contains("</svg>"));
    }
}
