//! The numbers in docs/benchmarks.md: what is between two marks comes from the bench, and nothing else is touched.

/// The marks are HTML comments, which a reader of the page does not see. How the first goes on is for its readers.
const BEGIN: &str = "<!-- bench: written by ";
const END: &str = "<!-- bench: end -->";

/// The text has not exactly one pair of marks, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMarks;

impl std::fmt::Display for NoMarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is not exactly one line `{BEGIN}...` followed by one `{END}`")
    }
}

impl std::error::Error for NoMarks {}

/// The text with `block` between its marks.
pub fn replace(text: &str, block: &str) -> Result<String, NoMarks> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let marks = |mark: &str| -> Vec<usize> {
        lines.iter().enumerate().filter(|(_, line)| line.starts_with(mark)).map(|(at, _)| at).collect()
    };
    let ([begin], [end]) = (&marks(BEGIN)[..], &marks(END)[..]) else { return Err(NoMarks) };
    if end < begin {
        return Err(NoMarks);
    }
    let (before, after) = (lines[..=*begin].concat(), lines[*end..].concat());
    Ok(format!("{before}{}\n{after}", block.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let text = format!("a\n{BEGIN}x -->\nold\nold\n{END}\nb\n");
        let new = replace(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}x -->\nnew\n{END}\nb\n"));
        assert_eq!(replace(&new, "new").as_ref(), Ok(&new));
    }

    /// What `make bench-docs` writes to.
    #[test]
    fn the_page_of_the_benchmarks_has_the_marks() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/benchmarks.md");
        let text = std::fs::read_to_string(page).unwrap();
        assert!(replace(&text, "new").unwrap().contains("-->\nnew\n<!-- bench: end -->\n"));
    }

    #[test]
    fn without_its_marks_nothing_is_written() {
        for text in [
            "nothing".to_owned(),
            format!("{BEGIN}\nx"),
            format!("{END}\n{BEGIN}\nx"),
            format!("{END}\n{BEGIN}\nx\n{END}"),
            format!("{BEGIN}\n{BEGIN}\n{END}"),
            format!("{BEGIN}\n{END}\n{END}"),
            format!("x {BEGIN}\n{END}"),
        ] {
            assert_eq!(replace(&text, "new"), Err(NoMarks), "{text}");
        }
    }
}
