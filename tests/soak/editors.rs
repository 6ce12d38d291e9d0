//! How editors save a file. Their own names are not synced (docs/sync-rules.md), so what they do with those is not noted.

use std::{fs, io};

use crate::hand::Hand;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Editor {
    /// A swap file, the old file moved to a backup's name, a new one, the backup removed.
    Vim,
    /// A lock that is a dangling link, an auto-save, the file written over.
    Emacs,
    /// A new file beside it, two renames, the old one removed.
    Jetbrains,
    /// The file is truncated and written.
    Code,
}

pub(crate) fn save(hand: &Hand<'_>, editor: Editor, path: &str, bytes: &[u8]) -> io::Result<()> {
    let (dir, name) = path.rsplit_once('/').map_or(("", path), |(dir, name)| (dir, name));
    let beside = |name: String| if dir.is_empty() { name } else { format!("{dir}/{name}") };
    match editor {
        Editor::Vim => {
            let swap = hand.at(&beside(format!(".{name}.swp")));
            let probe = hand.at(&beside("4913".to_owned()));
            fs::write(&swap, b"b0VIM")?;
            fs::write(&probe, b"")?;
            fs::remove_file(&probe)?;
            let backup = format!("{path}~");
            let mode = fs::metadata(hand.at(path)).map(|meta| meta.permissions());
            hand.rename_file(path, &backup)?;
            hand.overwrite(path, bytes)?;
            if let Ok(mode) = mode {
                hand.chmod(path, std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777)?;
            }
            fs::remove_file(hand.at(&backup))?;
            fs::remove_file(swap)
        }
        Editor::Emacs => {
            let lock = hand.at(&beside(format!(".#{name}")));
            let auto = hand.at(&beside(format!("#{name}#")));
            std::os::unix::fs::symlink("person@machine.1", &lock)?;
            fs::write(&auto, bytes)?;
            hand.overwrite(path, bytes)?;
            fs::remove_file(auto)?;
            fs::remove_file(lock)
        }
        Editor::Jetbrains => {
            let (new, old) = (format!("{path}___jb_tmp___"), format!("{path}___jb_old___"));
            let mode = fs::metadata(hand.at(path))?.permissions();
            hand.overwrite(&new, bytes)?;
            fs::set_permissions(hand.at(&new), mode)?;
            hand.rename_file(path, &old)?;
            hand.rename_file(&new, path)?;
            fs::remove_file(hand.at(&old))
        }
        Editor::Code => hand.overwrite(path, bytes),
    }
}
