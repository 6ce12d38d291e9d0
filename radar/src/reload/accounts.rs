//! Users and groups of a container, from its own files (passwd(5), group(5)).
//!
//! Invariant: names and numbers are read as the runtimes read them; nothing of the node's own files is asked.

use super::container_files::ContainerFiles;
use crate::container::runtime::record::User;

/// The user is in none of the container's files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the container's user `{name}` is not in its `/etc/passwd` or `/etc/group`")]
pub(crate) struct NoUser {
    /// As it is configured.
    pub(crate) name: String,
}

/// Numbers of a configured user and its group, as runtimes read them.
pub(super) fn ids(files: &ContainerFiles, user: &User) -> Result<(u32, u32), NoUser> {
    let text = match user {
        User::Ids { uid, gid } => return Ok((*uid, *gid)),
        User::Named(text) => text,
    };
    let (name, group) = text.split_once(':').map_or((text.as_str(), None), |(u, g)| (u, Some(g)));
    let passwd = files.read("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().filter_map(account).find(|account| match name.parse::<u32>() {
        _ if account.name == name => true,
        Ok(uid) => account.uid == uid,
        Err(_) => name.is_empty() && account.uid == 0,
    });
    let uid = match (&found, name) {
        (Some(account), _) => account.uid,
        (None, "") => 0,
        (None, name) => name.parse().map_err(|_| NoUser { name: name.to_owned() })?,
    };
    let Some(group) = group.filter(|group| !group.is_empty()) else {
        return Ok((uid, found.map_or(0, |account| account.gid)));
    };
    let groups = files.read("/etc/group").unwrap_or_default();
    let named = || {
        let line = groups.lines().find(|line| line.split(':').next() == Some(group))?;
        line.split(':').nth(2)?.parse().ok()
    };
    let gid = group.parse().ok().or_else(named).ok_or_else(|| NoUser { name: text.clone() })?;
    Ok((uid, gid))
}

/// The home directory of a user; `/` for one that is in no file.
pub(super) fn home(files: &ContainerFiles, uid: u32) -> String {
    let passwd = files.read("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().filter_map(account).find(|account| account.uid == uid);
    found.map(|account| account.home.to_owned()).filter(|home| !home.is_empty()).unwrap_or("/".to_owned())
}

/// A line of `/etc/passwd` (passwd(5)).
struct Account<'t> {
    name: &'t str,
    uid: u32,
    gid: u32,
    home: &'t str,
}

fn account(line: &str) -> Option<Account<'_>> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
    Some(Account { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
}

#[cfg(test)]
mod tests {
    use super::{ContainerFiles, NoUser, User, home, ids};

    #[test]
    fn users_are_in_the_containers_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join("etc").join(name), text).unwrap();
        put("passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:\nbroken\n");
        put("group", "root:x:0:\nstaff:x:50:app\n");
        let files = ContainerFiles::at(dir.path());
        let of = |user: &str| ids(&files, &User::Named(user.into()));
        let cases = [
            ("", (0, 0)),
            ("app", (1000, 1001)),
            ("1000", (1000, 1001)),
            ("app:staff", (1000, 50)),
            ("7", (7, 0)),
            ("7:8", (7, 8)),
            ("0:staff", (0, 50)),
        ];
        for (user, found) in cases {
            assert_eq!(of(user), Ok(found), "{user}");
        }
        assert_eq!(of("nobody"), Err(NoUser { name: "nobody".into() }));
        assert!(of("app:nobody").is_err());
        assert_eq!((home(&files, 1000).as_str(), home(&files, 7).as_str()), ("/home/app", "/"));
    }
}
