use super::*;
use crate::copy::stage_copy;
use crate::root::Owner;
use crate::stat::stat_entry;
use crate::write::ensure_parent;
use std::cell::{Cell, RefCell};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

type Deed = Box<dyn FnOnce()>;

thread_local! {
    static DEED: RefCell<Option<(Point, Deed)>> = const { RefCell::new(None) };
    static UNJUDGED: Cell<bool> = const { Cell::new(false) };
}

/// Fails where the next judgement is to.
pub(super) fn judging(path: &str) -> Result<(), Error> {
    if UNJUDGED.take() { Err(Error::io("read", path, Errno::IO)) } else { Ok(()) }
}

pub(super) fn between(point: Point) {
    let deed = DEED.with_borrow_mut(|deed| deed.take_if(|(at, _)| *at == point));
    if let Some((_, deed)) = deed {
        deed();
    }
}

/// Has `deed` be done at this point of the next swap.
fn at(point: Point, deed: impl FnOnce() + 'static) {
    DEED.set(Some((point, Box::new(deed))));
}

/// Copies the file or symlink at `from_path` to `to_path`, while what stands there is the `known` entry.
fn copy_known(
    from: &Root,
    from_path: &str,
    to: &Root,
    to_path: &str,
    known: Known<'_>,
) -> Result<Swapped, Error> {
    let (dir, name) = ensure_parent(to, to_path, to.owner(), |_| 0o755)?;
    let temp = stage_copy(from, from_path, &dir, name, to_path, to.owner())?;
    let held = displaced_name();
    rustix::fs::renameat(&dir, temp.as_str(), &dir, held.as_str())
        .map_err(|e| Error::io("stage", to_path, e))?;
    place(&dir, &held, name, to_path, known, Old::Dropped)
}

struct Here {
    dir: tempfile::TempDir,
    incoming: tempfile::TempDir,
    root: Root,
    from: Root,
}

impl Here {
    /// `f` holds "old", and "new" waits to replace it.
    fn new() -> Self {
        let (dir, incoming) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join("f"), "old").unwrap();
        fs::write(incoming.path().join("f"), "new").unwrap();
        let (root, from) = (Root::open(dir.path()).unwrap(), Root::open(incoming.path()).unwrap());
        Self { dir, incoming, root, from }
    }

    fn f(&self) -> PathBuf {
        self.dir.path().join("f")
    }

    fn known(&self) -> Entry {
        stat_entry(&self.root, "f", true).unwrap().unwrap()
    }

    fn swap(&self, known: &Entry) -> Swapped {
        copy_known(&self.from, "f", &self.root, "f", Known::Entry(known)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let all = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> = all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn text(&self) -> String {
        fs::read_to_string(self.f()).unwrap()
    }
}

fn read(displaced: &Displaced, here: &Here) -> String {
    fs::read_to_string(here.dir.path().join(displaced.at())).unwrap()
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn what_is_known_is_replaced_and_removed() {
    let here = Here::new();
    let known = here.known();
    assert!(matches!(here.swap(&known), Swapped::Done));
    assert_eq!((here.text(), here.names()), ("new".to_owned(), vec!["f".to_owned()]));
    assert!(matches!(here.swap(&known), Swapped::Refused), "it is another one now");
    assert!(matches!(remove_known(&here.root, "f", &known, Old::Dropped).unwrap(), Swapped::Refused));
    assert!(matches!(remove_known(&here.root, "f", &here.known(), Old::Dropped).unwrap(), Swapped::Done));
    assert_eq!(here.names(), Vec::<String>::new());
    assert!(
        matches!(remove_known(&here.root, "f", &known, Old::Dropped).unwrap(), Swapped::Done),
        "gone already"
    );
    assert!(matches!(here.swap(&known), Swapped::Refused), "a deletion is a change");
    let placed = copy_known(&here.from, "f", &here.root, "a/b", Known::Nothing).unwrap();
    assert!(matches!(placed, Swapped::Done));
    let again = copy_known(&here.from, "f", &here.root, "a/b", Known::Nothing).unwrap();
    assert!(matches!(again, Swapped::Refused));
}

#[test]
fn a_write_at_any_moment_is_found_and_stands() {
    for point in [Point::Looked, Point::Moved] {
        for replaced in [false, true] {
            let here = Here::new();
            let (known, f) = (here.known(), here.f());
            // At `Moved` the name is our new file's: whoever writes by name writes that.
            at(point, move || {
                if replaced {
                    fs::write(f.with_extension("x"), "theirs").unwrap();
                    fs::rename(f.with_extension("x"), &f).unwrap();
                } else {
                    append(&f, "+theirs");
                }
            });
            let swapped = here.swap(&known);
            let text = here.text();
            if point == Point::Looked {
                assert!(matches!(swapped, Swapped::Refused), "{replaced}: {swapped:?}");
                assert_eq!(text, if replaced { "theirs" } else { "old+theirs" });
            } else {
                assert!(matches!(swapped, Swapped::Done), "{replaced}: {swapped:?}");
                assert_eq!(text, if replaced { "theirs" } else { "new+theirs" });
            }
            assert_eq!(here.names(), ["f"], "nothing is left behind");
        }
    }
}

/// What the judgement prevents: the same writes as above, with the guard switched off.
#[test]
fn without_the_guard_a_write_between_look_and_exchange_is_lost() {
    let _off = crate::guards::off();
    let here = Here::new();
    let (known, f) = (here.known(), here.f());
    at(Point::Looked, move || append(&f, "+theirs"));
    assert!(matches!(here.swap(&known), Swapped::Done));
    assert_eq!((here.text(), here.names().len()), ("new".to_owned(), 1), "the write is nowhere");

    let (known, f) = (here.known(), here.f());
    at(Point::Looked, move || append(&f, "+theirs"));
    assert!(matches!(remove_known(&here.root, "f", &known, Old::Dropped).unwrap(), Swapped::Done));
    assert_eq!(here.names(), Vec::<String>::new());
}

#[test]
fn a_write_of_the_same_size_within_one_tick_is_found() {
    let here = Here::new();
    let (known, f) = (here.known(), here.f());
    at(Point::Looked, move || {
        let before = fs::metadata(&f).unwrap().modified().unwrap();
        let file = OpenOptions::new().write(true).open(&f).unwrap();
        (&file).write_all(b"OLD").unwrap();
        file.set_modified(before).unwrap();
    });
    assert!(matches!(here.swap(&known), Swapped::Refused));
    assert_eq!(here.text(), "OLD");
}

#[test]
fn who_opened_before_and_writes_after_loses_nothing() {
    let here = Here::new();
    let known = here.known();
    let file = OpenOptions::new().append(true).open(here.f()).unwrap();
    let Swapped::Held(displaced) = here.swap(&known) else { panic!("held") };
    assert_eq!(here.text(), "new");
    assert_eq!(displaced.judge().unwrap(), Verdict::Busy);
    (&file).write_all(b"+late").unwrap();
    drop(file);
    assert_eq!(displaced.judge().unwrap(), Verdict::Changed);
    assert_eq!(read(&displaced, &here), "old+late");
    displaced.discard().unwrap();
    assert_eq!(here.names(), ["f"]);

    let known = here.known();
    let file = OpenOptions::new().write(true).open(here.f()).unwrap();
    let Swapped::Held(displaced) = remove_known(&here.root, "f", &known, Old::Dropped).unwrap() else {
        panic!("held")
    };
    assert!(!here.f().exists());
    drop(file);
    assert_eq!(displaced.judge().unwrap(), Verdict::Same, "opened, and never written");
    displaced.discard().unwrap();
    assert_eq!(here.names(), Vec::<String>::new());
}

#[test]
fn what_comes_while_it_goes_back_stands_and_the_other_is_held() {
    for gone in [false, true] {
        let here = Here::new();
        let (known, f) = (here.known(), here.f());
        let later = f.clone();
        at(Point::Looked, move || {
            append(&f, "+theirs");
            at(
                Point::Moved,
                move || {
                    if gone { fs::remove_file(&later).unwrap() } else { append(&later, "+newest") }
                },
            );
        });
        let Swapped::Held(displaced) = here.swap(&known) else { panic!("held: {gone}") };
        assert_eq!(read(&displaced, &here), "old+theirs");
        assert_eq!(here.f().exists(), !gone);
        if !gone {
            assert_eq!(here.text(), "new+newest");
        }
    }
}

#[test]
fn a_removal_that_was_too_late_gives_back() {
    let here = Here::new();
    let (known, f) = (here.known(), here.f());
    at(Point::Looked, move || append(&f, "+theirs"));
    assert!(matches!(remove_known(&here.root, "f", &known, Old::Dropped).unwrap(), Swapped::Refused));
    assert_eq!((here.text(), here.names().len()), ("old+theirs".to_owned(), 1));

    let (known, f) = (here.known(), here.f());
    let again = f.clone();
    at(Point::Looked, move || {
        append(&f, "+more");
        at(Point::Moved, move || fs::write(again, "made anew").unwrap());
    });
    let Swapped::Held(displaced) = remove_known(&here.root, "f", &known, Old::Dropped).unwrap() else {
        panic!("held")
    };
    assert_eq!(
        (here.text(), read(&displaced, &here)),
        ("made anew".to_owned(), "old+theirs+more".to_owned())
    );
}

#[test]
fn every_kind_is_swapped() {
    let here = Here::new();
    symlink("a", here.dir.path().join("l")).unwrap();
    symlink("b", here.incoming.path().join("l")).unwrap();
    fs::create_dir_all(here.dir.path().join("d/full")).unwrap();
    let known = |path| stat_entry(&here.root, path, true).unwrap().unwrap();
    let swap = |path: &str, to: &str, known: &Entry| {
        copy_known(&here.from, path, &here.root, to, Known::Entry(known)).unwrap()
    };
    assert!(matches!(swap("l", "l", &known("l")), Swapped::Done));
    assert_eq!(fs::read_link(here.dir.path().join("l")).unwrap(), Path::new("b"));
    // A file for a symlink, and a symlink that was changed meanwhile.
    let link = known("l");
    fs::remove_file(here.dir.path().join("l")).unwrap();
    symlink("c", here.dir.path().join("l")).unwrap();
    assert!(matches!(swap("f", "l", &link), Swapped::Refused));
    assert!(matches!(swap("f", "l", &known("l")), Swapped::Done));
    assert_eq!(fs::read_to_string(here.dir.path().join("l")).unwrap(), "new");
    // Directories: only empty ones go, and none is replaced.
    let d = known("d");
    assert!(matches!(remove_known(&here.root, "d", &d, Old::Dropped).unwrap(), Swapped::Refused));
    assert!(matches!(
        remove_known(&here.root, "d/full", &known("d/full"), Old::Dropped).unwrap(),
        Swapped::Done
    ));
    fs::write(here.incoming.path().join("g"), "x").unwrap();
    assert!(matches!(swap("g", "d", &d), Swapped::Refused));
    assert!(matches!(remove_known(&here.root, "d", &d, Old::Dropped).unwrap(), Swapped::Done));
    rustix::fs::mkfifoat(rustix::fs::CWD, here.dir.path().join("p"), rustix::fs::Mode::RWXU).unwrap();
    assert!(matches!(swap("g", "p", &link), Swapped::Refused));
    assert!(matches!(remove_known(&here.root, "p", &link, Old::Dropped).unwrap(), Swapped::Refused));
}

#[test]
fn in_two_steps_nothing_is_lost_either() {
    let swap = |here: &Here, known: &Entry| {
        let (dir, name) = here.root.parent("f").unwrap();
        let temp = stage_copy(&here.from, "f", &dir, name, "f", Owner::AsIs).unwrap();
        let swapped = without_exchange(&dir, &temp, name, "f", known, Old::Dropped).unwrap();
        if matches!(swapped, Swapped::Refused) {
            fs::remove_file(here.dir.path().join(temp)).unwrap();
        }
        swapped
    };
    let here = Here::new();
    assert!(matches!(swap(&here, &here.known()), Swapped::Done));
    assert_eq!((here.text(), here.names().len()), ("new".to_owned(), 1));

    let here = Here::new();
    let known = here.known();
    append(&here.f(), "+theirs");
    assert!(matches!(swap(&here, &known), Swapped::Refused));
    assert_eq!((here.text(), here.names().len()), ("old+theirs".to_owned(), 1));

    let here = Here::new();
    let (known, f) = (here.known(), here.f());
    at(Point::Moved, move || fs::write(f, "made anew").unwrap());
    assert!(matches!(swap(&here, &known), Swapped::Refused));
    assert_eq!((here.text(), here.names().len()), ("made anew".to_owned(), 1));

    let here = Here::new();
    let (known, open) = (here.known(), File::options().append(true).open(here.f()).unwrap());
    let Swapped::Held(displaced) = swap(&here, &known) else { panic!("held") };
    (&open).write_all(b"+late").unwrap();
    drop(open);
    assert_eq!((here.text(), read(&displaced, &here)), ("new".to_owned(), "old+late".to_owned()));
}

#[test]
fn what_cannot_be_judged_is_never_removed() {
    let here = Here::new();
    let known = here.known();
    UNJUDGED.set(true);
    let Swapped::Held(displaced) = here.swap(&known) else { panic!("held") };
    assert_eq!((here.text(), read(&displaced, &here)), ("new".to_owned(), "old".to_owned()));
    assert_eq!(displaced.judge().unwrap(), Verdict::Same);
    displaced.discard().unwrap();

    let known = here.known();
    UNJUDGED.set(true);
    let Swapped::Held(displaced) = remove_known(&here.root, "f", &known, Old::Dropped).unwrap() else {
        panic!("held")
    };
    assert_eq!(read(&displaced, &here), "new");

    let here = Here::new();
    let (known, (dir, name)) = (here.known(), here.root.parent("f").unwrap());
    let temp = stage_copy(&here.from, "f", &dir, name, "f", Owner::AsIs).unwrap();
    UNJUDGED.set(true);
    let Swapped::Held(displaced) = without_exchange(&dir, &temp, name, "f", &known, Old::Dropped).unwrap()
    else {
        panic!("held")
    };
    assert_eq!((here.text(), read(&displaced, &here)), ("new".to_owned(), "old".to_owned()));
}

#[test]
fn what_changed_and_is_still_written_is_not_judged_yet() {
    let here = Here::new();
    let known = here.known();
    let mut writer = OpenOptions::new().write(true).open(here.f()).unwrap();
    let Swapped::Held(displaced) = here.swap(&known) else { panic!("held") };
    writer.set_len(0).unwrap();
    assert_eq!(displaced.judge().unwrap(), Verdict::Busy);
    writer.write_all(b"more").unwrap();
    drop(writer);
    assert_eq!(displaced.judge().unwrap(), Verdict::Changed);
    assert_eq!(read(&displaced, &here), "more");
}
