//! Where the specs stand in the text, line by line, for telling places and for changing a spec without touching the
//! rest. Pure text work on block style; whoever edits by it checks the result by reading it again.

use std::ops::Range;

/// Lines are counted from 0 here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// The line of the top-level key `spec:`.
    pub(super) key: Option<usize>,
    /// Whether something follows the key on its line (`spec: []`).
    pub(super) inline: bool,
    /// The lines of each item, from its dash to its last line with content.
    pub(super) items: Vec<Range<usize>>,
    /// Spaces before the dashes.
    pub(super) indent: usize,
}

/// Finds `spec:` and its items.
pub(super) fn layout(text: &str) -> Layout {
    let mut found = Layout::default();
    let mut last_content = 0;
    let mut open: Option<usize> = None;
    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        let blank = content.is_empty() || content.starts_with('#');
        if found.key.is_none() {
            if let Some(rest) = line.strip_prefix("spec:") {
                found.key = Some(number);
                let rest = rest.trim();
                found.inline = !rest.is_empty() && !rest.starts_with('#');
            }
            continue;
        }
        if blank {
            continue;
        }
        let dash = content == "-" || content.starts_with("- ");
        let first = found.items.is_empty() && open.is_none();
        if dash && (first || indent == found.indent) {
            if let Some(start) = open.replace(number) {
                found.items.push(start..last_content + 1);
            }
            found.indent = indent;
        } else if first || indent <= found.indent {
            // The next top-level key, the document's end, or something else that is not an item.
            break;
        }
        last_content = number;
    }
    if let Some(start) = open {
        found.items.push(start..last_content + 1);
    }
    found
}

/// The text of some lines, with their line breaks.
pub(super) fn slice(text: &str, lines: &Range<usize>) -> String {
    text.split_inclusive('\n').skip(lines.start).take(lines.len()).collect()
}

/// The text with some lines replaced.
pub(super) fn replace(text: &str, lines: &Range<usize>, new: &str) -> String {
    let mut all: Vec<&str> = text.split_inclusive('\n').collect();
    let end = lines.end.min(all.len());
    let start = lines.start.min(end);
    let mut result: String = all.drain(..start).collect();
    if !result.is_empty() && !result.ends_with('\n') {
        result.push('\n');
    }
    result.push_str(new);
    result.extend(all.drain(end - start..));
    result
}

#[cfg(test)]
mod tests {
    use super::{layout, replace, slice};

    #[test]
    fn items_end_where_their_content_ends() {
        let text = "a: 1\nspec:\n# all\n  - name: a\n    x: |\n      - no item\n\n  # of b\n  - name: b\n    l:\n    - 1\n# end\nz: 2\n- no\n";
        let found = layout(text);
        assert_eq!((found.key, found.inline, found.indent), (Some(1), false, 2));
        assert_eq!(found.items, [3..6, 8..11]);
        assert_eq!(slice(text, &found.items[1]), "  - name: b\n    l:\n    - 1\n");
        assert!(replace(text, &found.items[0], "").contains("# all\n\n  # of b\n  - name: b"));
    }

    #[test]
    fn flow_style_and_absence_are_seen() {
        assert!(layout("spec: []\n").inline);
        assert_eq!(layout("x: 1\n").key, None);
        assert!(layout("spec: # none\nport: 1\n").items.is_empty());
    }
}
