//! Names of conflict copies: the loser of a conflict is moved to `STEM.sync-conflict-YYYYMMDD-HHMMSS-DEVICE.EXT`, in which
//! stem or extension may be empty and `DEVICE` is the beginning of the winner's device id. Source: `conflictName` in
//! lib/model/folder_sendrecv.go of syncthing.

/// What syncthing puts into the name.
const MARK: &str = ".sync-conflict-";
/// Characters of a device id in it.
const DEVICE: usize = 7;

/// What the name of a conflict copy tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy<'a> {
    /// The path of the file that it is of.
    pub original: String,
    /// The beginning of the id of the device that made the winning version.
    pub winner: &'a str,
}

impl Copy<'_> {
    /// Whether the device with this id made the winning version.
    pub fn lost_to(&self, device_id: &str) -> bool {
        device_id.get(..DEVICE) == Some(self.winner)
    }
}

/// What the name of `path` tells; none when it is not a conflict copy.
pub fn copy(path: &str) -> Option<Copy<'_>> {
    let (dir, name) = path.rsplit_once('/').map_or(("", path), |(dir, name)| (dir, name));
    let (stem, rest) = name.split_once(MARK)?;
    let (date, rest) = rest.split_once('-')?;
    let (time, device) = rest.split_once('-')?;
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    let (winner, extension) = device.split_at_checked(DEVICE)?;
    let fits = digits(date, 8)
        && digits(time, 6)
        && winner.bytes().all(|b| b.is_ascii_alphanumeric())
        && (extension.is_empty() || extension.starts_with('.'));
    let name = format!("{stem}{extension}");
    let slash = if dir.is_empty() { "" } else { "/" };
    // Anybody can give a file such a name.
    let is_name = !matches!(name.as_str(), "" | "." | "..");
    (fits && is_name).then(|| Copy { original: format!("{dir}{slash}{name}"), winner })
}

/// Whether `path` is a conflict copy of what lost to the device with this id.
pub fn lost_to(path: &str, device_id: &str) -> bool {
    copy(path).is_some_and(|copy| copy.lost_to(device_id))
}

/// Patterns that leave out everything but the conflict copies that lost to the device with this id.
pub fn only_lost_to(device_id: &str) -> Vec<String> {
    let device = device_id.get(..DEVICE).unwrap_or(device_id);
    vec![format!("!*{MARK}*-{device}*"), "*".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn the_name_tells_what_a_copy_is_of_and_who_won() {
        for (path, file) in [
            ("a/b.sync-conflict-20261122-163000-ABCDEF7.txt", Some("a/b.txt")),
            ("Makefile.sync-conflict-20261122-163000-ABCDEF7", Some("Makefile")),
            (".sync-conflict-20261122-163000-ABCDEF7.env", Some(".env")),
            (".sync-conflict-20261122-163000-ABCDEF7", None),
            ("d/.sync-conflict-20261122-163000-ABCDEF7", None),
            ("d/..sync-conflict-20261122-163000-ABCDEF7.", None),
            ("d/.sync-conflict-20261122-163000-ABCDEF7.", None),
            ("b.sync-conflict-notes.txt", None),
            ("b.txt", None),
        ] {
            let copy = copy(path);
            assert_eq!(copy.as_ref().map(|copy| copy.original.as_str()), file, "{path}");
            assert!(
                copy.is_none_or(|copy| copy.lost_to("ABCDEF7-GHIJKLM") && !copy.lost_to("BBCDEF7-GHIJKLM"))
            );
        }
    }
}
