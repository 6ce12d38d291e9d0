use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::PathBuf,
    sync::Arc,
};

use ksync_merge::{Outcome, State};
use ksync_tree::{Entry, Ignore, Kind, Owner, Root};

use crate::{Applied, Content, Depth, Driver, Endpoint, Job, News, Options, Output, apply, audit};

struct Here {
    dir: tempfile::TempDir,
    endpoint: Endpoint,
}

impl Here {
    fn new(patterns: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let options = Options {
            ignore: Ignore::with_defaults(&patterns).unwrap(),
            exclude: vec!["volume".to_owned()],
            who: None,
            owner: Owner::AsIs,
            inline: 100,
        };
        let endpoint = Endpoint::new(Root::open(dir.path()).unwrap(), options);
        Self { dir, endpoint }
    }

    /// Another agent at work in the same directory.
    fn once_more(&self) -> Endpoint {
        Endpoint::new(Root::open(self.dir.path()).unwrap(), self.endpoint.options.clone())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn look(&mut self, path: &str) -> Vec<String> {
        let news = self.endpoint.look(path, Depth::Tree);
        told(&news)
    }

    fn state(&self, path: &str) -> State {
        self.endpoint.exact(path).map(|(entry, _)| entry)
    }

    fn job(&mut self, path: &str, old: State, new: Option<(&str, Kind)>) -> Applied {
        let content = match new {
            Some((text, Kind::File)) => Content::Whole(Arc::from(text.as_bytes())),
            _ => Content::None,
        };
        let new = new.map(|(text, kind)| Arc::new(entry(path, text, kind)));
        apply(&mut self.endpoint, Job { path: Arc::from(path), old, new, content, keep: false })
    }

    fn paths(&self) -> Vec<String> {
        self.endpoint.entries().map(|(path, _)| path.to_string()).collect()
    }
}

fn entry(path: &str, text: &str, kind: Kind) -> Entry {
    Entry {
        path: path.to_owned(),
        kind,
        size: if kind == Kind::File { text.len() as u64 } else { 0 },
        mtime_ns: 1_000_000_000,
        mode: if kind == Kind::Dir { 0o755 } else { 0o644 },
        hash: (kind == Kind::File).then(|| ksync_merge_hash(text)),
        target: (kind == Kind::Symlink).then(|| text.as_bytes().to_vec()),
    }
}

fn ksync_merge_hash(text: &str) -> [u8; 32] {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), text).unwrap();
    let read = ksync_tree::read(&Root::open(dir.path()).unwrap(), "f", 0).unwrap().unwrap();
    read.entry.hash.unwrap()
}

fn told(news: &[News]) -> Vec<String> {
    news.iter().map(|news| format!("{}{}", if news.state.is_some() { "" } else { "-" }, news.path)).collect()
}

fn done(applied: &Applied) -> bool {
    matches!(applied.outcome, Outcome::Done(_))
}

fn refused(applied: &Applied) -> bool {
    matches!(applied.outcome, Outcome::Refused(_))
}

#[test]
fn changes_are_told_once_parents_first_and_what_goes_from_below() {
    let mut here = Here::new(&[]);
    here.write("a/b/f", "1");
    symlink("b", here.at("a/link")).unwrap();
    assert_eq!(here.look("a/b/f"), ["a", "a/b", "a/link", "a/b/f"]);
    assert_eq!(here.look(""), Vec::<String>::new());
    here.write("a/b/f", "22");
    let news = here.endpoint.look("a/b/f", Depth::Entry);
    assert_eq!(news[0].content.as_deref(), Some(b"22".as_slice()));
    fs::set_permissions(here.at("a/b/f"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(here.look("a/b/f"), ["a/b/f"]);
    fs::remove_dir_all(here.at("a")).unwrap();
    assert_eq!(here.look("a/b/f"), ["-a/b/f"]);
    assert_eq!(here.look("a"), ["-a/link", "-a/b", "-a"]);
    assert_eq!(here.endpoint.digest(), ksync_merge::Digest::default());
}

#[test]
fn a_kind_that_changes_is_the_end_of_all_below() {
    let mut here = Here::new(&[]);
    here.write("d/f", "1");
    here.look("");
    fs::remove_dir_all(here.at("d")).unwrap();
    here.write("d", "a file");
    assert_eq!(here.look("d"), ["-d/f", "d"]);
    fs::remove_file(here.at("d")).unwrap();
    here.write("d/g", "1");
    assert_eq!(here.look("d/g"), ["-d", "d", "d/g"]);
    // What is not synced for its kind is as good as gone.
    fs::remove_dir_all(here.at("d")).unwrap();
    std::os::unix::net::UnixListener::bind(here.at("d")).unwrap();
    assert_eq!(here.look("d"), ["-d/g", "-d"]);
    assert_eq!(here.endpoint.skipped().keys().collect::<Vec<_>>(), ["d"]);
}

#[test]
fn what_is_left_out_is_never_told_and_what_is_taken_back_in_is() {
    let mut here = Here::new(&["!/build/keep", "/build", "*.log"]);
    for path in ["build/drop", "build/keep/f", "x.log", "volume/f", "__pycache__/c", ".ksync.1.tmp", "f"] {
        here.write(path, "1");
    }
    assert_eq!(here.look(""), ["f", "build", "build/keep", "build/keep/f"]);
    here.write("build/drop2", "1");
    here.write("build/keep/g", "1");
    assert_eq!(here.look("build/drop2"), Vec::<String>::new());
    assert_eq!(here.look("build/keep/g"), ["build/keep/g"]);
}

#[test]
fn the_audit_finds_what_no_event_told_of() {
    let mut here = Here::new(&[]);
    for number in 0..30 {
        here.write(&format!("{}/{number}", number % 5), "1");
    }
    here.look("");
    // As through another hard link, or a mapping: same size, and the time set back.
    let meta = fs::metadata(here.at("3/3")).unwrap();
    fs::write(here.at("3/3"), "2").unwrap();
    let file = fs::File::options().write(true).open(here.at("3/3")).unwrap();
    file.set_modified(meta.modified().unwrap()).unwrap();
    drop(file);
    here.write("4/new/f", "1");
    fs::remove_file(here.at("0/5")).unwrap();
    let mut found = Vec::new();
    let mut steps = 0;
    loop {
        let (news, over) = audit(&mut here.endpoint, 4);
        found.extend(told(&news));
        steps += 1;
        if over {
            break;
        }
    }
    found.sort();
    assert_eq!(found, ["-0/5", "3/3", "4/new", "4/new/f"]);
    assert!(steps > 5, "a few at a time: {steps}");
    let (news, _) = audit(&mut here.endpoint, 1000);
    assert_eq!(told(&news), Vec::<String>::new());
}

#[test]
fn what_can_not_be_read_is_not_gone() {
    let mut here = Here::new(&[]);
    here.write("f", "1");
    here.look("");
    // Deeper than anything can be opened, whoever asks.
    let mut deep = here.at("deep");
    for _ in 0..210 {
        fs::create_dir(&deep).unwrap();
        deep.push("d");
    }
    here.look("");
    assert_eq!(here.endpoint.skipped().len(), 1, "{:?}", here.endpoint.skipped());
    fs::remove_dir_all(here.at("deep")).unwrap();
    here.look("");
    assert_eq!((here.endpoint.skipped().len(), here.paths()), (0, vec!["f".to_owned()]));
}

#[test]
#[cfg(target_os = "linux")]
fn what_may_not_be_read_is_named_and_is_neither_here_nor_gone_until_it_may() {
    let mode = |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    ksync_skip::by_modes_alone(|| {
        let mut here = Here::new(&[]);
        for path in ["known", "new", "d/f", "open"] {
            here.write(path, "1");
        }
        mode(here.at("new"), 0);
        mode(here.at("d"), 0);
        let named = |here: &Here| here.endpoint.skipped().clone().into_iter().collect::<Vec<_>>();
        assert_eq!(here.look(""), ["d", "known", "open"]);
        for ((path, reason), expected) in named(&here).iter().zip(["d", "new"]) {
            assert_eq!(path, expected);
            assert!(reason.contains("Permission denied"), "{reason}");
        }
        // Whatever else is looked at.
        for _ in 0..6 {
            let (news, _) = audit(&mut here.endpoint, 1);
            assert_eq!((told(&news), named(&here).len()), (vec![], 2));
        }
        here.endpoint.look("d", Depth::Entry);
        here.endpoint.look("", Depth::Entry);
        assert_eq!(named(&here).len(), 2);
        // One that was read before is still what it was, as far as anybody knows.
        here.write("known", "22");
        mode(here.at("known"), 0);
        assert_eq!((here.look("known"), named(&here).len()), (vec![], 3));
        for (path, now, told) in [("new", 0o400, "new"), ("known", 0o644, "known"), ("d", 0o755, "d d/f")] {
            mode(here.at(path), now);
            assert_eq!(here.look(path).join(" "), told);
        }
        assert_eq!((named(&here), here.paths().len()), (vec![], 5));
    });
}

#[test]
fn jobs_replace_what_is_known_and_nothing_else() {
    let mut here = Here::new(&[]);
    assert!(refused(&here.job("d/f", None, Some(("1", Kind::File)))), "its directory is not there");
    assert!(done(&here.job("d", None, Some(("", Kind::Dir)))));
    assert!(done(&here.job("d/f", None, Some(("1", Kind::File)))));
    assert_eq!(here.look(""), Vec::<String>::new(), "what was written is known");
    let one = here.state("d/f");
    here.write("d/f", "somebody's");
    let applied = here.job("d/f", one.clone(), Some(("2", Kind::File)));
    assert!(refused(&applied));
    assert_eq!(told(&applied.news), ["d/f"]);
    assert_eq!(fs::read_to_string(here.at("d/f")).unwrap(), "somebody's");
    let now = here.state("d/f");
    assert!(done(&here.job("d/f", now, Some(("2", Kind::File)))));
    assert!(refused(&here.job("d", here.state("d"), None)), "it is not empty");
    assert!(done(&here.job("d/f", here.state("d/f"), None)));
    assert!(done(&here.job("d", here.state("d"), None)));
    assert_eq!(fs::read_dir(here.dir.path()).unwrap().count(), 0);
}

#[test]
fn attributes_alone_leave_the_file_where_it_is() {
    let mut here = Here::new(&[]);
    here.job("f", None, Some(("1", Kind::File)));
    let ino = fs::metadata(here.at("f")).unwrap().ino();
    let old = here.state("f");
    let new = Some(Arc::new(Entry { mode: 0o600, mtime_ns: 5, ..Entry::clone(old.as_ref().unwrap()) }));
    let job = |old| Job { path: Arc::from("f"), old, new: new.clone(), content: Content::None, keep: false };
    assert!(done(&apply(&mut here.endpoint, job(old.clone()))));
    let meta = fs::metadata(here.at("f")).unwrap();
    assert_eq!((meta.ino(), meta.mode() & 0o777, meta.mtime_nsec()), (ino, 0o600, 5));
    // Written meanwhile: its new content stays, and is told of.
    here.write("f", "2");
    let written = job(here.state("f"));
    assert!(refused(&apply(&mut here.endpoint, written)));
    assert_eq!(fs::read_to_string(here.at("f")).unwrap(), "2");
}

#[test]
fn junk_goes_with_its_directory_and_what_a_person_has_named_stays() {
    let mut here = Here::new(&["*.log"]);
    here.write("pkg/m.py", "1");
    here.write("pkg/__pycache__/m.pyc", "1");
    here.write("pkg/.m.py.swp", "1");
    here.look("");
    here.job("pkg/m.py", here.state("pkg/m.py"), None);
    let applied = here.job("pkg", here.state("pkg"), None);
    assert!(done(&applied) && !applied.shell);
    assert!(!here.at("pkg").exists());

    here.write("pkg/m.py", "1");
    here.write("pkg/__pycache__/m.pyc", "1");
    here.write("pkg/app.log", "of worth");
    here.look("");
    here.job("pkg/m.py", here.state("pkg/m.py"), None);
    let applied = here.job("pkg", here.state("pkg"), None);
    assert!(done(&applied) && applied.shell);
    assert_eq!(fs::read_to_string(here.at("pkg/app.log")).unwrap(), "of worth");
    assert!(!here.at("pkg/__pycache__").exists());
    // It counts as gone until something comes into it.
    assert_eq!((here.look(""), here.paths()), (vec![], vec![]));
    here.write("pkg/new.py", "1");
    assert_eq!(here.look("pkg/new.py"), ["pkg", "pkg/new.py"]);

    // A repository is never junk.
    here.write("repo/.git/HEAD", "1");
    here.look("");
    let applied = here.job("repo", here.state("repo"), None);
    assert!(done(&applied) && applied.shell && here.at("repo/.git/HEAD").exists());
    // And its shell is a directory again when one is sent.
    assert!(done(&here.job("repo", None, Some(("", Kind::Dir)))));
    assert_eq!(here.paths(), ["pkg", "pkg/new.py", "repo"]);
}

#[test]
fn what_a_person_says_goes_with_its_directory_does() {
    let mut here = Here::new(&["(?d)cache", "*.log"]);
    here.write("pkg/m.py", "1");
    here.write("pkg/cache/a", "1");
    here.look("");
    here.job("pkg/m.py", here.state("pkg/m.py"), None);
    let applied = here.job("pkg", here.state("pkg"), None);
    assert!(done(&applied) && !applied.shell && !here.at("pkg").exists());
}

#[test]
fn a_displaced_file_is_told_of_when_nobody_writes_it_any_more() {
    let mut here = Here::new(&[]);
    here.write("f", "old");
    here.look("");
    let mut writer = fs::File::options().write(true).open(here.at("f")).unwrap();
    let applied = here.job("f", here.state("f"), Some(("new", Kind::File)));
    let held = applied.held.expect("somebody has it open");
    assert!(here.endpoint.judge().is_empty());
    std::io::Write::write_all(&mut writer, b"OLD").unwrap();
    drop(writer);
    let files = here.endpoint.judge();
    assert_eq!(files.len(), 1);
    let file = &files[0];
    assert_eq!((file.number, file.path.as_str(), file.changed), (held, "f", true));
    assert_eq!(fs::read_to_string(here.at(&file.at)).unwrap(), "OLD");
    assert!(here.endpoint.judge().is_empty(), "once");
    here.endpoint.release(held).unwrap();
    assert!(!here.at(&file.at).exists());
    assert_eq!(fs::read_to_string(here.at("f")).unwrap(), "new");
}

/// What is lost of a write that no event has told of yet, and of one that comes after the file was replaced.
fn lost(off: bool) -> Vec<&'static str> {
    let _off = off.then(ksync_tree::guards_off);
    let mut lost = Vec::new();
    let mut here = Here::new(&[]);
    let holds = |here: &Here, text: &str| {
        let all = fs::read_dir(here.dir.path()).unwrap();
        all.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).any(|found| found == text)
    };
    for path in ["replaced", "removed", "open"] {
        here.write(path, "old");
    }
    here.look("");
    here.write("replaced", "theirs");
    here.job("replaced", here.state("replaced"), Some(("new", Kind::File)));
    if !holds(&here, "theirs") {
        lost.push("replaced");
    }
    here.write("removed", "theirs too");
    here.job("removed", here.state("removed"), None);
    if !holds(&here, "theirs too") {
        lost.push("removed");
    }
    let mut writer = fs::File::options().append(true).open(here.at("open")).unwrap();
    here.job("open", here.state("open"), Some(("new", Kind::File)));
    std::io::Write::write_all(&mut writer, b"+late").unwrap();
    drop(writer);
    here.endpoint.judge();
    if !holds(&here, "old+late") {
        lost.push("open");
    }
    lost
}

#[test]
fn compare_and_swap_alone_keeps_what_others_write_meanwhile() {
    assert_eq!(lost(false), Vec::<&str>::new());
    assert_eq!(lost(true), ["replaced", "removed", "open"]);
}

#[test]
fn a_displaced_file_is_left_to_the_one_who_has_displaced_it() {
    let mut here = Here::new(&[]);
    here.write("d/f", "old");
    here.look("");
    let mut other = here.once_more();
    other.look("", Depth::Tree);
    let (old, dir) = (here.state("d/f"), here.state("d"));
    let remove =
        |path: &str, old, keep| Job { path: Arc::from(path), old, new: None, content: Content::None, keep };
    let held = apply(&mut here.endpoint, remove("d/f", old.clone(), true)).held.expect("to be kept");
    assert!(done(&apply(&mut other, remove("d/f", old, false))));
    let refused = apply(&mut other, remove("d", dir.clone(), false));
    assert!(matches!(refused.outcome, Outcome::Failed), "{refused:?}");
    assert_eq!(here.endpoint.judge().len(), 1);
    here.endpoint.release(held).unwrap();
    assert!(done(&apply(&mut other, remove("d", dir, false))));
    assert_eq!(fs::read_dir(here.dir.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn what_is_nested_too_deep_is_told_of_while_it_is_there() {
    let mut here = Here::new(&[]);
    let deep = format!("{}f", "d/".repeat(300));
    here.write(&deep, "deep");
    assert!(here.look("d").len() >= 200);
    assert_eq!(here.endpoint.skipped().len(), 1);
    // Its own event comes when it is gone, or while it is not.
    for _ in 0..2 {
        assert_eq!(here.look(&deep), Vec::<String>::new());
        let _ = fs::remove_dir_all(here.at("d"));
    }
    here.look("d");
    here.look(&deep);
    assert!(here.endpoint.skipped().is_empty() && here.endpoint.is_empty());
}

/// In a tree that the audit takes half a minute for.
#[test]
fn a_write_through_a_name_elsewhere_is_told_of_soon() {
    let (here, outside) = (Here::new(&["/left-out"]), tempfile::tempdir_in("/tmp").unwrap());
    for dir in 0..200 {
        here.write(&format!("d{dir:03}/f"), "1");
    }
    let (first, last) = ("d000/f", "d199/f");
    fs::hard_link(here.at(last), outside.path().join("elsewhere")).unwrap();
    fs::create_dir(here.at("left-out")).unwrap();
    fs::hard_link(here.at(first), here.at("left-out/name")).unwrap();
    let (outputs_tx, outputs) = std::sync::mpsc::channel();
    let Here { dir, endpoint } = here;
    let _driver = Driver::start(endpoint, "test", move |output| outputs_tx.send(output).is_ok()).unwrap();
    let told = |wanted: &str| {
        loop {
            match outputs.recv_timeout(std::time::Duration::from_secs(10)).expect(wanted) {
                Output::News(news) if news.iter().any(|news| *news.path == *wanted) => break,
                _ => {}
            }
        }
    };
    told(last);
    fs::write(outside.path().join("elsewhere"), "22").unwrap();
    told(last);
    // One that is left out by a pattern is elsewhere, too; the audit was at the first directory before.
    fs::write(dir.path().join("left-out/name"), "333").unwrap();
    told(first);
}

#[test]
fn a_write_through_one_name_is_told_of_for_all_names_of_the_file() {
    let mut here = Here::new(&[]);
    here.write("f", "1");
    here.look("");
    fs::create_dir(here.at("d")).unwrap();
    for name in ["g", "d/h"] {
        fs::hard_link(here.at("f"), here.at(name)).unwrap();
    }
    assert_eq!(here.look(""), ["d", "g", "d/h"]);
    fs::write(here.at("g"), "23").unwrap();
    let mut told = here.look("g");
    told.sort();
    assert_eq!(told, ["d/h", "f", "g"]);
    // A name that is another file's by now is none.
    fs::remove_file(here.at("f")).unwrap();
    here.write("f", "4");
    here.look("");
    fs::write(here.at("g"), "567").unwrap();
    let mut told = here.look("g");
    told.sort();
    assert_eq!(told, ["d/h", "g"]);
}

/// A hint leads to the same as a look into the directory.
#[test]
fn a_name_that_is_not_composed_is_skipped_however_it_is_found() {
    let mut here = Here::new(&[]);
    here.look("");
    let (name, below) = ("gro\u{308}ße", "d/gro\u{308}ße/f");
    here.write(name, "x");
    here.write(below, "x");
    assert_eq!(here.look(name), Vec::<String>::new());
    let skipped = &here.endpoint.skipped()[name];
    assert!(skipped.ends_with("its name is not in Unicode's composed form (NFC)"), "{skipped}");
    assert_eq!(here.look(below).len(), 1, "`d`, and nothing below it");
    assert_eq!(here.look(below), Vec::<String>::new());
    fs::remove_file(here.at(name)).unwrap();
    here.look("");
    assert_eq!(here.paths(), ["d"]);
    assert_eq!(here.endpoint.skipped().keys().collect::<Vec<_>>(), ["d/gro\u{308}ße"]);
}
