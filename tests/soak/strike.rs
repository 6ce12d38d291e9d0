//! Breaking things, and mending them again.
//!
//! Invariant: what was broken is mended when its `Struck` ends, whatever happens.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use ksync_judge::{Kind as Wrong, Violation};
use rand::{RngExt, rngs::StdRng};

use crate::{
    faults::{Away, Config, Full, Kind, Part, RUNTIMES},
    mounts,
    observer::Observer,
    place::Place,
    suite::{process, run::SYSTEM, shell},
    world::World,
    writers::Gates,
};

/// How long a session's syncthing may take to be there.
const SYNCTHING: Duration = Duration::from_secs(20);

type Mend<'a> = Box<dyn FnOnce() -> Result<(), Violation> + 'a>;

/// A fault at work.
pub(crate) struct Struck<'a> {
    /// What exactly is broken.
    pub(crate) what: String,
    /// The node, where it is one node's.
    pub(crate) node: Option<String>,
    mend: Option<Mend<'a>>,
}

impl<'a> Struck<'a> {
    fn new(what: impl Into<String>, mend: impl FnOnce() -> Result<(), String> + 'a) -> Self {
        Self::judged(what, move || mend().map_err(Violation::from))
    }

    /// One at whose end something may be seen that is wrong.
    fn judged(what: impl Into<String>, mend: impl FnOnce() -> Result<(), Violation> + 'a) -> Self {
        Self { what: what.into(), node: None, mend: Some(Box::new(mend)) }
    }

    fn on(mut self, node: Option<String>) -> Self {
        if let Some(node) = &node {
            self.what.extend([" on ", node]);
        }
        self.node = node;
        self
    }

    /// Mends it.
    pub(crate) fn end(mut self) -> Result<(), Violation> {
        self.mend.take().map_or(Ok(()), |mend| mend())
    }
}

impl Drop for Struck<'_> {
    fn drop(&mut self) {
        if let Some(mend) = self.mend.take()
            && let Err(said) = mend()
        {
            eprintln!("{} was not mended: {said}", self.what);
        }
    }
}

/// What there is to break.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a World<'a>,
    pub(crate) observer: &'a Observer<'a>,
    pub(crate) gates: &'a Gates,
}

impl<'a> Scene<'a> {
    /// Breaks it. In two of three cases it is what the two-way container stands on.
    pub(crate) fn strike(&self, kind: Kind, rng: &mut StdRng) -> Result<Struck<'a>, String> {
        let world = self.world;
        let mut place = || -> Result<Place, String> {
            let places = self.observer.places();
            let two_way = self.observer.two_way().filter(|_| rng.random_range(0..3) > 0);
            let any = || places.get(rng.random_range(0..places.len().max(1))).cloned();
            two_way.or_else(any).ok_or_else(|| "no container runs".to_owned())
        };
        match kind {
            Kind::Kill(part) => {
                let (node, pid) = self.process(part, &mut place)?;
                process::kill(pid);
                let struck = Struck::new(format!("{part:?} (process {pid})"), move || match part {
                    Part::Watcher => world.start(),
                    // Its container is started again; kubelet takes a while to notice.
                    Part::Radar | Part::NodeParent => world.without(pid),
                    Part::LocalSyncthing | Part::NodeSyncthing => Ok(()),
                });
                Ok(struck.on(node))
            }
            Kind::Stop(part) => {
                let (node, pid) = self.process(part, &mut place)?;
                process::stand_still(pid, true);
                let struck = Struck::new(format!("{part:?} (process {pid})"), move || {
                    if process::lives(pid) {
                        process::stand_still(pid, false);
                    }
                    Ok(())
                });
                Ok(struck.on(node))
            }
            Kind::DeleteRadarsPod => {
                let node = place()?.node;
                let radars = world.radars()?;
                let old = radars.iter().find(|part| part.node == node).ok_or("no radar there")?;
                let (pod, pid) = (old.pod.clone(), old.pid(world.sandbox.cluster())?);
                world.delete_pod(SYSTEM, &pod, false)?;
                Ok(Struck::new("radar's pod", move || world.without(pid)).on(Some(node)))
            }
            Kind::KillContainer => {
                let place = place()?;
                process::kill(place.pid);
                Ok(Struck::new(shown(&place), || Ok(())).on(Some(place.node)))
            }
            Kind::DeletePod { forced } => {
                let place = place()?;
                world.delete_pod(&world.sandbox.namespace, &place.pod, forced)?;
                Ok(Struck::new(shown(&place), || Ok(())).on(Some(place.node)))
            }
            Kind::Kubelet(node) => {
                kubelet(node, "stop")?;
                Ok(Struck::new(format!("kubelet {node}"), move || kubelet(node, "start")))
            }
            Kind::Runtime(node) => {
                let name = RUNTIMES[usize::from(node) - 1];
                world.sandbox.cluster().runtime(name, false);
                Ok(Struck::new(name, move || {
                    world.sandbox.cluster().runtime(name, true);
                    Ok(())
                }))
            }
            Kind::ApiServer => {
                world.sandbox.cluster().api_server(false);
                Ok(Struck::new("the API server", || {
                    world.sandbox.cluster().api_server(true);
                    Ok(())
                }))
            }
            Kind::Full(full) => self.full(full, place),
            Kind::Local(away) => self.local(away),
            Kind::Config(config) => self.config(config),
            Kind::StopAndStart => {
                world.ksync.run(&["stop"]).ok()?;
                Ok(Struck::new("the watcher", || world.start()))
            }
        }
    }

    fn process(
        &self,
        part: Part,
        mut place: impl FnMut() -> Result<Place, String>,
    ) -> Result<(Option<String>, u32), String> {
        let world = self.world;
        let watcher = || world.ksync.watcher().ok_or_else(|| "no watcher runs".to_owned());
        let child = |parent: u32| {
            // It may be starting: the fault before has ended the session perhaps.
            let until = Instant::now() + SYNCTHING;
            loop {
                if let Some(child) = process::syncthings(parent).first() {
                    return Ok(child.pid);
                }
                if Instant::now() > until {
                    return Err(format!("process {parent} has no syncthing"));
                }
                thread::sleep(Duration::from_millis(50));
            }
        };
        Ok(match part {
            Part::Watcher => (None, watcher()?),
            Part::LocalSyncthing => (None, child(watcher()?)?),
            Part::Radar | Part::NodeSyncthing | Part::NodeParent => {
                let node = place()?.node;
                let container = if part == Part::Radar { "radar" } else { "syncthing" };
                let first = world.part(container, &node)?;
                let pid = if part == Part::NodeSyncthing { child(first)? } else { first };
                (Some(node), pid)
            }
        })
    }

    /// Nobody writes to what is full: a person's own write that fails is no fault of the sync.
    fn full(
        &self,
        full: Full,
        mut place: impl FnMut() -> Result<Place, String>,
    ) -> Result<Struck<'a>, String> {
        let world = self.world;
        match full {
            Full::Laptop => {
                let quiet = self.gates.local();
                world.disk.fill()?;
                Ok(Struck::new("the disk of the local directory", move || {
                    let mended = world.disk.free();
                    drop(quiet);
                    mended
                }))
            }
            Full::Home => {
                world.home.fill()?;
                Ok(Struck::new("the disk of the home", || world.home.free()))
            }
            Full::Volume => {
                let quiet = self.gates.there();
                let place = place()?;
                mounts::fill(&place.root())?;
                let node = Some(place.node.clone());
                let struck = Struck::new(format!("the volume of {}", shown(&place)), move || {
                    let mended = if place.lives() { mounts::free(&place.root()) } else { Ok(()) };
                    drop(quiet);
                    mended
                });
                Ok(struck.on(node))
            }
        }
    }

    /// Nobody writes to a directory that is not there.
    fn local(&self, away: Away) -> Result<Struck<'a>, String> {
        let (world, quiet, blind) = (self.world, self.gates.local(), self.observer.blind());
        let aside = world.disk.at.join("aside");
        let moved = |from: &Path, to: &Path| {
            fs::rename(from, to).map_err(|error| format!("move `{}`: {error}", from.display()))
        };
        match away {
            Away::Moved => moved(&world.local, &aside)?,
            Away::Replaced => {
                moved(&world.local, &aside)?;
                let made = fs::create_dir(&world.local)
                    .and_then(|()| fs::write(world.local.join("another.txt"), "another\n"))
                    .and_then(|()| fs::write(world.local.join("top1.txt"), "another\n"));
                made.map_err(|error| format!("make another directory: {error}"))?;
            }
            Away::Unmounted => world.disk.take_out()?,
        }
        Ok(Struck::judged(format!("the local directory, {away:?}"), move || {
            let mended = match away {
                Away::Moved => put_back(world, &aside),
                Away::Replaced => {
                    let removed = fs::remove_dir_all(&world.local);
                    removed.map_err(|error| format!("remove the other directory: {error}"))?;
                    put_back(world, &aside)
                }
                Away::Unmounted => world.disk.put_back().map_err(Violation::from),
            };
            drop(blind);
            drop(quiet);
            mended
        }))
    }

    fn config(&self, config: Config) -> Result<Struck<'a>, String> {
        let file = self.world.ksync.config_file();
        let failed = |error: std::io::Error| format!("ksync.yaml: {error}");
        let text = fs::read_to_string(&file).map_err(failed)?;
        let bad = match config {
            Config::Broken => format!("{text}\n  - [this is: no yaml\n"),
            Config::Emptied => String::new(),
            Config::Edited => format!("{}\n  ignore: [\"*.never\"]\n", text.trim_end()),
        };
        fs::write(&file, bad).map_err(failed)?;
        Ok(Struck::new(format!("ksync.yaml, {config:?}"), move || fs::write(file, text).map_err(failed)))
    }
}

/// Only the test's own cluster has a switch for it.
fn kubelet(node: u8, verb: &str) -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/cluster");
    shell::run(Command::new(script).args(["kubelet", &node.to_string(), verb]), None).ok().map(drop)
}

fn shown(place: &Place) -> String {
    format!("{} ({})", place.pod, place.id)
}

/// A directory that was made at the place meanwhile is in the way; that is said, and it goes.
fn put_back(world: &World<'_>, aside: &Path) -> Result<(), Violation> {
    let failed = |error: std::io::Error| format!("move the local directory back: {error}");
    if fs::rename(aside, &world.local).is_ok() {
        return Ok(());
    }
    let there = fs::read_dir(&world.local).map_err(failed)?.count();
    fs::remove_dir_all(&world.local).map_err(failed)?;
    fs::rename(aside, &world.local).map_err(failed)?;
    let words = format!("a directory with {there} entries was made where the local directory was");
    Err(Violation::of(Wrong::Leftover, words))
}
