//! Where things are kept on this machine: `~/.ksync` or KSYNC_HOME. Directories are 0700, what others could be fooled
//! by (a socket's directory under /tmp) is checked for its owner, and nothing that a process locks or listens on is on
//! a network file system.

mod error;
mod own;
mod place;
mod write;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

pub(crate) use error::Error;
pub(crate) use own::{NotOwn, check_program, is_trusted, read_own};
pub(crate) use place::{make_dir, private_dir};
pub(crate) use write::write_whole;

/// Longest path that a Unix socket is bound to; the system's limit is about 107 bytes (103 on macOS).
const SOCKET_PATH_MAX: usize = 100;

/// The directory with `ksync.yaml`, and where the rest goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home {
    root: PathBuf,
    contexts: PathBuf,
}

impl Home {
    /// From the environment. Nothing is created, and one that others could write in is refused.
    pub(crate) fn from_env() -> Result<Self, Error> {
        let env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = Self::resolve(env, place::is_network)?;
        let checked = own::check_at("the directory", &home.root);
        checked.map_err(|source| Error::Io { operation: "use", path: home.root.clone(), source })?;
        Ok(home)
    }

    fn resolve(
        env: impl Fn(&str) -> Option<OsString>,
        is_network: impl Fn(&Path) -> bool,
    ) -> Result<Self, Error> {
        let user = env("HOME").map(PathBuf::from);
        let root = match (env("KSYNC_HOME"), &user) {
            (Some(set), _) => PathBuf::from(set),
            (None, Some(user)) => user.join(".ksync"),
            (None, None) => return Err(Error::Nowhere),
        };
        let root = std::path::absolute(&root).map_err(|source| Error::Io {
            operation: "resolve",
            path: root,
            source,
        })?;
        let contexts = if is_network(&root) {
            let local = env("XDG_STATE_HOME")
                .map(PathBuf::from)
                .or_else(|| user.map(|user| user.join(".local/state")))
                .filter(|dir| dir.is_absolute() && !is_network(dir));
            let name = format!("ksync-{}", short_hash(root.as_os_str().as_encoded_bytes()));
            match local {
                Some(state) => state.join(name).join("contexts"),
                None => PathBuf::from(format!("/var/tmp/{name}-{}", place::uid())).join("contexts"),
            }
        } else {
            root.join("contexts")
        };
        Ok(Self { root, contexts })
    }

    /// The home itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `ksync.yaml`.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.root.join("ksync.yaml")
    }

    /// The directory of fetched programs.
    pub(crate) fn bin_dir(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The syncthing that `init` fetched.
    pub(crate) fn syncthing(&self) -> PathBuf {
        self.bin_dir().join("syncthing")
    }

    /// The directory with one directory per context; on a local file system.
    pub(crate) fn contexts_dir(&self) -> &Path {
        &self.contexts
    }

    /// The state of one kubeconfig context of one cluster. `cluster` is the cluster identity's hash.
    pub(crate) fn context(&self, name: &str, cluster: &str) -> ContextDir {
        ContextDir { dir: self.contexts.join(format!("{}-{cluster}", slug(name))) }
    }

    /// The state directories that exist, of all contexts.
    pub(crate) fn contexts(&self) -> Result<Vec<ContextDir>, Error> {
        let failed = |source| Error::Io { operation: "read", path: self.contexts.clone(), source };
        let entries = match std::fs::read_dir(&self.contexts) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                found.push(ContextDir { dir: entry.path() });
            }
        }
        found.sort_by(|a, b| a.dir.cmp(&b.dir));
        Ok(found)
    }

    /// Makes the home, private where it is new.
    pub(crate) fn create(&self) -> Result<(), Error> {
        place::make_dir(&self.root)
    }
}

/// What one context's watcher keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextDir {
    dir: PathBuf,
}

impl ContextDir {
    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Makes it and what is above it, private.
    pub(crate) fn create(&self) -> Result<(), Error> {
        if let Some(contexts) = self.dir.parent() {
            if let Some(home) = contexts.parent() {
                place::make_dir(home)?;
            }
            private_dir(contexts)?;
        }
        private_dir(&self.dir)
    }

    /// Locked by the watcher.
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Locked by a command that starts the watcher, until it is ready.
    pub(crate) fn starting(&self) -> PathBuf {
        self.dir.join("starting")
    }

    /// The watcher's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("watch.log")
    }

    /// The local syncthing's home.
    pub(crate) fn syncthing_home(&self) -> PathBuf {
        self.dir.join("syncthing")
    }

    /// Large files on their way, by node.
    pub(crate) fn spools(&self) -> PathBuf {
        self.dir.join("spool")
    }

    /// What a spec's containers are, by spec; earlier versions kept what was last equal there.
    pub(crate) fn kinds(&self) -> PathBuf {
        self.dir.join("base")
    }

    /// What is known of a local path's containers, and the questions that wait for a person.
    pub(crate) fn waiting(&self) -> PathBuf {
        self.dir.join("waiting")
    }

    /// What was replaced or deleted by a container's change, by folder.
    pub(crate) fn kept(&self) -> PathBuf {
        self.dir.join("kept")
    }

    /// The watcher's socket. Its directory may have to be made with [`private_dir`] before it is bound.
    pub(crate) fn socket(&self) -> PathBuf {
        self.short("watch.sock", std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from))
    }

    /// The local syncthing's REST socket, likewise.
    pub(crate) fn syncthing_socket(&self) -> PathBuf {
        self.short("st.sock", std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from))
    }

    fn short(&self, name: &str, runtime_dir: Option<PathBuf>) -> PathBuf {
        let fits = |path: &Path| path.as_os_str().len() <= SOCKET_PATH_MAX;
        let own = self.dir.join(name);
        if fits(&own) {
            return own;
        }
        let hash = short_hash(self.dir.as_os_str().as_encoded_bytes());
        runtime_dir
            .filter(|dir| dir.is_absolute() && dir.is_dir())
            .map(|dir| dir.join(format!("ksync-{hash}")).join(name))
            .filter(|path| fits(path))
            .unwrap_or_else(|| PathBuf::from(format!("/tmp/ksync-{}-{hash}", place::uid())).join(name))
    }
}

/// Twelve hex digits of BLAKE3.
pub fn short_hash(data: &[u8]) -> String {
    let mut hex = blake3::hash(data).to_hex().to_string();
    hex.truncate(12);
    hex
}

/// A context's name as a short file name; only for people, the hash tells contexts apart.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= 24 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "context".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, os::unix::fs::PermissionsExt, path::PathBuf};

    use super::{ContextDir, Error, Home, slug};

    fn home(vars: &[(&str, &str)], network: &[&str]) -> Result<Home, Error> {
        let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Home::resolve(env, |path| network.iter().any(|n| path.starts_with(n)))
    }

    #[test]
    fn the_environment_decides() {
        let plain = home(&[("HOME", "/home/u")], &[]).unwrap();
        assert_eq!(plain.config_file(), PathBuf::from("/home/u/.ksync/ksync.yaml"));
        assert_eq!(plain.contexts_dir(), PathBuf::from("/home/u/.ksync/contexts"));
        assert_eq!(
            home(&[("HOME", "/home/u"), ("KSYNC_HOME", "/k")], &[]).unwrap().root(),
            PathBuf::from("/k")
        );
        assert!(matches!(home(&[], &[]), Err(Error::Nowhere)));
    }

    #[test]
    fn a_network_home_keeps_its_state_on_this_machine() {
        let vars = [("HOME", "/nfs/u"), ("KSYNC_HOME", "/nfs/u/.ksync"), ("XDG_STATE_HOME", "/local/state")];
        let contexts = home(&vars, &["/nfs"]).unwrap().contexts_dir().to_owned();
        assert!(contexts.starts_with("/local/state") && contexts.ends_with("contexts"), "{contexts:?}");
        let contexts = home(&vars[..2], &["/nfs"]).unwrap().contexts_dir().to_owned();
        assert!(contexts.starts_with("/var/tmp"), "{contexts:?}");
    }

    #[test]
    fn sockets_fit_the_limit() {
        let short = ContextDir { dir: "/home/u/.ksync/contexts/c-0123456789ab".into() };
        assert_eq!(short.short("watch.sock", None), short.path().join("watch.sock"));
        let long = ContextDir { dir: PathBuf::from(format!("/{}", "x".repeat(120))) };
        for runtime in [None, Some(std::env::temp_dir()), Some("/does/not/exist".into())] {
            let path = long.short("watch.sock", runtime);
            assert!(path.as_os_str().len() <= 100 && !path.starts_with(long.path()), "{path:?}");
        }
        assert_ne!(
            long.short("a", None),
            ContextDir { dir: format!("/{}", "y".repeat(120)).into() }.short("a", None)
        );
    }

    #[test]
    fn slugs_are_file_names() {
        assert_eq!(slug("arn:aws:eks:eu-west-1:1:cluster/Dev"), "arn-aws-eks-eu-west-1-1");
        assert_eq!(slug("../.."), "context");
    }

    #[test]
    fn directories_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("k").to_str().unwrap().to_owned();
        let context = home(&[("KSYNC_HOME", &root)], &[]).unwrap().context("minikube", "0123456789ab");
        context.create().unwrap();
        context.create().unwrap();
        for path in [dir.path().join("k"), dir.path().join("k/contexts"), context.path().to_owned()] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{path:?}");
        }
    }
}
