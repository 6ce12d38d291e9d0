//! A config that is being changed: the text and its typed view, always in step. An edit changes the lines of one spec
//! and is believed only when reading the new text gives exactly what was meant; otherwise the whole is written anew
//! from the values (which loses comments, so [`Draft::lost_comments`] says so and the store keeps a copy).

use std::{collections::HashSet, path::Path};

use super::{
    Config, Error, Loaded, Position, SpecDetails, SpecError, layout,
    layout::Layout,
    render, validate,
    yaml::{self, Mapping, Value},
};

/// The text of `ksync.yaml` with what it says.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    path: std::path::PathBuf,
    text: String,
    root: Mapping,
    loaded: Loaded,
    lost_comments: bool,
}

impl Draft {
    /// Reads a text; `path` is what errors name.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let syntax = |message: String, place| Error::Syntax { path: path.to_owned(), message, place };
        let start = Position { line: 1, column: 1 };
        let value: Value = yaml::parse(text).map_err(|p| syntax(p.message, p.place.unwrap_or(start)))?;
        let root = match value {
            Value::Null => Mapping::new(),
            Value::Mapping(root) => root,
            _ => return Err(syntax("it is not a mapping of keys".to_owned(), start)),
        };
        let layout = layout::layout(text);
        let place_of = |key: &str| Position {
            line: text.lines().position(|line| line.starts_with(&format!("{key}:"))).unwrap_or(0) + 1,
            column: 1,
        };
        let string = |key: &str| match root.get(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(syntax(format!("`{key}` is not a text"), place_of(key))),
        };
        let items: &[Value] = match root.get("spec") {
            None | Some(Value::Null) => &[],
            Some(Value::Sequence(items)) => items,
            Some(_) => return Err(syntax("`spec` is not a list".to_owned(), place_of("spec"))),
        };
        let mut loaded = Loaded {
            config: Config {
                // These two are only kept: whatever they hold is none of our business.
                apikey: string("apikey").unwrap_or_default(),
                port: root.get("port").and_then(Value::as_u64),
                log_level: string("log-level").unwrap_or_default(),
                context: string("context")?,
                namespace: string("namespace")?,
                spec: Vec::new(),
            },
            errors: Vec::new(),
        };
        let mut names = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let at = Item { text, layout: &layout, count: items.len(), index, key: place_of("spec") };
            let specs = &loaded.config.spec;
            match at.read(item).and_then(|spec| {
                if let Some(why) = specs.iter().find_map(|other| spec.patterns_differ_from(other)) {
                    return Err((at.value("ignore"), format!("{why}: give both the same patterns")));
                }
                if names.insert(spec.name.clone()) {
                    Ok(spec)
                } else {
                    Err((at.value("name"), "there is another spec of this name".to_owned()))
                }
            }) {
                Ok(spec) => loaded.config.spec.push(spec),
                Err((place, message)) => {
                    let name = item.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
                    let name = name.map(str::to_owned);
                    loaded.errors.push(SpecError { index, name, place, message, duplicate: false });
                }
            }
        }
        for error in &mut loaded.errors {
            error.duplicate = error.name.as_ref().is_some_and(|name| names.contains(name));
        }
        Ok(Self { path: path.to_owned(), text: text.to_owned(), root, loaded, lost_comments: false })
    }

    /// The typed view.
    pub(crate) fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// The typed view and what can't be used.
    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The file's text with all edits.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether an edit had to write the whole file anew, without its comments.
    pub(crate) fn lost_comments(&self) -> bool {
        self.lost_comments
    }

    /// Appends a spec. Its name must be new; see [`super::validate`].
    pub(crate) fn add(&mut self, spec: &SpecDetails) -> Result<(), Error> {
        let block = render::item(spec, 0);
        let item: Vec<Value> =
            yaml::parse(&block).map_err(|_| self.cannot("the new spec can't be written as YAML"))?;
        let mut meant = self.items();
        meant.extend(item);
        let found = layout::layout(&self.text);
        let edited = match (found.key, found.items.last()) {
            (Some(_), Some(last)) => {
                Some(layout::replace(&self.text, &(last.end..last.end), &render::item(spec, found.indent)))
            }
            (Some(key), None) => {
                let lines = self.text.lines().nth(key).filter(|line| empty_list(line)).map(|_| key..key + 1);
                lines.map(|lines| layout::replace(&self.text, &lines, &format!("spec:\n{block}")))
            }
            (None, _) => {
                let end = self.text.lines().count();
                Some(layout::replace(&self.text, &(end..end), &format!("spec:\n{block}")))
            }
        };
        self.take(edited, meant)
    }

    /// Removes every spec of this name, good or bad; tells whether there was one.
    pub(crate) fn remove(&mut self, name: &str) -> Result<bool, Error> {
        let mut removed = false;
        loop {
            let mut meant = self.items();
            let Some(index) =
                meant.iter().position(|item| item.get("name").and_then(Value::as_str) == Some(name))
            else {
                return Ok(removed);
            };
            meant.remove(index);
            let found = layout::layout(&self.text);
            let edited = found.items.get(index).map(|lines| {
                let text = layout::replace(&self.text, lines, "");
                match (found.key, meant.is_empty()) {
                    (Some(key), true) => layout::replace(&text, &(key..key + 1), "spec: []\n"),
                    _ => text,
                }
            });
            self.take(edited, meant)?;
            removed = true;
        }
    }

    /// Adds patterns to what the spec `name` leaves out. Returns whether there is such a spec.
    pub(crate) fn ignore(&mut self, name: &str, patterns: &[String]) -> Result<bool, Error> {
        let mut meant = self.items();
        let Some(index) =
            meant.iter().position(|item| item.get("name").and_then(Value::as_str) == Some(name))
        else {
            return Ok(false);
        };
        let mut all: Vec<String> = match meant.get(index).and_then(|item| item.get("ignore")) {
            Some(Value::Sequence(list)) => {
                list.iter().filter_map(|pattern| pattern.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        all.extend(patterns.iter().filter(|pattern| !all.contains(pattern)).cloned().collect::<Vec<_>>());
        if let Some(Value::Mapping(item)) = meant.get_mut(index) {
            item.insert("ignore".into(), Value::Sequence(all.iter().cloned().map(Value::String).collect()));
        }
        let found = layout::layout(&self.text);
        let edited = found.items.get(index).map(|lines| {
            let is_ignore = |line: &&str| line.trim_start().starts_with("ignore:");
            let own = self.text.lines().enumerate().skip(lines.start).take(lines.len());
            let old = own.filter(|(_, line)| is_ignore(line)).last();
            let comment = old.and_then(|(_, line)| Some(line.rsplit_once(']')?.1)).unwrap_or_default();
            let place = old.map_or(lines.end..lines.end, |(at, _)| at..at + 1);
            let line = format!("{:1$}ignore: {2}{comment}\n", "", found.indent + 2, render::patterns(&all));
            layout::replace(&self.text, &place, &line)
        });
        self.take(edited, meant)?;
        Ok(true)
    }

    fn items(&self) -> Vec<Value> {
        self.root.get("spec").and_then(Value::as_sequence).cloned().unwrap_or_default()
    }

    /// Believes an edited text only when it reads as the old root with the meant list, nothing else changed.
    fn take(&mut self, edited: Option<String>, meant: Vec<Value>) -> Result<(), Error> {
        let mut root = self.root.clone();
        root.insert("spec".into(), Value::Sequence(meant));
        let lost = self.lost_comments;
        if let Some(text) = edited
            && let Ok(draft) = Self::parse(&self.path, &text)
            && draft.root == root
        {
            *self = Self { lost_comments: lost, ..draft };
            return Ok(());
        }
        let text = yaml::write(&Value::Mapping(root.clone()))
            .map_err(|_| self.cannot("it can't be written anew"))?;
        let draft = Self::parse(&self.path, &text)?;
        if draft.root != root {
            return Err(self.cannot("it would not read back the same"));
        }
        let had_comments =
            self.text.lines().any(|line| line.trim_start().starts_with('#') || line.contains(" #"));
        *self = Self { lost_comments: lost || had_comments, ..draft };
        Ok(())
    }

    fn cannot(&self, reason: &'static str) -> Error {
        Error::Edit { path: self.path.clone(), reason }
    }
}

/// `spec:`, `spec: []`, `spec: ~`, `spec: null`, with nothing else on the line.
fn empty_list(line: &str) -> bool {
    line.strip_prefix("spec:").is_some_and(|rest| matches!(rest.trim(), "" | "[]" | "~" | "null"))
}

/// One item of the list and where it stands.
struct Item<'a> {
    text: &'a str,
    layout: &'a Layout,
    count: usize,
    index: usize,
    key: Position,
}

impl Item<'_> {
    fn lines(&self) -> Option<&std::ops::Range<usize>> {
        // Where the counts differ, the text is laid out in a way that was not understood.
        (self.layout.items.len() == self.count).then(|| self.layout.items.get(self.index)).flatten()
    }

    fn place(&self) -> Position {
        self.lines()
            .map_or(self.key, |lines| Position { line: lines.start + 1, column: self.layout.indent + 1 })
    }

    /// Where the value of one of its keys begins.
    fn value(&self, key: &str) -> Position {
        let lines = self.lines().cloned().unwrap_or_default();
        let own = self.text.lines().enumerate().skip(lines.start).take(lines.len());
        let mut found = own.filter_map(|(number, line)| {
            let value =
                line.trim_start_matches([' ', '-']).strip_prefix(key)?.strip_prefix(':')?.trim_start();
            let column = line.strip_suffix(value)?.chars().count() + 1;
            Some(Position { line: number + 1, column })
        });
        found.next().unwrap_or_else(|| self.place())
    }

    fn read(&self, item: &Value) -> Result<SpecDetails, (Position, String)> {
        let spec: SpecDetails = yaml::typed(item).map_err(|without| {
            // Read once more from its own lines, for the place.
            let own = self.lines().map(|lines| (lines.start, layout::slice(self.text, lines)));
            match own.and_then(|(start, text)| Some((start, yaml::parse::<Vec<SpecDetails>>(&text).err()?))) {
                Some((start, problem)) => {
                    let place = problem.place.map(|at| Position { line: start + at.line, column: at.column });
                    (place.unwrap_or(self.place()), within_item(&problem.message))
                }
                None => (self.place(), without.message),
            }
        })?;
        spec.check().map_err(|message| (self.place(), message))?;
        if !spec.selector.is_empty() {
            let understood = validate::selector(&spec.selector);
            understood.map_err(|invalid| (self.value("selector"), invalid.message))?;
        }
        Ok(spec)
    }
}

/// The message without the path of the one item that was read.
fn within_item(message: &str) -> String {
    let rest = message.trim_start_matches('.').trim_start_matches("[0]");
    rest.trim_start_matches([':', '.', ' ']).to_owned()
}

/// For tests and `fuzz/`: of whatever text, the first spec can be taken out, and takes no other with it.
///
/// # Panics
/// Where it does.
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "`fuzz/` calls it from outside")]
pub fn takes_out_one_spec(text: &str) {
    let Ok(mut draft) = Draft::parse("k".as_ref(), text) else { return };
    let names =
        |draft: &Draft| -> Vec<String> { draft.config().spec.iter().map(|spec| spec.name.clone()).collect() };
    let before = names(&draft);
    let Some((first, others)) = before.split_first() else { return };
    if draft.remove(first).is_ok() {
        let again = Draft::parse("k".as_ref(), draft.text());
        let Ok(again) = again else { panic!("{again:?}: {}", draft.text()) };
        // One that could not be used beside the first may be of use now.
        let left = names(&again);
        assert!(others.iter().all(|name| left.contains(name)), "{left:?}: {}", draft.text());
        assert!(!left.contains(first), "{}", draft.text());
    }
}

#[cfg(test)]
mod tests {
    use super::Draft;
    use crate::config::{SpecDetails, store::OLD_FILE};

    fn draft(text: &str) -> Draft {
        Draft::parse("k".as_ref(), text).unwrap()
    }

    fn spec(name: &str) -> SpecDetails {
        SpecDetails {
            name: name.into(),
            pod: "p".into(),
            localpath: "/l".into(),
            remotepath: "/r".into(),
            ..SpecDetails::default()
        }
    }

    #[test]
    fn adding_and_removing_leaves_every_other_byte() {
        let with_more = format!(
            "# top\nzzz: {{a: [1, 2]}} # odd\n{OLD_FILE}  future: 'key'   # kept\n\n# after\ntail: 1.50\n"
        );
        for text in [OLD_FILE.to_owned(), with_more, OLD_FILE.replace('\n', "\r\n")] {
            let mut draft = draft(&text);
            draft.add(&spec("new")).unwrap();
            assert_eq!(draft.config().spec.len(), 2);
            assert!(!draft.lost_comments());
            assert!(draft.remove("new").unwrap());
            assert_eq!(draft.text(), text);
            assert!(!draft.remove("new").unwrap());
            assert!(draft.remove("sunny-husky").unwrap());
            assert_eq!((draft.config().spec.len(), draft.config().port), (0, Some(40322)));
            draft.add(&spec("again")).unwrap();
            assert!(!draft.lost_comments());
            assert_eq!(draft.config().spec, [spec("again")]);
        }
    }

    #[test]
    fn a_list_is_made_where_none_is() {
        for text in [
            "",
            "port: 1",
            "port: 1\n# c\n",
            "spec: []\nport: 1\n",
            "spec: null\n",
            "spec:\n",
            "---\nport: 1\n",
        ] {
            let mut draft = draft(text);
            draft.add(&spec("a")).unwrap();
            draft.add(&spec("b")).unwrap();
            assert_eq!(draft.config().spec, [spec("a"), spec("b")], "{text:?}");
            assert!(!draft.lost_comments(), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_edited_by_line_is_written_anew_with_all_its_values() {
        let text = "spec: [{name: a, pod: p, localpath: /l, remotepath: /r, odd: [1]}] # list\nport: 40322\nx: {y: ''}\n";
        let mut draft = draft(text);
        draft.add(&spec("b")).unwrap();
        assert!(draft.lost_comments());
        assert!(draft.text().contains("odd:\n  - 1") && draft.text().contains("port: 40322"));
        assert!(draft.text().contains("y: ''"));
        draft.remove("a").unwrap();
        assert_eq!(draft.config().spec, [spec("b")]);
    }

    #[test]
    fn a_second_spec_of_a_directory_with_other_patterns_is_bad() {
        let two = "- name: b\n  pod: q\n  localpath: /l\n  remotepath: /r\n  ignore: [x]\n";
        let one = two.replace("name: b", "name: a").replace("[x]", "[x, y]");
        let draft = draft(&format!("spec:\n{one}{two}"));
        let [error] = draft.loaded().errors.as_slice() else { panic!("{:?}", draft.loaded()) };
        assert_eq!(
            error.to_string(),
            "spec `b` at line 11 column 11: `ignore` differs from that of spec `a`, which syncs the same `localpath`: \
             give both the same patterns"
        );
        assert_eq!(draft.config().spec.len(), 1);
    }

    #[test]
    fn patterns_of_all_specs_of_a_directory_can_change_one_by_one() {
        let mut draft = draft("");
        for name in ["a", "b"] {
            draft.add(&spec(name)).unwrap();
        }
        for name in ["a", "b"] {
            assert!(draft.ignore(name, &["x".to_owned()]).unwrap());
        }
        assert_eq!((draft.config().spec.len(), draft.loaded().errors.len()), (2, 0));
    }

    #[test]
    fn bad_specs_survive_an_edit_and_can_be_removed() {
        let text = "spec:\n- name: bad\n  reload: 7\n- 5\n";
        let mut draft = draft(text);
        draft.add(&spec("a")).unwrap();
        assert!(draft.text().starts_with(text));
        assert_eq!(draft.loaded().errors.len(), 2);
        assert!(draft.remove("bad").unwrap());
        assert_eq!(draft.loaded().errors.len(), 1);
    }

    #[test]
    fn patterns_are_added_where_the_spec_stands() {
        let with =
            OLD_FILE.replace("  reload: true\n", "  reload: true # yes\n  ignore: ['*.log'] # noise\n");
        for (text, before) in [(OLD_FILE.to_owned(), 0), (with, 1)] {
            let mut draft = draft(&text);
            draft.add(&spec("b")).unwrap();
            let added = ["/node_modules".to_owned(), "/it's \\*".to_owned()];
            assert!(draft.ignore("sunny-husky", &added).unwrap());
            assert!(draft.ignore("sunny-husky", &added[..1]).unwrap(), "and not twice");
            let patterns = &draft.config().spec[0].ignore;
            assert_eq!(patterns[before..], added);
            assert_eq!(patterns.len(), before + 2);
            assert!(draft.config().spec[1].ignore.is_empty());
            assert!(!draft.lost_comments() && !draft.ignore("nobody", &added).unwrap());
            assert!(before == 0 || draft.text().contains("] # noise\n"));
        }
    }

    #[test]
    fn no_file_breaks_it_and_what_is_taken_out_takes_nothing_with_it() {
        let file = "# mine\napikey: k\ncontext: c\nspec:\n# the first\n- name: one\n  selector:\n  - app=a\n  localpath: /l\n  \
            remotepath: /r\n  ignore: ['*.log', a]\n- {name: two, pod: p, localpath: /m, remotepath: \"/s\"}\n";
        ksync_mangle::each_text(&[OLD_FILE, file], super::takes_out_one_spec);
    }
}
