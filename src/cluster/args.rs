//! kubectl's global flags that matter here. Flags before the plugin's name never reach a plugin, so they are ours too.

use std::{ffi::OsString, path::PathBuf, time::Duration};

/// Which cluster, as whom, in which namespace.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// The kubeconfig file, instead of $KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context, instead of the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The cluster of the kubeconfig, instead of the context's
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The user of the kubeconfig, instead of the context's
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// The namespace, instead of the context's
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Act as this user
    #[arg(long = "as", global = true, value_name = "USER")]
    pub impersonate: Option<String>,
    /// Act as a member of this group (may be repeated)
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub impersonate_groups: Vec<String>,
    /// How long one call may take; 0 is without limit
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub request_timeout: Option<Duration>,
    /// How much is logged, from 0 to 9
    #[arg(
        short,
        long = "v",
        global = true,
        value_name = "LEVEL",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub verbosity: u8,
}

impl ClusterArgs {
    /// The same choice as arguments for a watcher; the kubeconfig goes in its environment, the context is the one that
    /// was chosen. `-n` is not handed on: it is meant for one command, and a watcher runs specs of many namespaces.
    pub fn forward(&self, context: &str) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--context".into(), context.into()];
        let named = [("--cluster", &self.cluster), ("--user", &self.user), ("--as", &self.impersonate)];
        for (flag, value) in named {
            if let Some(value) = value {
                args.extend([flag.into(), value.into()]);
            }
        }
        for group in &self.impersonate_groups {
            args.extend(["--as-group".into(), group.into()]);
        }
        if let Some(limit) = self.request_timeout {
            args.extend(["--request-timeout".into(), format!("{}ms", limit.as_millis()).into()]);
        }
        if self.verbosity > 0 {
            args.push(format!("-v={}", self.verbosity).into());
        }
        args
    }
}

/// A duration as kubectl takes it: `90`, `90s`, `1m30s`, `1.5h`, `200ms`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration such as 30s or 2m");
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| bad());
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| bad())?;
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "ms" => number / 1000.0,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3600.0,
            _ => return Err(bad()),
        };
        let part = Duration::try_from_secs_f64(seconds).map_err(|_| bad())?;
        total = total.checked_add(part).ok_or_else(bad)?;
        rest = after;
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::{ClusterArgs, parse_duration};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        cluster: ClusterArgs,
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("0", 0),
            ("90", 90_000),
            ("90s", 90_000),
            ("1m30s", 90_000),
            ("200ms", 200),
            ("1.5h", 5_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "5x", "-5s", "5s5", "1e999", "NaN"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_forwarded_reads_as_the_same() {
        let line = [
            "x",
            "--user",
            "u",
            "-n",
            "ns",
            "--as",
            "a",
            "--as-group",
            "g",
            "--as-group",
            "h",
            "--request-timeout",
            "5s",
            "-v",
            "6",
        ];
        let first = Line::parse_from(line).cluster;
        let forwarded = first.forward("ctx");
        let second = Line::parse_from(std::iter::once("x".into()).chain(forwarded)).cluster;
        assert_eq!((second.context.as_deref(), second.namespace.as_deref()), (Some("ctx"), None));
        let meant = ClusterArgs { context: Some("ctx".into()), namespace: None, ..first };
        assert_eq!(format!("{second:?}"), format!("{meant:?}"));
    }
}
