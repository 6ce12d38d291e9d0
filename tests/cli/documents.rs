//! The documents against the repository and the program: a link leads somewhere, and what they tell people to type exists.
//!
//! Invariant: each check counts its findings, so that a pattern that matches nothing any more is a failure too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::bench::Bench;

/// The README is the first page, not the manual.
const README_WORDS: usize = 1000;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All documents, with their text.
fn documents() -> BTreeMap<PathBuf, String> {
    let mut paths: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
            .map(|name| root().join(name))
            .into();
    for dir in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(dir)).unwrap();
        paths.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == "md")),
        );
    }
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// A document's prose without code, and its code: spans, and lines of fenced blocks.
struct Parts {
    prose: String,
    code: Vec<String>,
}

fn parts(text: &str) -> Parts {
    let (mut prose, mut code, mut fenced) = (String::new(), Vec::new(), false);
    for line in text.lines() {
        match (line.starts_with("```"), fenced) {
            (true, _) => fenced = !fenced,
            (false, true) => code.push(line.to_owned()),
            (false, false) => prose = prose + line + "\n",
        }
    }
    assert!(!fenced, "a fence is not closed");
    let (mut rest, mut bare) = (prose.as_str(), String::new());
    while let Some(at) = rest.find('`') {
        bare.push_str(&rest[..at]);
        let marks = &rest[at..at + rest[at..].bytes().take_while(|byte| *byte == b'`').count()];
        rest = &rest[at + marks.len()..];
        let end = rest.find(marks).expect("a code span ends");
        code.push(rest[..end].replace('\n', " "));
        rest = &rest[end + marks.len()..];
    }
    Parts { prose: bare + rest, code }
}

/// A heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let (mut broken, mut found) = (Vec::new(), 0);
    for (path, text) in &documents {
        let prose = parts(text).prose;
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            found += 1;
            if link.contains("://") {
                continue;
            }
            let (file, anchor) =
                link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let known = match (target.canonicalize(), anchor) {
                (Ok(target), Some(anchor)) => {
                    documents.get(&target).is_some_and(|text| anchors(text).contains(anchor))
                }
                (there, _) => there.is_ok(),
            };
            if !known {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(found > 30, "{found} links");
}

#[test]
fn every_make_target_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let is_name =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let rules = makefile.lines().filter_map(|line| line.split_once(':')).map(|(names, _)| names);
    let targets: BTreeSet<&str> =
        rules.flat_map(str::split_whitespace).filter(|name| is_name(name)).collect();
    let (mut unknown, mut found) = (Vec::new(), 0);
    for (path, text) in documents() {
        for code in parts(&text).code {
            let words: Vec<&str> =
                code.split_whitespace().map(|word| word.trim_end_matches([',', ';'])).collect();
            for pair in words.windows(2).filter(|pair| pair[0] == "make" && is_name(pair[1])) {
                found += 1;
                if !targets.contains(pair[1]) {
                    unknown.push(format!("{}: make {}", path.display(), pair[1]));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(found > 20, "{found} targets");
}

/// The commands of the program, and the flags of each, as the help has them.
fn commands() -> BTreeMap<String, BTreeSet<String>> {
    let help = |args: &[&str]| {
        let output = Bench::new().command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help(&["--help"]);
    let listed =
        all.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names =
        listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.map(|name| (name.to_owned(), flags(&help(&[name, "--help"])))).collect()
}

/// The flags in lines that begin with one.
fn flags(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    lines.flat_map(|line| line.split([' ', ',', '=', '[']).filter_map(flag)).map(str::to_owned).collect()
}

/// The flag that a word is, without its value.
fn flag(word: &str) -> Option<&str> {
    let word = word.split(['=', '[', ',']).next()?.trim_end_matches(['.', ')', ';']);
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == 'A').then_some(word)
}

#[test]
fn every_command_and_flag_exists() {
    let commands = commands();
    assert!(commands.len() > 10 && commands["create"].contains("--selector"), "{commands:?}");
    let any: BTreeSet<String> = commands.values().flatten().cloned().collect();
    let (mut unknown, mut found) = (Vec::new(), 0);
    for (path, text) in documents() {
        for code in parts(&text).code {
            let shown = code.split(" #").next().unwrap_or_default();
            let words: Vec<&str> =
                shown.split([' ', '[', ']', '(', ')']).map(|word| word.trim_matches(['`', ','])).collect();
            let typed = words.windows(2).position(|pair| pair == ["kubectl", "ksync"]);
            let (verb, rest) = match (typed, words.first()) {
                (Some(at), _) => (words.get(at + 2), &words[at + 2..]),
                (None, Some(first)) if commands.contains_key(*first) => (Some(first), &words[..]),
                // Flags by themselves; other programs have their own.
                (None, Some(first)) if first.starts_with("--") => (None, &words[..]),
                _ => continue,
            };
            let verb = verb.filter(|verb| verb.starts_with(|c: char| c.is_ascii_lowercase() || c == '_'));
            let known = match verb {
                Some(verb) => commands.get(*verb),
                None => Some(&any),
            };
            found += 1;
            let missing = rest.iter().filter_map(|word| flag(word));
            match known {
                None => unknown.push(format!("{}: `{code}`", path.display())),
                Some(known) => unknown.extend(
                    missing
                        .filter(|flag| !known.contains(*flag))
                        .map(|flag| format!("{}: {flag} of `{code}`", path.display())),
                ),
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(found > 60, "{found} commands");
}

#[test]
fn the_readme_is_short_and_has_every_command() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let words = readme.split_whitespace().count();
    assert!(words <= README_WORDS, "{words} words");
    let code = parts(&readme).code;
    let firsts: BTreeSet<&str> = code.iter().filter_map(|code| code.split(' ').next()).collect();
    let missing: Vec<String> =
        commands().into_keys().filter(|name| !firsts.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The text of a `.rs` file as the compiler reads its strings: a backslash at a line's end joins it with the next.
fn read_sources(dir: &Path, all: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut lines = text.split("\\\n");
            all.push_str(lines.next().unwrap_or_default());
            lines.for_each(|line| all.push_str(line.trim_start()));
        }
    }
}

/// Those of all crates.
fn sources() -> String {
    let mut all = String::new();
    let members = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    members.map(|path| path.join("src")).chain([root().join("src")]).filter(|dir| dir.is_dir()).for_each(
        |dir| {
            read_sources(&dir, &mut all);
        },
    );
    all
}

/// The stretches of a sentence that are the same whatever it speaks of.
fn stretches(sentence: &str) -> Vec<String> {
    let value = |word: &&str| {
        word.contains(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit()) || word.contains('`')
    };
    let mut found = vec![String::new()];
    for part in sentence.split("...") {
        for word in part.split_whitespace() {
            if value(&word) {
                found.push(String::new());
            } else {
                let last = found.last_mut().unwrap();
                if !last.is_empty() {
                    last.push(' ');
                }
                last.push_str(word);
            }
        }
        found.push(String::new());
    }
    found
        .into_iter()
        .map(|text| text.trim_end_matches([':', ',', ';', ' ']).to_owned())
        .filter(|text| text.len() > 8)
        .collect()
}

#[test]
fn the_sentences_of_troubleshooting_are_the_programs() {
    let text = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let (sources, mut unknown, mut found) = (sources(), Vec::new(), 0);
    // The first column of each table after that of the status words.
    let tables = text.split_once("\n## Waiting").unwrap().1;
    for row in tables.lines().filter(|line| line.starts_with("| `")) {
        let column = row[2..].split(" | ").next().unwrap_or_default();
        for sentence in parts(column).code {
            for stretch in stretches(&sentence) {
                found += 1;
                if !sources.contains(&stretch) {
                    unknown.push(format!("`{stretch}` of `{sentence}`"));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(found > 50, "{found} stretches");
}

/// The code spans in the first column of the tables below a heading, up to the next one.
fn first_column(text: &str, heading: &str) -> Vec<String> {
    let below = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no `{heading}`")).1;
    let section = below.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| parts(&format!("`{}", row.split(" | ").next().unwrap_or_default())).code).collect()
}

/// A claim without its test is none, and a test that `make attacks` does not run is none of these.
#[test]
fn each_claim_of_security_has_a_test_that_make_attacks_runs() {
    let text = document("SECURITY.md");
    let claims = text.split_once("\n## What they can't do\n").unwrap().1.split("\n## ").next().unwrap();
    let makefile = document("Makefile");
    let filters = makefile.lines().find_map(|line| line.strip_prefix("ATTACKS := ")).unwrap();
    let runs = |name: &str| filters.split(',').any(|filter| name.contains(filter));
    let rooms = sources_below("tests/cluster/cases") + &document("tests/cluster/cases.rs");
    let (mut wrong, mut found) = (Vec::new(), 0);
    for row in claims.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| somebody")) {
        let tests = parts(row.trim_end_matches(" |").rsplit(" | ").next().unwrap()).code;
        if tests.is_empty() {
            wrong.push(format!("no test: {row}"));
        }
        for test in tests {
            found += 1;
            let (place, name) = test.rsplit_once("::").unwrap_or_else(|| panic!("`{test}` is no test"));
            let known = if Path::new(place).extension().is_some_and(|e| e == "rs") {
                root().join(place).is_file() && document(place).contains(&format!("fn {name}("))
            } else {
                let room = rooms.contains(&format!("(\"{place}\", "));
                room && rooms.contains(&format!("Case::new(\"{name}\", ")) && runs(&test)
            };
            if !known {
                wrong.push(format!("`{test}` is not there, or `make attacks` does not run it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found > 30, "{found} tests");
}

/// The text of all sources below a directory.
fn sources_below(dir: &str) -> String {
    let mut all = String::new();
    read_sources(&root().join(dir), &mut all);
    all
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn the_map_has_every_room_and_no_other() {
    let map = document("ARCHITECTURE.md");
    let mut wrong = Vec::new();
    for (heading, dir) in [("### Plugin (`src/`)", "src"), ("### radar (`radar/src/`)", "radar/src")] {
        let named = first_column(&map, heading);
        let files = fs::read_dir(root().join(dir)).unwrap().map(|entry| entry.unwrap().path());
        let rooms = files.filter(|path| path.extension().is_some_and(|e| e == "rs"));
        for room in rooms.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()) {
            let has = |name: &String| *name == room || name.starts_with(&format!("{room}/"));
            if !matches!(room.as_str(), "main" | "lib") && !named.iter().any(has) {
                wrong.push(format!("`{room}` of {dir} is not named"));
            }
        }
        let missing = named.iter().filter(|name| !root().join(dir).join(format!("{name}.rs")).is_file());
        wrong.extend(missing.map(|name| format!("`{name}` is not in {dir}")));
    }
    // Rooms that the text names, such as `folder/plan` and `radar/sync/scan`.
    let is_path = |span: &&String| {
        span.contains('/')
            && span.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'/' | b'_'))
            && !span.ends_with('/')
    };
    for span in parts(&map).code.iter().filter(is_path) {
        let (house, rest) = span.split_once('/').unwrap();
        let file = match house {
            "radar" => format!("radar/src/{rest}.rs"),
            house if root().join(format!("src/{house}.rs")).is_file() => format!("src/{span}.rs"),
            _ => continue,
        };
        if !root().join(&file).is_file() {
            wrong.push(format!("`{span}` is not {file}"));
        }
    }
    let manifest = document("Cargo.toml");
    let members = manifest.split_once("\nmembers = [").unwrap().1.split(']').next().unwrap();
    let members: BTreeSet<&str> =
        members.split('"').skip(1).step_by(2).filter(|name| !matches!(*name, "." | "radar")).collect();
    let crates = first_column(&map, "### Crates beside them");
    if crates.iter().map(String::as_str).collect::<BTreeSet<_>>() != members {
        wrong.push(format!("crates {crates:?} are not {members:?}"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_status_words_stand_in_the_programs_order() {
    // `get` alone says that nothing runs.
    let others = |words: Vec<String>| words.into_iter().filter(|word| word != "stopped").collect::<Vec<_>>();
    let source = document("src/status.rs");
    let arms = source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""));
    let words = others(arms.map(|(_, rest)| rest.split('"').next().unwrap_or_default().to_owned()).collect());
    assert!(words.len() > 5, "{words:?}");
    assert_eq!(others(first_column(&document("docs/troubleshooting.md"), "## Status words")), words);
}

#[test]
fn every_key_of_a_spec_is_documented() {
    let source = document("src/config/spec.rs");
    let fields = source
        .split_once("pub struct SpecDetails {")
        .or_else(|| source.split_once("struct SpecDetails {"))
        .unwrap()
        .1;
    let (mut keys, mut renamed) = (BTreeSet::new(), None);
    for line in fields.lines().take_while(|line| *line != "}").map(str::trim) {
        if let Some((_, rest)) = line.split_once("rename = \"") {
            renamed = rest.split('"').next().map(str::to_owned);
        } else if let Some((name, _)) =
            line.trim_start_matches("pub(crate) ").trim_start_matches("pub ").split_once(": ")
            && !line.starts_with(['/', '#'])
        {
            keys.insert(renamed.take().unwrap_or_else(|| name.to_owned()));
        }
    }
    assert!(keys.len() > 10, "{keys:?}");
    let documented = first_column(&document("docs/configuration.md"), "### Keys of a spec");
    assert_eq!(documented.into_iter().collect::<BTreeSet<_>>(), keys);
}
