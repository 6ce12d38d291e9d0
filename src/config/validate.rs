//! What `create` is given, checked before anything is written. Each refusal is one sentence and a hint.

use std::{fs, path::Path};

use super::{SpecDetails, selector};

/// A refusal, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Invalid {
    /// One sentence.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

fn invalid<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { message: message.into(), hint: hint.into() })
}

/// The local path as it goes into the file: absolute, without symlinks, of a directory that can be read.
pub(crate) fn local_path(given: &Path) -> Result<String, Invalid> {
    let shown = given.display();
    let canonical = match fs::canonicalize(given) {
        Ok(path) => path,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return invalid(format!("local path `{shown}` does not exist"), "create the directory first");
        }
        Err(e) => return invalid(format!("can't open local path `{shown}`: {e}"), ""),
    };
    if !canonical.is_dir() {
        return invalid(
            format!("local path `{shown}` is not a directory"),
            "give the directory that the file is in",
        );
    }
    if let Err(e) = fs::read_dir(&canonical) {
        return invalid(format!("can't read local path `{shown}`: {e}"), "");
    }
    if canonical.parent().is_none() {
        return invalid("the whole file system can't be synced", "give a directory below `/`");
    }
    match canonical.into_os_string().into_string() {
        Ok(path) => Ok(path),
        Err(_) => invalid(format!("local path `{shown}` is not UTF-8"), "rename the directory"),
    }
}

/// Refuses a local path that holds, or lies in, one of the directories that are ksync's own: keys and what was kept
/// would go into containers.
pub(crate) fn apart(local: &Path, own: &[&Path]) -> Result<(), Invalid> {
    for own in own {
        // As the local path is: without symlinks, however much of it exists.
        let real = own.ancestors().find_map(|above| {
            let rest = own.strip_prefix(above).ok()?;
            Some(fs::canonicalize(above).ok()?.join(rest))
        });
        let real = real.as_deref().unwrap_or(own);
        if local.starts_with(real) || real.starts_with(local) {
            let message = format!(
                "local path `{}` and ksync's own directory `{}` lie in each other",
                local.display(),
                own.display()
            );
            return invalid(message, "sync a directory beside it, or set `KSYNC_HOME` to another place");
        }
    }
    Ok(())
}

/// The remote path as it goes into the file: absolute, normalised, not the root.
pub(crate) fn remote_path(given: &str) -> Result<String, Invalid> {
    if !given.starts_with('/') {
        let hint = "give the path inside the container, for example `/code`";
        return invalid(format!("remote path `{given}` is not absolute"), hint);
    }
    if given.contains('\0') || given.contains('\n') {
        return invalid("the remote path has a NUL or a line break", "");
    }
    let mut names: Vec<&str> = Vec::new();
    for name in given.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    if names.is_empty() {
        let hint = "give the directory that the app runs from, for example `/code`";
        return invalid("the container's whole file system can't be synced", hint);
    }
    let path = format!("/{}", names.join("/"));
    // What the kernel keeps there are not files.
    if let Some(kernel @ ("proc" | "sys" | "dev")) = names.first().copied() {
        return invalid(format!("remote path `{path}` is on a kernel file system `/{kernel}`"), "");
    }
    Ok(path)
}

/// A label selector. What is right here may still match nothing.
pub(crate) fn selector(given: &str) -> Result<(), Invalid> {
    selector::check(given).or_else(|why| {
        let hint = "for example `app=api` or `app=api,tier!=test`";
        invalid(format!("can't understand the selector `{given}`: {why}"), hint)
    })
}

/// A spec's name: what a command line and a file name take as it is.
pub(crate) fn name(given: &str) -> Result<(), Invalid> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if given.is_empty()
        || given.len() > 63
        || !given.chars().all(fine)
        || !given.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        let hint = "use up to 63 letters, digits, `-`, `_` and `.`, starting with a letter or digit";
        return invalid(format!("`{given}` can't be a spec's name"), hint);
    }
    Ok(())
}

/// What a spec inherits where it says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Inherited<'a> {
    /// Context.
    pub context: &'a str,
    /// Namespace.
    pub namespace: &'a str,
}

/// Whether `new` can stand beside `others`. Its paths have been through [`local_path`] and [`remote_path`].
pub(crate) fn beside(
    new: &SpecDetails,
    others: &[SpecDetails],
    inherited: Inherited<'_>,
) -> Result<(), Invalid> {
    match (new.selector.is_empty(), new.pod.is_empty()) {
        (true, true) => return invalid("no pod is named", "give `--selector` or `--pod`"),
        (false, false) => return invalid("`--selector` and `--pod` exclude each other", "give one of them"),
        _ => {}
    }
    if others.iter().any(|other| other.name == new.name) {
        let hint = format!("give another `--name`, or run `kubectl ksync delete {}` first", new.name);
        return invalid(format!("a spec `{}` exists already", new.name), hint);
    }
    for other in others {
        let (local, remote) =
            (relation(&new.localpath, &other.localpath), relation(&new.remotepath, &other.remotepath));
        let same_target = overlap(new, other, inherited);
        if same_target && local == Relation::Same && remote == Relation::Same {
            let message = format!(
                "`{}` is synced to `{}` there already, by spec `{}`",
                new.localpath, new.remotepath, other.name
            );
            return invalid(message, format!("run `kubectl ksync delete {}` first", other.name));
        }
        if let Some(why) = new.patterns_differ_from(other) {
            let patterns = |spec: &SpecDetails| match spec.ignore.as_slice() {
                [] => "none".to_owned(),
                patterns => format!("`{}`", patterns.join("`, `")),
            };
            let hint = format!(
                "a directory has one set of patterns: give the same to both (spec `{}` has {}, this one {})",
                other.name,
                patterns(other),
                patterns(new)
            );
            return invalid(why, hint);
        }
        if local == Relation::Nested {
            let message = format!(
                "local path `{}` and `{}` of spec `{}` lie in each other",
                new.localpath, other.localpath, other.name
            );
            return invalid(message, "sync the upper one, or two directories side by side");
        }
        if same_target && remote != Relation::Apart {
            let message = format!(
                "remote path `{}` and `{}` of spec `{}` overlap in the same containers",
                new.remotepath, other.remotepath, other.name
            );
            return invalid(
                message,
                format!("run `kubectl ksync delete {}` first, or choose another path", other.name),
            );
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Same,
    Nested,
    Apart,
}

fn relation(a: &str, b: &str) -> Relation {
    let (a, b) = (Path::new(a), Path::new(b));
    if a == b {
        Relation::Same
    } else if a.starts_with(b) || b.starts_with(a) {
        Relation::Nested
    } else {
        Relation::Apart
    }
}

/// Whether two specs name the same pods and may name the same container. What two different selectors share is only
/// known in the cluster, where radar refuses the second.
fn overlap(a: &SpecDetails, b: &SpecDetails, inherited: Inherited<'_>) -> bool {
    let context = |spec: &SpecDetails| {
        let own = spec.context.as_deref().unwrap_or_default();
        (if own.is_empty() { inherited.context } else { own }).to_owned()
    };
    let namespace = |spec: &SpecDetails| {
        let own = if spec.namespace.is_empty() { inherited.namespace } else { &spec.namespace };
        (if own.is_empty() { "default" } else { own }).to_owned()
    };
    let (one, two) = (&a.containername, &b.containername);
    // A context may have led elsewhere when the other was made.
    let elsewhere = a.cluster.is_some() && b.cluster.is_some() && a.cluster != b.cluster;
    !elsewhere
        && context(a) == context(b)
        && namespace(a) == namespace(b)
        && a.selector == b.selector
        && a.pod == b.pod
        && (one == two || one.is_empty() || two.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Inherited, apart, beside, local_path, name, remote_path};
    use crate::config::SpecDetails;

    #[test]
    fn local_paths() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink(".", dir.path().join("link")).unwrap();
        let told = |name: &str| local_path(&dir.path().join(name)).unwrap_err().message;
        assert!(told("none").ends_with("/none` does not exist"));
        assert!(told("file").ends_with("/file` is not a directory"));
        let real = fs::canonicalize(dir.path()).unwrap();
        assert_eq!(local_path(&dir.path().join("link")).unwrap(), real.to_str().unwrap());
        assert!(local_path("/".as_ref()).is_err());
    }

    #[test]
    fn ksyncs_own_directory_is_never_synced() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(real.join("user/src")).unwrap();
        std::os::unix::fs::symlink("user", real.join("link")).unwrap();
        let (home, linked) = (real.join("user/.ksync"), real.join("link/.ksync"));
        for own in [&home, &linked] {
            for local in ["user", "user/.ksync", "user/.ksync/bin", ""] {
                assert!(apart(&real.join(local), &[own]).is_err(), "{local}");
            }
            for local in ["user/src", "user/.ksync2", "use"] {
                assert_eq!(apart(&real.join(local), &[own]), Ok(()), "{local}");
            }
        }
        assert!(apart(&real.join("user"), &["/elsewhere".as_ref(), &home]).is_err());
    }

    #[test]
    fn remote_paths() {
        for (given, normal) in
            [("/code", "/code"), ("/a//b/./c/", "/a/b/c"), ("/a/../b", "/b"), ("/process", "/process")]
        {
            assert_eq!(remote_path(given).unwrap(), normal);
        }
        for given in ["", "code", "./code", "/", "//", "/a/..", "/../..", "/proc/1", "/dev", "/sys/"] {
            assert!(remote_path(given).is_err(), "{given}");
        }
    }

    #[test]
    fn names() {
        assert!(name("sunny-husky").is_ok() && name("a_b.2").is_ok());
        for bad in ["", "-a", "a b", "a/b", "ü", &"x".repeat(64)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    fn spec(name: &str, selector: &str, local: &str, remote: &str) -> SpecDetails {
        SpecDetails {
            name: name.into(),
            selector: selector.into(),
            localpath: local.into(),
            remotepath: remote.into(),
            ..SpecDetails::default()
        }
    }

    #[test]
    fn neighbours() {
        let there = [spec("one", "app=a", "/src/a", "/code")];
        let told = |new: &SpecDetails| beside(new, &there, Inherited::default()).err().map(|e| e.message);
        assert_eq!(told(&spec("one", "app=b", "/src/b", "/x")).unwrap(), "a spec `one` exists already");
        assert!(
            told(&spec("two", "app=a", "/src/a", "/code"))
                .unwrap()
                .contains("is synced to `/code` there already")
        );
        assert!(told(&spec("two", "app=b", "/src/a/in", "/x")).unwrap().contains("lie in each other"));
        assert!(told(&spec("two", "app=b", "/src", "/x")).unwrap().contains("lie in each other"));
        assert!(told(&spec("two", "app=a", "/src/b", "/code/lib")).unwrap().contains("overlap"));
        assert!(told(&spec("two", "", "/src/b", "/x")).unwrap().contains("no pod"));
        for fine in [
            spec("two", "app=b", "/src/a", "/code"),
            spec("two", "app=a", "/src/ab", "/code2"),
            SpecDetails { namespace: "other".into(), ..spec("two", "app=a", "/src/b", "/code") },
            SpecDetails { context: Some("c".into()), ..spec("two", "app=a", "/src/b", "/code") },
        ] {
            assert_eq!(told(&fine), None, "{fine:?}");
        }
        let ignoring = |name: &str, pattern: &str| SpecDetails {
            ignore: vec![pattern.to_owned()],
            context: Some("c".into()),
            ..spec(name, "app=b", "/src/a", "/code")
        };
        let refused = beside(&ignoring("two", "*.key"), &there, Inherited::default()).unwrap_err();
        assert_eq!(
            refused.message,
            "`ignore` differs from that of spec `one`, which syncs the same `localpath`"
        );
        assert!(refused.hint.ends_with("(spec `one` has none, this one `*.key`)"), "{}", refused.hint);
        let same = SpecDetails { remotepath: "/other".into(), ..ignoring("two", "a") };
        assert_eq!(beside(&same, &[ignoring("one", "a")], Inherited::default()), Ok(()));
        let container = |name: &str, c: &str| SpecDetails {
            containername: c.into(),
            ..spec(name, "app=a", "/src/a", "/code")
        };
        assert!(beside(&container("two", "x"), &[container("one", "y")], Inherited::default()).is_ok());
        assert!(beside(&container("two", "x"), &[container("one", "")], Inherited::default()).is_err());
        let made_for = |name: &str, cluster: &str| SpecDetails {
            cluster: Some(cluster.into()),
            ..spec(name, "app=a", "/src/b", "/code")
        };
        let others = [made_for("one", "1")];
        assert!(beside(&made_for("two", "1"), &others, Inherited::default()).is_err());
        assert!(beside(&made_for("two", "2"), &others, Inherited::default()).is_ok(), "another cluster");
        let default = SpecDetails { namespace: "default".into(), ..spec("two", "app=a", "/src/b", "/code") };
        assert!(told(&default).is_some(), "an empty namespace is `default`");
    }
}
