//! `get -w`: of a table that changes, the lines that do. A line is printed only when it says something else than the
//! last one of the same container.

use std::collections::BTreeMap;

use super::table::{self, Line, SpecRow};

/// What was printed so far.
pub(super) struct Changes {
    wide: bool,
    /// The headings are still to be printed.
    headers: bool,
    shown: BTreeMap<(String, String), Vec<String>>,
}

impl Changes {
    /// Nothing yet.
    pub(super) fn new(wide: bool, headers: bool) -> Self {
        Self { wide, headers, shown: BTreeMap::new() }
    }

    /// What is to be printed now, in whole lines; nothing when nothing changed.
    pub(super) fn next(&mut self, rows: &[SpecRow]) -> String {
        let lines = table::lines(rows, self.wide);
        // A container that is gone and comes back is told of again.
        self.shown.retain(|of, _| lines.iter().any(|line| line.of == *of));
        let mut news: Vec<bool> = vec![std::mem::take(&mut self.headers)];
        let mut cells = vec![table::headings(self.wide)];
        for Line { of, cells: line } in lines {
            news.push(self.shown.insert(of, line.clone()).as_ref() != Some(&line));
            cells.push(line);
        }
        // All are aligned, so that what is printed stands below what was.
        let text = table::align(&cells).into_iter().zip(news).filter(|(_, news)| *news);
        text.fold(String::new(), |all, (line, _)| all + &line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::table::tests::{container, spec},
        Changes,
    };

    #[test]
    fn only_what_a_container_newly_says_is_printed() {
        let rows = |status: &str, percent: u32| {
            let mut second = container("app-2", false);
            second.container_id = "containerd://2".into();
            (second.status, second.percent) = (status.into(), percent);
            [spec("main", status, vec![container("app-1", true), second])]
        };
        let mut changes = Changes::new(false, true);
        let mut next = |rows: &[_]| {
            let text = changes.next(rows);
            let words = |line: &str| line.split_whitespace().skip(3).take(2).collect::<Vec<_>>().join(" ");
            text.lines().map(words).collect::<Vec<_>>()
        };
        assert_eq!(next(&rows("watching", 100)), ["STATUS POD", "watching app-1", "watching app-2"]);
        assert_eq!(next(&rows("syncing", 10)), ["syncing app-2"]);
        assert!(next(&rows("syncing", 50)).is_empty(), "the table has no percent");
        assert_eq!(next(&rows("watching", 100)), ["watching app-2"]);
        assert_eq!(next(&[spec("main", "waiting", Vec::new())]), ["waiting -"]);
        assert_eq!(next(&rows("watching", 100)), ["watching app-1", "watching app-2"]);
    }

    #[test]
    fn what_is_printed_stands_in_its_column() {
        let mut changes = Changes::new(false, false);
        let long = container("a-rather-long-name-of-a-pod", true);
        let mut short = container("p", false);
        short.container_id = "containerd://2".into();
        let column = |text: &str| text.lines().map(|line| line.find("web").unwrap()).collect::<Vec<_>>();
        let first = changes.next(&[spec("main", "watching", vec![long.clone(), short.clone()])]);
        short.status = "syncing".into();
        let second = changes.next(&[spec("main", "syncing", vec![long, short])]);
        assert_eq!((column(&first).len(), column(&second)), (2, column(&first)[..1].to_vec()));
    }
}
