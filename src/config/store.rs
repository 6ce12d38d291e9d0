//! The file on disk: read as a whole, changed under its lock, replaced by rename. A symlink stays one; a mode stays.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Draft, Error, Loaded};
use crate::{
    home::{read_own, write_whole},
    lock::Lock,
};

/// How long a command waits for another one that changes the file.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a change is made anew because an editor was faster.
const TRIES: usize = 20;

/// As the old ksync wrote it.
#[cfg(test)]
pub(super) const OLD_FILE: &str = "apikey: ksync
context: \"\"
log-level: debug
namespace: default
port: 40322
spec:
- name: sunny-husky
  containername: \"\"
  pod: \"\"
  selector: app=app
  namespace: default
  localpath: /tmp/ksync
  remotepath: /code
  reload: true
";

/// `ksync.yaml` at its path.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    path: PathBuf,
}

impl Store {
    /// The file need not exist.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; a missing file is an empty config.
    pub(crate) fn load(&self) -> Result<Loaded, Error> {
        Ok(self.draft()?.loaded().clone())
    }

    /// Changes it under its lock. Nothing is written when `change` fails or changes nothing. The returned flag tells
    /// that comments were lost (the file as it was is then beside it, with `.bak` at the end). An editor knows no lock:
    /// when it has written meanwhile, `change` is made anew, to what it wrote.
    pub(crate) fn modify<T, E: From<Error>>(
        &self,
        mut change: impl FnMut(&mut Draft) -> Result<T, E>,
    ) -> Result<(T, bool), E> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        crate::home::make_dir(dir).map_err(|source| Error::Home { path: self.path.clone(), source })?;
        let lock = Lock::acquire(&with_suffix(&self.path, ".lock"), LOCK_TIMEOUT)
            .map_err(|source| Error::Lock { path: self.path.clone(), source })?;
        for _ in 0..TRIES {
            let mut draft = self.draft()?;
            let before = draft.text().to_owned();
            let result = change(&mut draft)?;
            if draft.text() == before {
                return Ok((result, draft.lost_comments()));
            }
            if self.text()? != before {
                continue;
            }
            if draft.lost_comments() {
                self.replace(&with_suffix(&self.path, ".bak"), &before)?;
            }
            self.replace(&self.path, draft.text())?;
            drop(lock);
            return Ok((result, draft.lost_comments()));
        }
        Err(Error::Edit { path: self.path.clone(), reason: "somebody else writes it all the time" }.into())
    }

    fn text(&self) -> Result<String, Error> {
        match read_own(&self.path) {
            Ok(text) => Ok(text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(self.io("read", source)),
        }
    }

    fn draft(&self) -> Result<Draft, Error> {
        Draft::parse(&self.path, &self.text()?)
    }

    fn replace(&self, path: &Path, text: &str) -> Result<(), Error> {
        write_whole(path, text.as_bytes()).map_err(|source| self.io("write", source))
    }

    fn io(&self, operation: &'static str, source: io::Error) -> Error {
        Error::Io { operation, path: self.path.clone(), source }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        thread,
    };

    use super::{OLD_FILE, Store};
    use crate::config::{Draft, Error, SpecDetails};

    fn spec(name: &str) -> SpecDetails {
        SpecDetails {
            name: name.into(),
            selector: "a=b".into(),
            localpath: "/l".into(),
            remotepath: "/r".into(),
            ..SpecDetails::default()
        }
    }

    #[test]
    fn a_missing_file_is_empty_and_a_new_one_private() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("new/ksync.yaml"));
        assert!(store.load().unwrap().config.spec.is_empty());
        store.modify(|draft| draft.add(&spec("a"))).unwrap();
        assert_eq!(store.load().unwrap().config.spec, [spec("a")]);
        assert_eq!(fs::metadata(store.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn symlink_and_mode_stay_and_failures_write_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("dotfiles/k.yaml"), dir.path().join("ksync.yaml"));
        fs::create_dir(dir.path().join("dotfiles")).unwrap();
        fs::write(&real, OLD_FILE).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("dotfiles/k.yaml", &link).unwrap();
        let store = Store::new(&link);
        store.modify(|draft| draft.add(&spec("b"))).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::read_to_string(&real).unwrap().starts_with(OLD_FILE));
        let before = fs::read(&real).unwrap();
        let failed: Result<((), bool), Error> = store.modify(|draft| {
            draft.add(&spec("c"))?;
            Err(Error::Edit { path: "x".into(), reason: "test" })
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&real).unwrap(), before);
        assert_eq!(fs::read_dir(dir.path().join("dotfiles")).unwrap().count(), 1);
    }

    #[test]
    fn lost_comments_are_kept_beside_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("ksync.yaml"));
        let text = "spec: [{name: a, pod: p, localpath: /l, remotepath: /r}] # mine\n";
        fs::write(store.path(), text).unwrap();
        let ((), lost) = store.modify(|draft| draft.add(&spec("b"))).unwrap();
        assert!(lost);
        assert_eq!(fs::read_to_string(dir.path().join("ksync.yaml.bak")).unwrap(), text);
    }

    #[test]
    fn what_an_editor_writes_meanwhile_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("ksync.yaml"));
        fs::write(store.path(), OLD_FILE).unwrap();
        let mut edits = 0;
        let add = |draft: &mut Draft| {
            edits += 1;
            if edits < 3 {
                fs::write(store.path(), format!("# edit {edits}\n{OLD_FILE}")).unwrap();
            }
            draft.add(&spec("added"))
        };
        store.modify(add).unwrap();
        let text = fs::read_to_string(store.path()).unwrap();
        assert!(text.starts_with("# edit 2\n") && text.contains("- name: added"), "{text}");
        let always = |draft: &mut Draft| {
            fs::write(store.path(), format!("{}#\n", fs::read_to_string(store.path()).unwrap())).unwrap();
            draft.add(&spec("never"))
        };
        assert!(matches!(store.modify(always), Err(Error::Edit { .. })));
        assert!(!fs::read_to_string(store.path()).unwrap().contains("never"));
    }

    #[test]
    fn many_writers_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ksync.yaml");
        thread::scope(|scope| {
            for i in 0..8 {
                let store = Store::new(&path);
                scope.spawn(move || store.modify(|draft| draft.add(&spec(&format!("s{i}")))).unwrap());
            }
        });
        assert_eq!(Store::new(&path).load().unwrap().config.spec.len(), 8);
    }
}
