//! The faults, as data: name, target, how it is broken, for how long at most.

use ksync_judge::Fault;

/// A process that is killed or made to stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Watcher,
    LocalSyncthing,
    Radar,
    NodeSyncthing,
    /// `radar syncthing`, the parent of the node's syncthing.
    NodeParent,
}

/// What happens to the local directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Away {
    Moved,
    Replaced,
    Unmounted,
}

/// What happens to ksync.yaml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Config {
    Broken,
    Emptied,
    Edited,
}

/// Which disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Laptop,
    Home,
    Volume,
}

/// How it is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Kill(Part),
    Stop(Part),
    DeleteRadarsPod,
    KillContainer,
    DeletePod { forced: bool },
    Kubelet(u8),
    Runtime(u8),
    ApiServer,
    Full(Full),
    Local(Away),
    Config(Config),
    StopAndStart,
}

impl Kind {
    /// What is mended first has the highest: a command that mends the rest may need the cluster, then files; and what was
    /// killed only comes back when what carries it runs, and what it asks answers.
    pub(crate) fn mended(self) -> u8 {
        match self {
            Self::ApiServer => 3,
            Self::Full(_) | Self::Local(_) | Self::Config(_) => 2,
            Self::Stop(_) | Self::Kubelet(_) | Self::Runtime(_) => 1,
            Self::Kill(_)
            | Self::DeleteRadarsPod
            | Self::KillContainer
            | Self::DeletePod { .. }
            | Self::StopAndStart => 0,
        }
    }
}

/// The nodes' runtimes, by node.
pub(crate) const RUNTIMES: [&str; 3] = ["containerd", "docker", "crio"];

const fn fault(name: &'static str, target: &'static str, seconds: u32, kind: Kind) -> (Fault, Kind) {
    (Fault { name, target, seconds }, kind)
}

/// All of them.
pub(crate) const ALL: &[(Fault, Kind)] = &[
    fault("watcher-kill", "watcher", 2, Kind::Kill(Part::Watcher)),
    fault("watcher-stop-5", "watcher", 5, Kind::Stop(Part::Watcher)),
    fault("watcher-stop-20", "watcher", 20, Kind::Stop(Part::Watcher)),
    fault("watcher-stop-60", "watcher", 60, Kind::Stop(Part::Watcher)),
    fault("local-syncthing-kill", "local-syncthing", 1, Kind::Kill(Part::LocalSyncthing)),
    fault("local-syncthing-stop-5", "local-syncthing", 5, Kind::Stop(Part::LocalSyncthing)),
    fault("local-syncthing-stop-20", "local-syncthing", 20, Kind::Stop(Part::LocalSyncthing)),
    fault("local-syncthing-stop-60", "local-syncthing", 60, Kind::Stop(Part::LocalSyncthing)),
    fault("radar-kill", "radar", 1, Kind::Kill(Part::Radar)),
    fault("radar-stop-5", "radar", 5, Kind::Stop(Part::Radar)),
    fault("radar-stop-20", "radar", 20, Kind::Stop(Part::Radar)),
    fault("radar-stop-60", "radar", 60, Kind::Stop(Part::Radar)),
    fault("node-syncthing-kill", "node-syncthing", 1, Kind::Kill(Part::NodeSyncthing)),
    fault("node-syncthing-stop-5", "node-syncthing", 5, Kind::Stop(Part::NodeSyncthing)),
    fault("node-syncthing-stop-20", "node-syncthing", 20, Kind::Stop(Part::NodeSyncthing)),
    fault("node-syncthing-stop-60", "node-syncthing", 60, Kind::Stop(Part::NodeSyncthing)),
    fault("node-parent-kill", "node-parent", 1, Kind::Kill(Part::NodeParent)),
    fault("node-parent-stop-5", "node-parent", 5, Kind::Stop(Part::NodeParent)),
    fault("node-parent-stop-20", "node-parent", 20, Kind::Stop(Part::NodeParent)),
    fault("node-parent-stop-60", "node-parent", 60, Kind::Stop(Part::NodeParent)),
    fault("radar-pod-delete", "radar-pod", 1, Kind::DeleteRadarsPod),
    fault("container-kill", "container", 1, Kind::KillContainer),
    fault("pod-delete", "pod", 1, Kind::DeletePod { forced: false }),
    fault("pod-delete-forced", "pod", 1, Kind::DeletePod { forced: true }),
    fault("kubelet-1-restart", "kubelet-1", 1, Kind::Kubelet(1)),
    fault("kubelet-2-restart", "kubelet-2", 1, Kind::Kubelet(2)),
    fault("kubelet-3-restart", "kubelet-3", 1, Kind::Kubelet(3)),
    fault("containerd-restart", "containerd", 1, Kind::Runtime(1)),
    fault("docker-restart", "docker", 1, Kind::Runtime(2)),
    fault("crio-restart", "crio", 1, Kind::Runtime(3)),
    fault("api-server-away-5", "api-server", 5, Kind::ApiServer),
    fault("api-server-away-30", "api-server", 30, Kind::ApiServer),
    fault("api-server-away-90", "api-server", 90, Kind::ApiServer),
    fault("laptop-disk-full", "laptop-disk", 4, Kind::Full(Full::Laptop)),
    fault("home-full", "home", 4, Kind::Full(Full::Home)),
    fault("volume-full", "volume", 4, Kind::Full(Full::Volume)),
    fault("local-moved", "local", 4, Kind::Local(Away::Moved)),
    fault("local-replaced", "local", 4, Kind::Local(Away::Replaced)),
    fault("local-unmounted", "local", 4, Kind::Local(Away::Unmounted)),
    fault("config-broken", "config", 3, Kind::Config(Config::Broken)),
    fault("config-emptied", "config", 3, Kind::Config(Config::Emptied)),
    fault("config-edited", "config", 3, Kind::Config(Config::Edited)),
    fault("stop-and-start", "watcher", 3, Kind::StopAndStart),
];

/// Those that a command line names, or all.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<(Fault, Kind)>, String> {
    let unknown =
        names.iter().find(|name| *name != "calm" && !ALL.iter().any(|(fault, _)| fault.name == **name));
    if let Some(unknown) = unknown {
        let all: Vec<&str> = ALL.iter().map(|(fault, _)| fault.name).collect();
        return Err(format!("no fault is called `{unknown}`; there are calm, {}", all.join(", ")));
    }
    let named = |(fault, _): &&(Fault, Kind)| names.is_empty() || names.iter().any(|name| name == fault.name);
    Ok(ALL.iter().filter(named).copied().collect())
}
