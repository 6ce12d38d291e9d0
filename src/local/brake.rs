//! The brake: when a container deletes so much at once that a person is asked first. Pure.

/// Folders with fewer files than this have no brake.
pub(super) const FROM: usize = 20;

/// Whether `deleted` of `files` must not be applied unasked: more than half of a folder that is not small.
pub(super) fn trips(deleted: usize, files: usize) -> bool {
    files >= FROM && deleted.saturating_mul(2) > files
}

#[cfg(test)]
mod tests {
    use super::trips;

    #[test]
    fn more_than_half_of_a_folder_is_held() {
        assert!(trips(11, 20));
        assert!(!trips(10, 20));
        assert!(!trips(19, 19), "a small folder has no brake");
    }
}
