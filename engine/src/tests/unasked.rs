//! What a container makes and what does not come here before a person has agreed, with real directories.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::PathBuf,
    time::{Duration, Instant},
};

use ksync_merge::Terms;
use tokio::sync::oneshot;

use super::{World, everything, write};
use crate::{Command, Questions, Unasked};

const MB: u64 = 1 << 20;
const TERMS: Terms = Terms { trusts: false, max_file: MB, max_pull: 3 * MB };

impl World {
    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Waits until this is asked, with all looked at that the container holds.
    async fn asked(&self, like: impl Fn(&Unasked) -> bool) -> Unasked {
        self.containers[0].far.hint_all();
        let of = |state: &crate::State| state.members.values().find_map(|m| m.questions.unasked.clone());
        let mut state = self.engine.state();
        let is_it = |state: &crate::State| of(state).is_some_and(|asked| like(&asked));
        let asked = tokio::time::timeout(Duration::from_secs(30), state.wait_for(is_it)).await;
        let asked = asked.map(|state| of(&state.unwrap()).unwrap());
        asked.unwrap_or_else(|_| panic!("not asked: {:#?}", self.engine.state().borrow()))
    }

    async fn answer(&self, agree: bool) -> Questions {
        let (reply, asked) = oneshot::channel();
        self.engine.send(Command::Answer { agree, reply }).await;
        asked.await.unwrap().pop().unwrap()
    }

    fn sparse(&self, path: &str, size: u64) {
        fs::File::create(self.at(path)).unwrap().set_len(size).unwrap();
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.at(path)).ok()
    }
}

/// Waits until something is so that nobody tells of.
async fn until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "it has not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// In sync with one container, which has a file of ours.
async fn scene(terms: Terms) -> World {
    let world = World::with(1, terms).await;
    write(&world.at("here/f"), "small\n");
    world.attach(0).await;
    world.watching().await;
    world
}

fn repository(world: &World, at: &str) {
    for (name, text) in
        [("HEAD", "ref: refs/heads/main\n"), ("config", "[core]\n\tfsmonitor = touch /tmp/owned\n")]
    {
        write(&world.at(&format!("{at}/{name}")), text);
    }
    for name in ["objects/info", "refs/heads"] {
        fs::create_dir_all(world.at(&format!("{at}/{name}"))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_comes_as_a_whole_or_not_at_all() {
    let world = scene(TERMS).await;
    fs::create_dir(world.at("new")).unwrap();
    repository(&world, "new/r");
    fs::rename(world.at("new/r"), world.at("there0/r")).unwrap();
    write(&world.at("there0/harmless"), "");
    let asked = world.asked(|asked| asked.entries == 7).await;
    assert_eq!((asked.repositories.count, asked.repositories.first.as_str()), (1, "r"));
    assert_eq!((asked.tops, asked.replaced), (vec!["r".to_owned()], 0));
    until(|| world.at("here/harmless").exists()).await;
    assert!(!world.at("here/r").exists());
    // Local edits go on.
    write(&world.at("here/f"), "edited\n");
    world.engine.hint_all();
    until(|| world.text("there0/f").as_deref() == Some("edited\n")).await;
    assert_eq!(world.answer(true).await.unasked.unwrap().entries, 7);
    world.watching().await;
    assert_eq!(world.tree("here"), world.tree("there0"));
    // What was agreed to is not asked about again.
    write(&world.at("there0/r/config"), "[core]\n");
    world.watching().await;
    assert_eq!(world.text("here/r/config").as_deref(), Some("[core]\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_completes_a_repository_waits_and_so_does_what_changes_in_one() {
    let world = scene(TERMS).await;
    write(&world.at("there0/r/HEAD"), "ref: refs/heads/main\n");
    fs::create_dir(world.at("there0/r/objects")).unwrap();
    world.watching().await;
    assert!(world.at("here/r/objects").is_dir());
    fs::create_dir(world.at("there0/r/refs")).unwrap();
    let asked = world.asked(|asked| asked.entries == 1).await;
    assert_eq!(asked.tops, ["r/refs"]);
    assert!(!world.at("here/r/refs").exists());
    // Taken apart there, it is none any more.
    fs::remove_file(world.at("there0/r/HEAD")).unwrap();
    world.watching().await;
    assert_eq!(world.tree("here"), world.tree("there0"));
    // One of ours, whose config the container changes.
    repository(&world, "here/own");
    world.watching().await;
    write(&world.at("there0/own/config"), "[core]\n\tfsmonitor = evil\n");
    let asked = world.asked(|asked| asked.replaced == 1).await;
    assert_eq!((asked.entries, asked.repositories.first.as_str()), (1, "own"));
    world.answer(false).await;
    world.watching().await;
    let config = world.text("there0/own/config").unwrap();
    assert!(config.contains("touch") && world.text("here/own/config").unwrap() == config);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_some_system_takes_for_gits_wait() {
    let world = scene(TERMS).await;
    for name in [".git.", "a/git~1", "b/.gi\u{200c}t"] {
        write(&world.at(&format!("there0/{name}")), "gitdir: ../elsewhere\n");
    }
    write(&world.at("there0/.gitignore"), "*.o\n");
    let asked = world.asked(|asked| asked.entries == 3).await;
    assert_eq!((asked.repositories.count, asked.repositories.first.as_str()), (3, ".git."));
    until(|| world.at("here/.gitignore").exists() && world.at("here/a").is_dir()).await;
    assert!(!world.at("here/.git.").exists() && !world.at("here/a/git~1").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_leads_out_waits_and_one_that_stays_comes() {
    let world = scene(TERMS).await;
    fs::create_dir(world.at("there0/d")).unwrap();
    for (path, target) in
        [("in", "d/x"), ("d/up", "../f"), ("out", "/etc/passwd"), ("d/out", "../../secret"), ("via", "out")]
    {
        symlink(target, world.at(&format!("there0/{path}"))).unwrap();
    }
    let asked = world.asked(|asked| asked.entries == 3).await;
    assert_eq!((asked.links.count, asked.links.first.as_str()), (3, "d/out -> ../../secret"));
    let stands = |path: &str| fs::symlink_metadata(world.at(&format!("here/{path}"))).is_ok();
    until(|| stands("in") && stands("d/up")).await;
    assert!(!stands("out") && !stands("d/out") && !stands("via"));
    // A directory of ours that becomes a link is no less of one.
    fs::create_dir(world.at("here/e")).unwrap();
    world.engine.hint_all();
    until(|| world.at("there0/e").exists()).await;
    fs::remove_dir(world.at("there0/e")).unwrap();
    symlink("..", world.at("there0/e")).unwrap();
    let asked = world.asked(|asked| asked.entries == 4).await;
    assert_eq!((asked.replaced, asked.tops), (1, vec!["d/out".into(), "out".into(), "via".into()]));
    assert!(world.at("here/e").is_dir());
    world.answer(true).await;
    world.watching().await;
    assert_eq!(world.tree("here"), world.tree("there0"));
    // Another target is another link.
    fs::remove_file(world.at("there0/out")).unwrap();
    symlink("/etc/shadow", world.at("there0/out")).unwrap();
    assert_eq!(world.asked(|_| true).await.links.first, "out -> /etc/shadow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_waits_however_little_of_it_is_there() {
    let world = scene(TERMS).await;
    world.sparse("there0/f", 300 * MB);
    world.sparse("there0/new", MB + 1);
    world.sparse("there0/fits", MB);
    let asked = world.asked(|asked| asked.entries == 2).await;
    assert_eq!((asked.large.count, asked.large.first.as_str()), (2, "f"));
    assert_eq!((asked.bytes, asked.replaced, asked.tops), (300 * MB + MB + 1, 1, vec!["new".to_owned()]));
    assert_eq!(world.text("here/f").as_deref(), Some("small\n"));
    until(|| world.at("here/fits").exists()).await;
    assert!(!world.at("here/new").exists());
    world.answer(false).await;
    until(|| world.text("there0/f").as_deref() == Some("small\n")).await;
    assert!(everything(&world.at("kept")).is_empty(), "nothing of it is kept");
    assert_eq!(world.asked(|_| true).await.tops, ["new"], "it stays there, and is asked about");
    world.answer(true).await;
    world.watching().await;
    assert_eq!(world.tree("here"), world.tree("there0"));
    assert!(fs::metadata(world.at("here/new")).unwrap().blocks() < 64, "what is zero takes no room");
    // It may grow on, to twice its size.
    world.sparse("there0/new", 2 * MB);
    world.watching().await;
    world.sparse("there0/new", 2 * MB + 3);
    assert_eq!(world.asked(|_| true).await.large.first, "new");
}

/// Local content wins at once; what it has replaced there is too large to come here unasked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_brings_no_large_content_into_what_is_kept() {
    for agree in [false, true] {
        let world = World::with(1, TERMS).await;
        write(&world.at("here/f"), "small\n");
        world.sparse("there0/f", 64 * MB);
        world.attach(0).await;
        let asked = world.asked(|asked| asked.kept.count == 1).await;
        assert_eq!((asked.entries, asked.kept.first.as_str(), asked.bytes), (0, "f", 64 * MB));
        // What it displaced is asked about when it is there, be it empty still.
        until(|| world.text("there0/f").as_deref() == Some("small\n")).await;
        assert!(!world.at("kept").exists());
        world.answer(agree).await;
        world.watching().await;
        let kept = || fs::read_dir(world.at("kept")).into_iter().flatten().flatten();
        until(|| !agree || kept().any(|moment| moment.path().join("f").exists())).await;
        for moment in kept() {
            let meta = fs::metadata(moment.path().join("f")).unwrap();
            assert!(meta.len() == 64 * MB && meta.blocks() < 64, "{meta:?}");
        }
        assert_eq!(kept().count(), usize::from(agree));
        let left = || fs::read_dir(world.at("there0")).unwrap().count();
        until(|| left() == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_come_in_all_waits() {
    let world = scene(TERMS).await;
    for number in 0..5 {
        world.sparse(&format!("there0/{number}"), MB);
    }
    let asked = world.asked(|asked| asked.entries == 2).await;
    assert_eq!((asked.in_all.count, asked.in_all.first.as_str()), (2, "3"));
    world.answer(true).await;
    world.watching().await;
    // What changes all the time grows no more than it is large.
    for round in 0..8 {
        write(&world.at("there0/0"), &"x".repeat(900_000 + round));
        world.watching().await;
    }
    assert_eq!(world.tree("here"), world.tree("there0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_trusts_a_container_is_asked_nothing() {
    let world = scene(Terms { trusts: true, ..TERMS }).await;
    repository(&world, "there0/r");
    symlink("/etc/passwd", world.at("there0/out")).unwrap();
    world.sparse("there0/large", 4 * MB);
    world.watching().await;
    assert_eq!(world.tree("here"), world.tree("there0"));
}
