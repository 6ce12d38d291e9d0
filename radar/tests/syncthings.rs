//! `radar syncthing` with real syncthings: what each of them is left with, and when it ends. As root. `KSYNC_TEST_SYNCTHING` names
//! the program (`make syncthing-test`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    unsafe_code,
    reason = "the whole target is a test"
)]

use std::{
    collections::BTreeSet,
    fs, io,
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::AsFd,
        unix::{
            fs::{DirBuilderExt, MetadataExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ksync_keys::Identity;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use serde_json::{Value, json};
use syncthing::{Client, Device};
use tokio::io::AsyncWriteExt as _;

const LIMIT: Duration = Duration::from_secs(40);

/// `radar syncthing`, in a directory of its own.
struct Supervisor {
    dir: tempfile::TempDir,
    process: Child,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // It may have been ended before.
        drop(self.process.kill());
        self.process.wait().unwrap();
    }
}

/// A syncthing, for as long as the connection is open.
struct Syncthing {
    pid: i64,
    home: PathBuf,
    spools: PathBuf,
    client: Client,
    lifeline: UnixStream,
}

/// Waits for what is to come.
fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Supervisor {
    fn start() -> Self {
        let binary = std::env::var_os("KSYNC_TEST_SYNCTHING").expect("KSYNC_TEST_SYNCTHING is set");
        // The process's other tests may have done so.
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_radar"))
            .arg("syncthing")
            .arg("--dir")
            .arg(dir.path())
            .arg("--syncthing")
            .arg(binary)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let supervisor = Self { dir, process };
        until("it listens", || UnixStream::connect(supervisor.lifeline()).is_ok());
        supervisor
    }

    fn lifeline(&self) -> PathBuf {
        self.dir.path().join("run/lifeline.sock")
    }

    fn ask(&self, what: &Value) -> (UnixStream, Value) {
        let mut stream = UnixStream::connect(self.lifeline()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        writeln!(stream, "{what}").unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        (stream, serde_json::from_str(&line).unwrap())
    }

    /// One for the session `name`, which answers.
    async fn syncthing(&self, name: &str, start: u32) -> Syncthing {
        let session = self.dir.path().join("sessions").join(name);
        let (home, spools) = (session.join(format!("home-{start}")), session.join("spool"));
        for dir in [&home, &spools] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).unwrap();
        }
        let identity = Identity::for_syncthing().unwrap();
        identity.give_to(&home).unwrap();
        let begun = Instant::now();
        let (lifeline, answer) = self.ask(&json!({"Syncthing": {"home": home, "spools": spools}}));
        let greeting = &answer["Syncthing"];
        let pid = greeting["pid"].as_i64().unwrap_or_else(|| panic!("{answer}"));
        let gui = greeting["gui"].as_str().unwrap();
        let client = Client::unix(Path::new(gui), greeting["api_key"].as_str().unwrap()).unwrap();
        let id = loop {
            match client.my_id().await {
                Ok(id) => break id,
                Err(error) => assert!(begun.elapsed() < LIMIT, "syncthing does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        println!("{name}: answers after {:?}, {}", begun.elapsed(), memory(pid));
        assert_eq!(id, identity.fingerprint().device_id());
        Syncthing { pid, home, spools, client, lifeline }
    }
}

fn memory(pid: i64) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let lines = status
        .lines()
        .filter(|line| ["VmHWM", "VmRSS", "VmPeak", "VmData"].iter().any(|field| line.starts_with(field)));
    lines.collect::<Vec<_>>().join(" ").replace('\t', " ")
}

/// A field of a process's status.
fn status(pid: i64, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":"));
    line.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
}

fn namespace(pid: &str, kind: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

fn lives(pid: i64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

impl Syncthing {
    /// Its own name for a path of ours.
    fn sees(&self, path: &Path) -> PathBuf {
        format!("/proc/{}/root{}", self.pid, path.display()).into()
    }

    /// Whether its root is not the root of its mount namespace: such a process gets no user namespace (clone(2)).
    fn is_in_a_chroot(&self) -> bool {
        let namespace = fs::File::open(format!("/proc/{}/ns/mnt", self.pid)).unwrap();
        let root_of = |path: PathBuf| {
            let root = fs::metadata(path).unwrap();
            (root.dev(), root.ino())
        };
        let own = root_of(self.sees(Path::new("/")));
        let entered = std::thread::spawn(move || {
            // SAFETY: this thread's working directory and root are its own from now on, and it ends below.
            unsafe { unshare_unsafe(UnshareFlags::FS) }.unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount)).unwrap();
            root_of("/".into())
        });
        entered.join().unwrap() != own
    }

    /// All that it sees, but for what is in its two directories.
    fn sees_all(&self) -> BTreeSet<PathBuf> {
        let root = self.sees(Path::new("/"));
        let mut found = BTreeSet::new();
        let mut dirs = vec![root.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let entry = entry.unwrap().path();
                let path = Path::new("/").join(entry.strip_prefix(&root).unwrap());
                if path != self.home && path != self.spools && entry.is_dir() {
                    dirs.push(entry);
                }
                found.insert(path);
            }
        }
        found
    }
}

#[tokio::test]
#[ignore = "takes a syncthing: make syncthing-test"]
async fn it_has_two_directories_and_no_power() {
    let supervisor = Supervisor::start();
    let (mine, other) = (supervisor.syncthing("mine", 1).await, supervisor.syncthing("other", 1).await);
    let mut ways: BTreeSet<PathBuf> = [mine.home.clone(), mine.spools.clone()].into();
    ways.extend(mine.home.ancestors().chain(mine.spools.ancestors()).map(Path::to_path_buf));
    ways.remove(Path::new("/"));
    assert_eq!(mine.sees_all(), ways);
    assert!(mine.home.join("key.pem").exists() && mine.sees(&mine.home.join("key.pem")).exists());
    assert!(!mine.sees(&other.home).exists() && !mine.sees(Path::new("/proc")).exists());
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", mine.pid)).unwrap();
    assert_eq!(mounts.lines().count(), 2, "{mounts}");
    for line in mounts.lines() {
        let point = line.split(' ').nth(4).unwrap();
        let options: Vec<_> = line.split(' ').nth(5).unwrap().split(',').collect();
        for option in ["nosuid", "nodev", "noexec", "nosymfollow", "rw"] {
            assert!(options.contains(&option), "{option} at `{point}`: {options:?}");
        }
    }
    let refused = fs::create_dir(mine.sees(Path::new("/more"))).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert!(mine.is_in_a_chroot(), "it could make user namespaces");
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(mine.pid, field), "0000000000000000", "{field}");
    }
    assert_eq!(status(mine.pid, "NoNewPrivs"), "1");
    assert_eq!(
        status(mine.pid, "NSpid").split('\t').next_back(),
        Some("1"),
        "the first of its PID namespace"
    );
    let adjusted = fs::read_to_string(format!("/proc/{}/oom_score_adj", mine.pid)).unwrap();
    assert_eq!(adjusted.trim(), "1000");
    let limits = fs::read_to_string(format!("/proc/{}/limits", mine.pid)).unwrap();
    let limit = |name| limits.lines().find_map(|line: &str| line.strip_prefix(name)).unwrap();
    for (name, most) in [("Max data size", "201326592"), ("Max core file size", "0")] {
        assert!(limit(name).split_whitespace().take(2).all(|bytes| bytes == most), "{limits}");
    }
    for kind in ["mnt", "pid", "net", "ipc"] {
        let of = |pid: &str| namespace(pid, kind);
        let all: BTreeSet<_> = [of(&mine.pid.to_string()), of(&other.pid.to_string()), of("self")].into();
        assert_eq!(all.len(), 3, "{kind}: {all:?}");
    }
    // It has a loopback, on which it is the only one; 22000 is 55F0.
    let listens = fs::read_to_string(format!("/proc/{}/net/tcp", mine.pid)).unwrap();
    let listens: Vec<_> =
        listens.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(listens, ["0100007F:55F0"]);
    let devices = fs::read_to_string(format!("/proc/{}/net/dev", mine.pid)).unwrap();
    assert_eq!(devices.lines().skip(2).count(), 1, "{devices}");
    // What it was started with: nothing of ours is open, and nothing of ours is told.
    for fd in fs::read_dir(format!("/proc/{}/fd", mine.pid)).unwrap() {
        let (number, to) = (fd.as_ref().unwrap().file_name(), fs::read_link(fd.unwrap().path()).unwrap());
        // The kernel shows it from the root of the mount namespace.
        let inside = to.strip_prefix("/root").map_or(to.clone(), |path| Path::new("/").join(path));
        let own = inside.starts_with(&mine.home) || !to.is_absolute() || to == Path::new("/dev/null");
        assert!(own || number == "2", "{number:?} is {}", to.display());
    }
    let environment = fs::read_to_string(format!("/proc/{}/environ", mine.pid)).unwrap();
    let names: BTreeSet<_> =
        environment.split_terminator('\0').map(|v| v.split('=').next().unwrap()).collect();
    assert!(names.contains("GOMEMLIMIT") && !names.contains("PATH"), "{names:?}");
    assert!(mine.client.folders().await.unwrap().is_empty());
}

#[tokio::test]
#[ignore = "takes a syncthing: make syncthing-test"]
async fn it_ends_with_its_connection_and_with_its_parent() {
    let mut supervisor = Supervisor::start();
    let (mine, other) = (supervisor.syncthing("mine", 1).await, supervisor.syncthing("other", 1).await);
    drop(mine.lifeline);
    until("it ends with its connection", || !lives(mine.pid));
    assert!(lives(other.pid));
    supervisor.process.kill().unwrap();
    until("it ends with its parent", || !lives(other.pid));
}

#[tokio::test]
#[ignore = "takes a syncthing: make syncthing-test"]
async fn the_connection_ends_with_it_and_another_can_be_started() {
    let supervisor = Supervisor::start();
    let mut mine = supervisor.syncthing("mine", 1).await;
    let killed = Command::new("kill").args(["-KILL", &mine.pid.to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(mine.lifeline.read(&mut [0]).unwrap(), 0);
    assert!(!lives(mine.pid), "it was waited for");
    let again = supervisor.syncthing("mine", 2).await;
    assert!(again.sees(&again.spools).exists() && !again.sees(&mine.home).exists());
    let (_stream, answer) = supervisor.ask(&json!("Presence"));
    assert_eq!(answer["Presence"], again.client.version().await.unwrap());
}

/// The attack: a device that the session knows, its watcher's or one that has its key, announces a message of 400 MB.
#[tokio::test]
#[ignore = "takes a syncthing: make syncthing-test"]
async fn what_floods_it_ends_it_and_no_other() {
    let supervisor = Supervisor::start();
    let (mut mine, other) = (supervisor.syncthing("mine", 1).await, supervisor.syncthing("other", 1).await);
    let identity = Identity::for_syncthing().unwrap();
    let device = Device::new(&identity.fingerprint().device_id(), "watcher", None);
    mine.client.put_device(&device).await.unwrap();
    let network = fs::File::open(format!("/proc/{}/ns/net", mine.pid)).unwrap();
    let dial = std::thread::spawn(move || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        std::net::TcpStream::connect("127.0.0.1:22000").unwrap()
    });
    let stream = dial.join().unwrap();
    stream.set_nonblocking(true).unwrap();
    let keys = ksync_keys::Client::speaking(identity, b"bep/1.0").unwrap();
    let mut stream = keys.connect(tokio::net::TcpStream::from_std(stream).unwrap()).await.unwrap();
    // A greeting that says nothing, and the head of a message without one (syncthing/tests/requests/bep.rs).
    let mut flood = vec![0x2E, 0xA7, 0xD9, 0x0B, 0, 0, 0, 0];
    flood.extend((400_u32 << 20).to_be_bytes());
    stream.write_all(&flood).await.unwrap();
    stream.flush().await.unwrap();
    mine.lifeline.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(mine.lifeline.read(&mut [0]).unwrap(), 0, "it ends");
    assert!(lives(other.pid));
    assert!(other.client.my_id().await.is_ok());
}

#[tokio::test]
#[ignore = "takes a syncthing: make syncthing-test"]
async fn what_can_not_be_started_is_said() {
    let supervisor = Supervisor::start();
    let home = supervisor.dir.path().join("file");
    fs::write(&home, "").unwrap();
    let spools = supervisor.dir.path();
    let (_stream, answer) = supervisor.ask(&json!({"Syncthing": {"home": home, "spools": spools}}));
    let refused = answer["Refused"].as_str().unwrap();
    assert!(refused.starts_with(&format!("prepare syncthing's home `{}`", home.display())), "{refused}");
}
