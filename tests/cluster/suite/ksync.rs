//! The plugin as a person runs it: by its command line, with a KSYNC_HOME of its own.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use serde::Deserialize;

use super::{
    eventually::{eventually, holds},
    shell::{self, Output},
};

/// The plugin with its environment.
#[derive(Debug, Clone)]
pub(crate) struct Ksync {
    pub(crate) home: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    /// Given with every command.
    pub(crate) namespace: String,
    /// Guards that are switched off, where the feature for it is built in.
    pub(crate) guards_off: &'static str,
    /// From which size on files go through syncthing; the default where empty.
    pub(crate) large_file: &'static str,
}

/// A spec as `get -o json` shows it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) ready: String,
    pub(crate) containers: Vec<Row>,
    healings: Option<Healings>,
}

/// What was found to be other than it was known, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct Healings {
    missed: u64,
    recounted: u64,
}

/// A container of a spec.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) pod: String,
    pub(crate) container_id: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) two_way: bool,
    healings: Option<Healings>,
    pub(crate) excluded: Vec<String>,
    pub(crate) reloads: u64,
    pub(crate) last_reload: Option<String>,
    pub(crate) reload_note: String,
}

#[derive(Deserialize)]
struct SpecList {
    items: Vec<Spec>,
}

impl Spec {
    /// The one container whose changes come back.
    pub(crate) fn two_way(&self) -> Option<&Row> {
        self.containers.iter().find(|row| row.two_way)
    }

    fn shown(&self) -> String {
        let row = |row: &Row| format!("{} {} {}", row.pod, row.status, row.reason);
        let rows: Vec<String> = self.containers.iter().map(row).collect();
        format!("{} {} {} [{}]", self.status, self.ready, self.reason, rows.join(", "))
    }
}

impl Ksync {
    /// KSYNC_TEST_PROGRAM, or the one that was built together with the suite.
    pub(crate) fn program() -> &'static Path {
        static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
            let given = std::env::var_os("KSYNC_TEST_PROGRAM").filter(|path| !path.is_empty());
            given.map_or_else(|| env!("CARGO_BIN_EXE_kubectl-ksync").into(), PathBuf::from)
        });
        &PROGRAM
    }

    /// Runs it with the given arguments, whatever comes of it.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = shell::command(Self::program());
        command.env("KUBECONFIG", &self.kubeconfig).env("KSYNC_HOME", &self.home);
        command.env("KSYNC_GUARDS_OFF", self.guards_off).env("KSYNC_LARGE_FILE", self.large_file);
        command.env_remove("RUST_LOG").args(["-n", &self.namespace]).args(args);
        shell::run(&mut command, None)
    }

    /// The same at a terminal, whose talk is all on stdout. Words are not to need quotes.
    pub(crate) fn run_at_terminal(&self, args: &[&str]) -> Output {
        let program = Self::program().display().to_string();
        let line = [&[program.as_str(), "-n", &self.namespace], args].concat().join(" ");
        let mut command = shell::command(Path::new("script"));
        command.env("KUBECONFIG", &self.kubeconfig).env("KSYNC_HOME", &self.home).env_remove("RUST_LOG");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        shell::run(&mut command, None)
    }

    /// Stdout of a success.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok().unwrap_or_else(|said| panic!("kubectl ksync {}: {said}", args.join(" ")))
    }

    /// Stderr of a refusal, which is all that a refusal may say.
    #[track_caller]
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!((output.status, output.stdout.as_str()), (Some(1), ""), "{args:?}: {}", output.stderr);
        output.stderr
    }

    /// What `get` says, or why it says nothing.
    pub(crate) fn specs(&self) -> Result<Vec<Spec>, String> {
        let text = self.run(&["get", "-o", "json"]).ok()?;
        serde_json::from_str::<SpecList>(&text)
            .map(|list| list.items)
            .map_err(|error| format!("{error}: {text}"))
    }

    pub(crate) fn spec(&self, name: &str) -> Result<Spec, String> {
        let specs = self.specs()?;
        let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
        specs.into_iter().find(|spec| spec.name == name).ok_or_else(|| format!("there are only {names:?}"))
    }

    /// Waits until `get` says `status`.
    #[track_caller]
    pub(crate) fn becomes(&self, name: &str, status: &str, limit: Duration) -> Spec {
        self.becomes_so(name, status, limit, |spec| spec.status == status)
    }

    /// Waits until so many containers are in sync, and no others are there.
    #[track_caller]
    pub(crate) fn watching(&self, name: &str, containers: usize, limit: Duration) -> Spec {
        let ready = format!("{containers}/{containers}");
        self.becomes_so(name, &format!("watching {ready}"), limit, |spec| {
            spec.status == "watching" && spec.ready == ready
        })
    }

    /// The same, with exactly these containers.
    #[track_caller]
    pub(crate) fn watching_ids(&self, name: &str, ids: &[&str], limit: Duration) -> Spec {
        self.becomes_so(name, &format!("watching {ids:?}"), limit, |spec| {
            spec.status == "watching"
                && spec.containers.len() == ids.len()
                && ids.iter().all(|id| spec.containers.iter().any(|row| row.container_id == *id))
        })
    }

    /// Waits until no container is left, for want of pods.
    #[track_caller]
    pub(crate) fn waiting(&self, name: &str, limit: Duration) -> Spec {
        self.becomes_so(name, "waiting, without containers", limit, |spec| {
            spec.status == "waiting" && spec.containers.is_empty()
        })
    }

    #[track_caller]
    fn becomes_so(&self, name: &str, what: &str, limit: Duration, is: impl Fn(&Spec) -> bool) -> Spec {
        eventually(&format!("spec `{name}` to be {what}"), limit, || {
            let spec = self.spec(name)?;
            holds(is(&spec), spec.shown())?;
            Ok(spec)
        })
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.home.join("ksync.yaml")
    }

    /// The watcher's process id, as `version` tells it.
    pub(crate) fn watcher(&self) -> Option<u32> {
        let text = self.run(&["version"]).stdout;
        let (_, rest) = text.split_once("(process ")?;
        rest.split_once(')')?.0.parse().ok()
    }

    /// Nobody has changed a file on both sides, and nobody is told so.
    #[track_caller]
    pub(crate) fn no_conflicts(&self) {
        let listed = self.run(&["conflicts"]);
        assert_eq!(
            (listed.stdout.as_str(), listed.stderr.as_str()),
            ("", "no conflicts\n"),
            "{}",
            self.log()
        );
        let warned = self.run(&["get"]).stderr;
        assert!(!warned.contains("conflict"), "{warned}");
    }

    /// Changes here that no event has told of.
    pub(crate) fn missed_here(&self, spec: &str) -> Result<u64, String> {
        let healings = self.spec(spec)?.healings;
        healings.map(|healings| healings.missed).ok_or_else(|| "the watcher does not say".to_owned())
    }

    /// Nothing of a spec had to be mended by sums or by the audit: file system events told all.
    #[track_caller]
    pub(crate) fn no_healings(&self, spec: &str) {
        let spec = self.spec(spec).expect("the spec");
        let none = Some(Healings { missed: 0, recounted: 0 });
        let all = spec.containers.iter().map(|row| row.healings).chain([spec.healings]);
        assert!(all.into_iter().all(|healings| healings == none), "{spec:?}");
    }

    /// Where it is noted what was equal on both sides.
    pub(crate) fn bases(&self) -> Vec<PathBuf> {
        entries(&self.home.join("contexts")).flat_map(|context| entries(&context.join("base"))).collect()
    }

    /// The content of every file that was kept when a container's change replaced or deleted it.
    pub(crate) fn kept(&self) -> Vec<String> {
        let mut dirs: Vec<PathBuf> =
            entries(&self.home.join("contexts")).map(|context| context.join("kept")).collect();
        let mut contents = Vec::new();
        while let Some(dir) = dirs.pop() {
            for path in entries(&dir) {
                if path.is_dir() {
                    dirs.push(path);
                } else if !path.ends_with("local-path") {
                    // That one says which directory the others are from.
                    contents.push(std::fs::read_to_string(path).unwrap_or_default());
                }
            }
        }
        contents
    }

    /// The log of the one context that there is.
    pub(crate) fn log(&self) -> String {
        self.logs("watch.log")
    }

    /// The log of that name.
    pub(crate) fn logs(&self, name: &str) -> String {
        let contexts = entries(&self.home.join("contexts"));
        contexts.filter_map(|context| std::fs::read_to_string(context.join(name)).ok()).collect()
    }
}

/// What is in a directory; nothing where there is none.
fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}
