//! Times as the wire and JSON carry them.

use std::time::Duration;

/// Whole microseconds; what is longer than `u64` holds is its greatest number.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::micros;

    #[test]
    fn parts_are_dropped_and_the_longest_fits() {
        assert_eq!(micros(Duration::from_nanos(1_999)), 1);
        assert_eq!(micros(Duration::MAX), u64::MAX);
    }
}
