//! Random deeds on both sides, with pods, watchers and radars that come and go between them: at the end of each round both
//! sides are what the model says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{APP, CODE};
use crate::suite::{
    App, Case, Need, Sandbox,
    app::Deployed,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds},
    model::{Deed, Model, Node},
    process,
};

pub(super) const CASES: &[Case] =
    &[Case::new("random_deeds_on_both_sides", random).needs(&[Need::Processes])];

/// Steps of a run of `make test`; `make model` has more.
const STEPS: usize = 200;

fn setting(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok().filter(|text| !text.is_empty());
    given.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is no number")))
}

fn random(sandbox: &Sandbox) {
    let seed = setting("KSYNC_MODEL_SEED", 1);
    let steps = usize::try_from(setting("KSYNC_MODEL_STEPS", STEPS as u64)).expect("a number of steps");
    println!("model: seed {seed}, {steps} steps");
    let mut world = World::begin(sandbox, seed);
    let mut rounds = 0;
    while world.steps < steps {
        world.round();
        rounds += 1;
    }
    println!(
        "model: {rounds} rounds, at the end {} entries; covered: {:?}",
        world.model.nodes.len(),
        world.covered
    );
    sandbox.ksync.no_healings("main");
}

struct World<'a> {
    sandbox: &'a Sandbox,
    app: Deployed<'a>,
    containers: Vec<Container>,
    /// The container whose changes came back when both sides were last equal.
    two_way: String,
    model: Model,
    steps: usize,
    covered: BTreeMap<String, usize>,
    /// Pods that have lost a container.
    restarted: BTreeSet<String>,
    /// What was done lately, for who has to find out.
    diary: Vec<String>,
}

impl<'a> World<'a> {
    fn begin(sandbox: &'a Sandbox, seed: u64) -> Self {
        let mut model = Model::new(seed);
        for number in 0..12 {
            let name = format!("start{number}");
            sandbox.write(&name, "start\n");
            model.put(&name, "start\n");
        }
        // The image's, which every new pod brings along again.
        model.put("index.html", "from the image\n");
        let app = App::web(sandbox).everywhere().apply(sandbox);
        let containers = app.all();
        // Its app would make `index.html` again at each reload.
        sandbox.sync(&[APP, &["--reload=false"]].concat(), CODE);
        let mut world = Self {
            sandbox,
            app,
            containers,
            two_way: String::new(),
            model,
            steps: 0,
            covered: BTreeMap::new(),
            restarted: BTreeSet::new(),
            diary: Vec::new(),
        };
        world.settle();
        world
    }

    fn count(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.diary.push(what.clone());
        *self.covered.entry(what).or_default() += 1;
        self.steps += 1;
    }

    /// Deeds on both sides, something that happens meanwhile, and the comparison.
    fn round(&mut self) {
        self.diary.clear();
        let mut taken = Vec::new();
        match self.model.below(10) {
            0..=3 => {
                self.here(4, &mut taken);
                self.there(3, &mut taken);
                self.here(2, &mut taken);
            }
            4 => {
                self.count("the watcher is stopped and started");
                self.sandbox.ksync.ok(&["stop"]);
                self.here(4, &mut taken);
                self.there_apart(3, &mut taken);
                self.both(&mut taken);
                self.start();
            }
            5 => {
                self.count("the watcher is killed");
                self.kill_watcher();
                self.here(3, &mut taken);
                self.start();
            }
            6 => {
                self.count("a pod is replaced");
                self.here(2, &mut taken);
                self.replace_pod();
                self.here(2, &mut taken);
            }
            7 => {
                self.count("a pod is replaced while the watcher is stopped");
                self.sandbox.ksync.ok(&["stop"]);
                self.here(3, &mut taken);
                self.replace_pod();
                self.here(2, &mut taken);
                self.start();
            }
            8 => {
                self.count("a container is killed");
                self.kill_container();
                self.here(3, &mut taken);
            }
            _ => {
                self.count("the local syncthing is killed");
                let watcher = self.sandbox.ksync.watcher().expect("a watcher");
                for child in process::children(watcher) {
                    process::kill(child.pid);
                }
                self.here(3, &mut taken);
                self.there_apart(2, &mut taken);
            }
        }
        self.settle();
    }

    fn start(&self) {
        self.sandbox.ksync.ok(&["watch", "--daemon"]);
    }

    /// The two-way one. kubelet lets a container wait the longer the more often it was restarted, so that a pod loses
    /// each container once, and is replaced then.
    fn kill_container(&mut self) {
        let (pod, id) = (self.two_way_container().pod.clone(), self.two_way.clone());
        if self.restarted.insert(pod.clone()) {
            process::kill(self.two_way_container().pid(self.sandbox.cluster()).expect("its process"));
        } else {
            self.app.kill_pod(&pod);
        }
        eventually("kubelet to notice", LONG, || holds(!self.app.has(&id), id.clone()));
    }

    fn kill_watcher(&self) {
        process::kill(self.sandbox.ksync.watcher().expect("a watcher"));
        eventually("the watcher's end", SHORT, || {
            let left = process::of_home(&self.sandbox.ksync.home);
            holds(left.is_empty(), format!("{left:?}"))
        });
    }

    fn replace_pod(&mut self) {
        let at = self.model.below(self.containers.len());
        self.app.kill_pod(&self.containers[at].pod);
        self.containers = self.app.all();
    }

    /// So many deeds, on paths that nobody has touched since both sides were equal.
    fn draw(&mut self, deeds: usize, taken: &mut Vec<String>, allowed: impl Fn(&Deed) -> bool) -> Vec<Deed> {
        let mut drawn = Vec::new();
        while drawn.len() < deeds {
            // Deeds of one side may build on each other; what the other side has touched is its own.
            if let Some(deed) = self.model.draw(taken).filter(&allowed) {
                self.model.apply(&deed);
                drawn.push(deed);
            }
        }
        taken.extend(drawn.iter().flat_map(Model::claims));
        drawn
    }

    fn here(&mut self, deeds: usize, taken: &mut Vec<String>) {
        for deed in self.draw(deeds, taken, |_| true) {
            do_here(&self.sandbox.local(), &deed);
            self.count(format!("{} here", deed.kind()));
            self.diary.push(format!("here: {deed:?}"));
        }
    }

    /// In the container whose changes come back.
    fn there(&mut self, deeds: usize, taken: &mut Vec<String>) {
        let drawn = self.draw(deeds, taken, |_| true);
        self.in_container(drawn);
    }

    /// The same while the connection is away: what the container deletes then is restored from here.
    fn there_apart(&mut self, deeds: usize, taken: &mut Vec<String>) {
        let drawn =
            self.draw(deeds, taken, |deed| !matches!(deed, Deed::Remove { .. } | Deed::Rename { .. }));
        self.in_container(drawn);
    }

    fn in_container(&mut self, drawn: Vec<Deed>) {
        let script: Vec<String> = drawn.iter().map(|deed| deed.shell(CODE)).collect();
        self.two_way_container()
            .sh(self.sandbox.cluster(), &format!("umask 022; set -e; {}", script.join("; ")));
        for deed in drawn {
            self.count(format!("{} there", deed.kind()));
            self.diary.push(format!("there: {deed:?}"));
        }
    }

    /// Each side writes one file of its own content: what is here stays.
    fn both(&mut self, taken: &mut Vec<String>) {
        let Some(Deed::Write { path, content }) = self.model.draw(taken) else { return };
        let local_write = Deed::Write { path: path.clone(), content: format!("{content}here") };
        let container_write = Deed::Write { path: path.clone(), content: format!("{content}there") };
        self.model.apply(&local_write);
        do_here(&self.sandbox.local(), &local_write);
        self.two_way_container().sh(self.sandbox.cluster(), &container_write.shell(CODE));
        taken.push(path);
        self.count("a write on both sides");
    }

    fn two_way_container(&self) -> &Container {
        self.containers.iter().find(|c| c.id == self.two_way).expect("the two-way container")
    }

    /// Waits until both sides are what the model says.
    fn settle(&mut self) {
        self.containers = self.app.all();
        let local = self.sandbox.local();
        let diary = self.diary.join("\n");
        self.sandbox.watching(&self.containers, LONG);
        eventually(&format!("the local tree to be the model's, after\n{diary}\n"), SHORT, || {
            compare(&self.model.nodes, &read(&local)?)
        });
        for container in &self.containers {
            eventually(&format!("{container} to be the model's, after\n{diary}\n"), SHORT, || {
                self.sandbox.equal(container, CODE)
            });
        }
        let two_way = self.sandbox.two_way(&self.containers).id.clone();
        self.two_way = two_way;
    }
}

fn do_here(root: &Path, deed: &Deed) {
    let at = |path: &str| root.join(path);
    match deed {
        Deed::Write { path, content } => {
            fs::write(at(path), format!("{content}\n")).expect("write");
            fs::set_permissions(at(path), fs::Permissions::from_mode(0o644)).expect("chmod");
        }
        Deed::Append { path, more } => {
            use std::io::Write;
            let mut file = fs::File::options().append(true).open(at(path)).expect("open");
            writeln!(file, "{more}").expect("append");
        }
        Deed::Chmod { path, executable } => {
            let mode = if *executable { 0o755 } else { 0o644 };
            fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).expect("chmod");
        }
        Deed::Mkdir { path } => fs::create_dir(at(path)).expect("mkdir"),
        Deed::Remove { path } if at(path).is_dir() => fs::remove_dir_all(at(path)).expect("remove"),
        Deed::Remove { path } => fs::remove_file(at(path)).expect("remove"),
        Deed::Rename { from, to } => fs::rename(at(from), at(to)).expect("rename"),
    }
}

fn read(root: &Path) -> Result<BTreeMap<String, Node>, String> {
    let mut nodes = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let failed = |error: std::io::Error| format!("read the local tree: {error}");
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.strip_prefix(root).expect("below").display().to_string();
            let meta = fs::symlink_metadata(&path).map_err(failed)?;
            if meta.is_dir() {
                dirs.push(path);
                nodes.insert(name, Node::Dir);
            } else if name != ".stignore" {
                let content = fs::read_to_string(&path).map_err(failed)?;
                nodes
                    .insert(name, Node::File { content, executable: meta.permissions().mode() & 0o100 != 0 });
            }
        }
    }
    Ok(nodes)
}

fn compare(wanted: &BTreeMap<String, Node>, found: &BTreeMap<String, Node>) -> Result<(), String> {
    let missing = wanted.iter().filter(|(path, node)| found.get(*path) != Some(*node));
    let missing = missing.map(|(path, node)| format!("{path}: {:?}, not {node:?}", found.get(path)));
    let extra =
        found.keys().filter(|path| !wanted.contains_key(*path)).map(|path| format!("{path}: is too much"));
    let lines: Vec<String> = missing.chain(extra).collect();
    holds(lines.is_empty(), lines.join("; "))
}
