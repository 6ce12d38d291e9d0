//! Checks of a client's ids and names, before these get into paths, configurations and other people's terminals.
//!
//! Invariant: an id that is let through is a plain name; a text for persons has no control characters and an end.

use tonic::Status;

/// Longest id of a session, and name of a user or machine.
const LONGEST: usize = 64;

/// A session's id: letters, digits and `-`.
pub(super) fn session_id(id: &str) -> Result<(), Status> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !id.is_empty() && id.len() <= LONGEST && id.chars().all(plain) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "`{}` is no session id: up to {LONGEST} letters, digits and `-` are",
        name(id)
    )))
}

/// A syncthing device id: eight groups of seven in base 32, as in
/// <https://docs.syncthing.net/dev/device-ids.html>.
pub(super) fn device_id(id: &str) -> Result<(), Status> {
    let group = |group: &str| {
        group.len() == 7 && group.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b))
    };
    let groups: Vec<&str> = id.split('-').collect();
    if groups.len() == 8 && groups.into_iter().all(group) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("`{}` is no syncthing device id", name(id))))
}

/// What tells one spool of a session from its next.
pub(super) fn tag(tag: &str) -> Result<(), Status> {
    if ksync_spool::is_tag(tag) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("`{}` is no tag: up to 32 hex digits are", name(tag))))
}

/// The name of a user or machine as others get to see it.
pub(super) fn name(text: &str) -> String {
    person(text, LONGEST)
}

/// At most `most` characters of a text, none of them a control character.
pub(super) fn person(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::{device_id, name, session_id};

    #[test]
    fn only_a_device_id_reaches_syncthing() {
        let id = ["P56IOI7", "MZJNU2Y", "IQGDREY", "DM2MGTI", "MGL3BXN", "PQ6W5BM", "TBBZ4TJ", "XZWICQ2"]
            .join("-");
        assert!(device_id(&id).is_ok());
        let (lower, long) = (id.to_lowercase(), format!("{id}-P56IOI7"));
        for bad in ["", "../options", "../folders/x", &id[1..], &lower, &long, &id.replace('P', "1")] {
            assert!(device_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_session_is_a_plain_name() {
        assert!(session_id("3f2a00112233445566778899aabbccdd").is_ok() && session_id("a-B-1").is_ok());
        for bad in ["", "a/b", "a b", "\u{1b}[31m", "ü", &"x".repeat(65)] {
            assert!(session_id(bad).is_err(), "{bad}");
        }
        assert_eq!(
            session_id("\u{1b}x").unwrap_err().message().chars().filter(|c| c.is_control()).count(),
            0
        );
    }

    #[test]
    fn what_persons_see_ends_and_moves_no_cursor() {
        assert_eq!(name("an\u{1b}[2J\na"), "an[2Ja");
        assert_eq!(name(&"ä".repeat(100)).chars().count(), 64);
    }
}
