//! What is broken and judged: a local directory on a disk of its own, a home on another, and containers on every node.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ksync_judge::Side;
use rand::{RngExt, rngs::StdRng};
use serde_json::Value;

use crate::{
    hand,
    interrupt::wait,
    mounts::Disk,
    place::{CODE, Place},
    suite::{App, Sandbox, container::Container, ksync::Ksync, process, run::SYSTEM},
};

/// Kubelet's time to bring pods back, its back-off included.
const PODS: Duration = Duration::from_secs(120);
const LOCAL_MEGABYTES: u32 = 512;
const HOME_MEGABYTES: u32 = 2048;
const VOLUME: &str = "160Mi";
const LABEL: &str = "app=app";

/// Where the containers have their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// In a volume in memory, which outlives a container and can be full.
    Volume,
    /// In the container's own file system.
    Image,
}

/// From which size on files go through syncthing here: the large ones that the writers make.
const LARGE_FILE: &str = "2Mi";

pub(crate) struct World<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) ksync: Ksync,
    pub(crate) disk: Disk,
    pub(crate) home: Disk,
    pub(crate) local: PathBuf,
    pub(crate) shape: Shape,
    pub(crate) replicas: usize,
    /// Containers that were found before: to ask for a process takes long.
    known: Mutex<BTreeMap<String, Place>>,
}

impl Drop for World<'_> {
    /// The sandbox's own end looks for what was left, and finds nothing.
    fn drop(&mut self) {
        let stopped = self.ksync.run(&["stop"]);
        if let Err(said) = stopped.ok() {
            eprintln!("stop: {said}");
        }
        for process in process::of_home(&self.home.at) {
            process::kill(process.pid);
        }
    }
}

impl<'a> World<'a> {
    /// With a tree drawn by the seed, in sync.
    pub(crate) fn begin(
        sandbox: &'a Sandbox,
        shape: Shape,
        guards_off: &'static str,
        rng: &mut StdRng,
    ) -> Result<Self, String> {
        let place = |name: &str| sandbox.scratch(name);
        let disk = Disk::mount(place("disk.memory"), place("disk"), LOCAL_MEGABYTES)?;
        let home = Disk::mount(place("house.memory"), place("house"), HOME_MEGABYTES)?;
        let failed = |error: std::io::Error| format!("make the directories: {error}");
        symlink(sandbox.run.programs(), home.at.join("bin")).map_err(failed)?;
        let local = disk.at.join("local");
        fs::create_dir(&local).map_err(failed)?;
        plant(&local, rng).map_err(failed)?;
        let replicas = rng.random_range(3..=5);
        let mut app = App::shell(sandbox, "mkdir -p /code; exec sleep 1000000").replicas(replicas);
        if shape == Shape::Volume {
            app = app.memory_dir("code", CODE, VOLUME);
        }
        app.apply(sandbox);
        let ksync =
            Ksync { home: home.at.clone(), guards_off, large_file: LARGE_FILE, ..sandbox.ksync.clone() };
        let world = Self { sandbox, ksync, disk, home, local, shape, replicas, known: Mutex::default() };
        world.places()?;
        world.create()?;
        Ok(world)
    }

    fn create(&self) -> Result<(), String> {
        let local = self.local.display().to_string();
        let args = ["create", "--name", "main", "--wait", "-l", LABEL, "--reload=false", &local, CODE];
        self.ksync.run(&args).ok().map(drop)
    }

    /// Ends the sync; what is left then is judged too.
    pub(crate) fn delete(&self) -> Result<(), String> {
        self.ksync.run(&["delete", "main"]).ok().map(drop)
    }

    /// The containers when all that should run do.
    pub(crate) fn places(&self) -> Result<Vec<Place>, String> {
        wait("the pods to run", PODS, || self.try_places())
    }

    pub(crate) fn try_places(&self) -> Result<Vec<Place>, String> {
        let pods = self.pods(&["-n", &self.sandbox.namespace, "-l", LABEL])?;
        let running: Vec<Container> = pods.iter().flat_map(Container::of_pod).collect();
        if pods.len() != self.replicas || running.len() != self.replicas || !pods.iter().all(ready) {
            let names: Vec<&str> = running.iter().map(|container| container.pod.as_str()).collect();
            return Err(format!("{} pods, running: {names:?}", pods.len()));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = |container: &Container| {
            if let Some(place) = known.get(&container.id).filter(|place| place.lives()) {
                return Ok(place.clone());
            }
            let place = Place::of(self.sandbox.cluster(), container)?;
            known.insert(container.id.clone(), place.clone());
            Ok(place)
        };
        running.iter().map(&mut place).collect()
    }

    fn pods(&self, of: &[&str]) -> Result<Vec<Value>, String> {
        let args = [&["get", "pods", "--request-timeout=5s"], of].concat();
        let pods = self.sandbox.kubectl().json(&args)?;
        Ok(pods["items"].as_array().cloned().unwrap_or_default())
    }

    /// Radar's containers when all of them run.
    pub(crate) fn radars(&self) -> Result<Vec<Container>, String> {
        wait("radar to run", PODS, || {
            let pods = self.pods(&["-n", SYSTEM])?;
            let running: Vec<Container> = pods.iter().flat_map(Container::of_pod).collect();
            if pods.len() < 3 || running.len() != 2 * pods.len() || !pods.iter().all(ready) {
                return Err(format!("{running:?}"));
            }
            Ok(running)
        })
    }

    /// Pods whose containers were restarted so often that kubelet lets them wait make room for others.
    pub(crate) fn renew(&self) -> Result<bool, String> {
        let mut renewed = false;
        for namespace in [SYSTEM, &self.sandbox.namespace] {
            for pod in self.pods(&["-n", namespace])? {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
                if statuses.iter().any(|status| status["restartCount"].as_u64() > Some(1)) {
                    self.delete_pod(namespace, name, true)?;
                    renewed = true;
                }
            }
        }
        Ok(renewed)
    }

    pub(crate) fn delete_pod(&self, namespace: &str, pod: &str, forced: bool) -> Result<(), String> {
        let force: &[&str] = if forced { &["--force", "--grace-period=0"] } else { &["--wait=false"] };
        self.sandbox.kubectl().try_ok(&[&["delete", "pod", "-n", namespace, pod], force].concat()).map(drop)
    }

    /// The node's part of radar; the container's first process.
    pub(crate) fn part(&self, container: &str, node: &str) -> Result<u32, String> {
        let radars = self.radars()?;
        let found = radars.iter().find(|part| part.name == container && part.node == node);
        found.ok_or_else(|| format!("no `{container}` on {node}"))?.pid(self.sandbox.cluster())
    }

    /// Waits until radar runs on all nodes, and none of it as a process that has ended.
    pub(crate) fn without(&self, pid: u32) -> Result<(), String> {
        wait("another radar", PODS, || {
            let running = self.radars()?;
            let pids = running.iter().map(|part| part.pid(self.sandbox.cluster()));
            let pids: Vec<u32> = pids.collect::<Result<_, _>>()?;
            let others = !pids.contains(&pid) && pids.iter().all(|pid| process::lives(*pid));
            if others { Ok(()) } else { Err(format!("processes {pids:?}, of which {pid} has ended")) }
        })
    }

    pub(crate) fn start(&self) -> Result<(), String> {
        self.ksync.run(&["watch", "--daemon"]).ok().map(drop)
    }

    /// Which nodes have containers, and how many.
    pub(crate) fn spread(places: &[Place]) -> String {
        let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
        for place in places {
            *nodes.entry(&place.node).or_default() += 1;
        }
        let shown: Vec<String> =
            nodes.into_iter().map(|(node, count)| format!("{count} on {node}")).collect();
        shown.join(", ")
    }
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// A small repository.
fn plant(local: &std::path::Path, rng: &mut StdRng) -> std::io::Result<()> {
    let write = |path: String, size: usize| {
        let place = local.join(path);
        if let Some(dir) = place.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(place, hand::content(&Side::Local, size))
    };
    for dir in 0..12 {
        for file in 0..rng.random_range(4..9) {
            let below = ["", "/lib", "/lib/deep", "/test"][rng.random_range(0..4)];
            write(format!("dir{dir}{below}/file{file}.txt"), rng.random_range(10..5000))?;
        }
    }
    for file in 0..25 {
        write(format!("top{file}.txt"), rng.random_range(10..2000))?;
    }
    Ok(())
}
