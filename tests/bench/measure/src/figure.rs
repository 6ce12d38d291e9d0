//! A measured figure as text.

/// As people read it: three digits that count.
pub(crate) fn figure(figure: f64) -> String {
    let decimals = match figure.abs() {
        0.0 => 0,
        large if large >= 99.95 => 0,
        middle if middle >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{figure:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::figure;

    #[test]
    fn figures_have_three_digits() {
        for (number, text) in [
            (0.0, "0"),
            (0.004, "0"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (99.99, "100"),
            (1234.5, "1234"),
            (8.0, "8"),
        ] {
            assert_eq!(figure(number), text);
        }
    }
}
