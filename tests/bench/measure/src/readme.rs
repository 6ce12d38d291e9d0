//! The numbers in the README: what is between two marks comes from the bench, and nothing else is touched.

/// The marks are HTML comments, which a reader of the page does not see.
const BEGIN: &str = "<!-- bench: written by `make bench-readme` -->\n";
const END: &str = "<!-- bench: end -->\n";

/// The text has not exactly one pair of marks, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMarks;

impl std::fmt::Display for NoMarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is not exactly one line `{}` followed by one `{}`", BEGIN.trim_end(), END.trim_end())
    }
}

impl std::error::Error for NoMarks {}

/// The text with `block` between its marks.
pub fn replace(text: &str, block: &str) -> Result<String, NoMarks> {
    let [before, rest] = text.split(BEGIN).collect::<Vec<_>>()[..] else { return Err(NoMarks) };
    let [_, after] = rest.split(END).collect::<Vec<_>>()[..] else { return Err(NoMarks) };
    if before.contains(END) {
        return Err(NoMarks);
    }
    Ok(format!("{before}{BEGIN}{}\n{END}{after}", block.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let text = format!("a\n{BEGIN}old\nold\n{END}b\n");
        let new = replace(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}new\n{END}b\n"));
        assert_eq!(replace(&new, "new").as_ref(), Ok(&new));
    }

    #[test]
    fn without_its_marks_nothing_is_written() {
        for text in [
            "nothing".to_owned(),
            format!("{BEGIN}x"),
            format!("{END}{BEGIN}x"),
            format!("{END}{BEGIN}x{END}"),
            format!("{BEGIN}{BEGIN}{END}"),
            format!("{BEGIN}{END}{END}"),
        ] {
            assert_eq!(replace(&text, "new"), Err(NoMarks), "{text}");
        }
    }
}
