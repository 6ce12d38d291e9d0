//! The signals that a reload can send: one list for ksync.yaml and for radar.

/// Names of the signals that a program can handle, but for those of faults: the `NAME` of a reload mode `signal:NAME`.
pub const SIGNALS: [&str; 12] =
    ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "ALRM", "CHLD", "CONT", "WINCH", "URG", "IO"];
