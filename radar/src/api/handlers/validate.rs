//! Checks of a client's names, before these get into configurations and other people's terminals.
//!
//! Invariant: a text for persons has no control characters, none that change its direction, and an end; a tag is a plain name.

use tonic::Status;

/// Longest name of a user or machine.
const LONGEST: usize = 64;

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

/// At most `most` characters of a text, none of which moves a cursor or changes the direction of what follows.
pub(super) fn person(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control() && !turns(*c)).take(most).collect()
}

/// Marks, embeddings, overrides and isolates (UAX #9, 2).
fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn what_persons_see_ends_and_moves_no_cursor() {
        assert_eq!(name("an\u{1b}[2J\na"), "an[2Ja");
        assert_eq!(name("\u{202e}bob\u{2066}"), "bob");
        assert_eq!(name(&"ä".repeat(100)).chars().count(), 64);
    }
}
