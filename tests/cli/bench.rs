//! The program with an environment of its own, and an assertion that states all it says.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use kubectl_ksync::{ClusterArgs, ClusterConfig};

/// A kubeconfig of two contexts whose clusters are not there.
const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: dev
clusters:
- name: one
  cluster: {server: 'https://127.0.0.1:1'}
contexts:
- name: dev
  context: {cluster: one, user: me, namespace: team}
- name: prod
  context: {cluster: one, user: me}
users:
- name: me
  user: {}
";

/// A home, a kubeconfig, a local directory.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

/// What a command is expected to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Says<'a> {
    pub(crate) status: i32,
    pub(crate) stdout: &'a str,
    pub(crate) stderr: &'a str,
}

/// A refusal: status 1, nothing on stdout.
pub(crate) fn refusal(stderr: &str) -> Says<'_> {
    Says { status: 1, stdout: "", stderr }
}

/// A success with nothing on stderr.
pub(crate) fn data(stdout: &str) -> Says<'_> {
    Says { status: 0, stdout, stderr: "" }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("kubeconfig"), KUBECONFIG).unwrap();
        fs::create_dir(dir.path().join("local")).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        // What the program prints has no symlinks in it.
        fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home().join("ksync.yaml")
    }

    /// The state directories of all contexts.
    pub(crate) fn contexts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.home().join("contexts")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The state directory of the current context, which may not exist yet.
    pub(crate) fn context_dir(&self) -> PathBuf {
        let args = ClusterArgs { kubeconfig: Some(self.path("kubeconfig")), ..ClusterArgs::default() };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let cluster = runtime.block_on(ClusterConfig::load(&args)).unwrap();
        self.home().join(format!("contexts/{}-{}", cluster.context, cluster.hash()))
    }

    /// Writes a file below the state directory, and the directories that it is in.
    pub(crate) fn put(&self, below: &str, text: &str) -> PathBuf {
        let path = self.context_dir().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn write_config(&self, text: &str) {
        fs::create_dir_all(self.home()).unwrap();
        fs::write(self.config(), text).unwrap();
    }

    /// The program with these arguments, in the bench's directory.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-ksync"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path()).env("KSYNC_HOME", self.home());
        command.env("KUBECONFIG", self.path("kubeconfig")).current_dir(self.dir.path()).args(args);
        command
    }

    /// The same as a user whom modes hold back. root needs its capabilities taken away for that.
    pub(crate) fn powerless(&self, args: &[&str]) -> Command {
        let inner = self.command(args);
        let probe = self.path("probe");
        fs::create_dir(&probe).unwrap();
        set_mode(&probe, 0o000);
        let mighty = fs::read_dir(&probe).is_ok();
        fs::remove_dir(&probe).unwrap();
        if !mighty {
            return inner;
        }
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]).arg(inner.get_program());
        command.args(inner.get_args()).current_dir(inner.get_current_dir().unwrap());
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    #[track_caller]
    pub(crate) fn says(&self, args: &[&str], expected: Says<'_>) {
        check(&mut self.command(args), expected);
    }

    /// Refuses it, and leaves no trace.
    #[track_caller]
    pub(crate) fn refuses(&self, args: &[&str], stderr: &str) {
        let before = snapshot(&self.home());
        self.says(args, refusal(stderr));
        assert_eq!(snapshot(&self.home()), before, "something was half-written");
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
pub(crate) fn check(command: &mut Command, expected: Says<'_>) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    let said = Says { status: status.code().unwrap(), stdout: &stdout, stderr: &stderr };
    assert_eq!(said, expected);
}

/// Every file below a directory with its content; nothing where there is no directory.
fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            found.extend(snapshot(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}
