//! The threshold: when a container deletes so much at once that a person is asked first. Pure.

/// Folders with fewer files than this have no threshold.
pub(super) const MIN_FILES: usize = 20;

/// Whether `deleted` of `files` must not be applied unasked: more than half of a folder that is not small.
pub(super) fn is_exceeded(deleted: usize, files: usize) -> bool {
    files >= MIN_FILES && deleted.saturating_mul(2) > files
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MIN_FILES, is_exceeded};

    proptest! {
        /// More deletions never get below the threshold, more files that stay never above, and half is not more than half.
        #[test]
        fn it_only_ever_tightens(deleted in 0_usize..5000, files in 0_usize..5000, more in 0_usize..5000) {
            let trips_now = is_exceeded(deleted, files);
            prop_assert!(!trips_now || is_exceeded(deleted + more, files));
            prop_assert!(trips_now || !is_exceeded(deleted, files + more) || files < MIN_FILES);
            prop_assert!(!is_exceeded(deleted, (2 * deleted).max(MIN_FILES)));
            prop_assert_eq!(trips_now, files >= MIN_FILES && deleted > files - deleted.min(files));
        }
    }

    #[test]
    fn more_than_half_of_a_folder_is_held() {
        assert!(is_exceeded(11, 20));
        assert!(!is_exceeded(10, 20));
        assert!(!is_exceeded(19, 19), "a small folder has no threshold");
    }
}
