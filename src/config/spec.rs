//! One spec of the file. Its keys are the old ksync's, and a few optional ones of ours that it passes over.

use std::{collections::BTreeSet, fmt, num::NonZeroUsize, path::Path};

use ksync_merge::Terms;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use super::ByteSize;

/// What is larger comes from a container only when a person has agreed.
const MAX_FILE: ByteSize = ByteSize(50 << 20);
/// The same of all that comes within an hour.
const MAX_PULL: ByteSize = ByteSize(1 << 30);

/// All configuration required to sync a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, expecting = "a mapping of a spec's keys")]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub(crate) struct SpecDetails {
    /// Unique in the file.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Empty: the pod's only (or default) container.
    #[serde(deserialize_with = "nullable")]
    pub containername: String,
    /// Exactly one of `pod` and `selector` is set.
    #[serde(deserialize_with = "nullable")]
    pub pod: String,
    /// A label selector. In the file a list of its requirements will do.
    #[serde(deserialize_with = "requirements")]
    pub selector: String,
    /// Empty: the file's, else the context's.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// Absolute.
    #[serde(deserialize_with = "nullable")]
    pub localpath: String,
    /// Absolute, `/` between names.
    #[serde(deserialize_with = "nullable")]
    pub remotepath: String,
    /// Strictly a boolean, as the old ksync reads it.
    pub reload: bool,
    /// The kubeconfig context that it belongs to; without one, the file's.
    pub context: Option<String>,
    /// Hash of the identity of the cluster that it was made for.
    pub cluster: Option<String>,
    /// Further patterns that are not synced.
    #[serde(deserialize_with = "nullable")]
    pub ignore: Vec<String>,
    /// What wins at the first sync where the base knows nothing.
    pub initial: Option<Initial>,
    /// Which way changes go; see [`SpecDetails::way`].
    pub direction: Option<Direction>,
    /// The old ksync's `to-container`.
    #[serde(deserialize_with = "nullable")]
    pub localreadonly: bool,
    /// The old ksync's way from the container only.
    #[serde(deserialize_with = "nullable")]
    pub remotereadonly: bool,
    /// Whatever its containers make comes here unasked.
    #[serde(rename = "trust-container", deserialize_with = "nullable")]
    pub trust_container: bool,
    /// The largest file that comes here unasked.
    #[serde(rename = "max-file")]
    pub max_file: Option<ByteSize>,
    /// How much may come here unasked within an hour.
    #[serde(rename = "max-pull")]
    pub max_pull: Option<ByteSize>,
    /// How the app is given the new code, with `reload: true`.
    #[serde(rename = "reload-mode")]
    pub reload_mode: Option<ReloadMode>,
    /// Patterns of the paths whose changes have it given; all where there are none.
    #[serde(rename = "reload-on", deserialize_with = "nullable")]
    pub reload_on: Vec<String>,
    /// How many containers may be reloading at the same time; all where it is not said.
    #[serde(rename = "reload-max-unavailable")]
    pub reload_max_unavailable: Option<NonZeroUsize>,
}

/// What wins where both sides differ and neither is known to be the older.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Initial {
    /// The local content.
    #[default]
    Local,
    /// The container's content.
    Remote,
    /// The later mtime.
    Newest,
}

/// Which way changes go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// From here to the containers only.
    ToContainer,
}

/// How the app is given the new code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum ReloadMode {
    /// `process`, unless a process watches the directory itself.
    #[default]
    Auto,
    /// Replace the main process in place.
    Process,
    /// Let the runtime restart the container.
    Container,
    /// Send the main process a signal, by its name without `SIG`.
    Signal(String),
}

impl TryFrom<String> for ReloadMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "auto" => Ok(Self::Auto),
            "process" => Ok(Self::Process),
            "container" => Ok(Self::Container),
            _ => match text.strip_prefix("signal:") {
                Some(name) if ksync_common::SIGNALS.contains(&name.strip_prefix("SIG").unwrap_or(name)) => {
                    Ok(Self::Signal(name.to_owned()))
                }
                Some(name) => {
                    Err(format!("`{name}` is no signal that an app can handle, such as HUP or USR1"))
                }
                _ => Err(format!("`{text}` is none of auto, process, container, signal:NAME")),
            },
        }
    }
}

impl std::str::FromStr for ReloadMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Display for ReloadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Process => f.write_str("process"),
            Self::Container => f.write_str("container"),
            Self::Signal(name) => write!(f, "signal:{name}"),
        }
    }
}

impl fmt::Display for Initial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Newest => "newest",
        })
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "both",
            Self::ToContainer => "to-container",
        })
    }
}

impl SpecDetails {
    /// That no pod is there for it, in a sentence. Its namespace has been told.
    pub(crate) fn nobody(&self) -> String {
        let which = if self.selector.is_empty() {
            format!("`{}`", self.pod)
        } else {
            format!("matches `{}`", self.selector)
        };
        format!("no pod {which} in namespace `{}`", self.namespace)
    }

    /// Which way changes go, by whichever key says so.
    pub(crate) fn way(&self) -> Direction {
        let old = if self.localreadonly { Direction::ToContainer } else { Direction::default() };
        self.direction.unwrap_or(old)
    }

    /// What of its containers comes here unasked.
    pub(crate) fn terms(&self) -> Terms {
        let bytes = |size: Option<ByteSize>, usual: ByteSize| size.unwrap_or(usual).0;
        Terms {
            trusts: self.trust_container,
            max_file: bytes(self.max_file, MAX_FILE),
            max_pull: bytes(self.max_pull, MAX_PULL),
        }
    }

    /// Why the two can't stand beside each other: a directory here has one set of patterns. One phrase.
    pub(crate) fn patterns_differ_from(&self, other: &Self) -> Option<String> {
        let same_path = Path::new(&self.localpath) == Path::new(&other.localpath);
        (same_path && !same_patterns(&self.ignore, &other.ignore)).then(|| {
            format!("`ignore` differs from that of spec `{}`, which syncs the same `localpath`", other.name)
        })
    }

    /// What makes a spec unusable whatever the machine and the cluster look like; one phrase.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("`name` is missing".to_owned());
        }
        for (key, path) in [("localpath", &self.localpath), ("remotepath", &self.remotepath)] {
            if path.is_empty() {
                return Err(format!("`{key}` is missing"));
            }
            if !path.starts_with('/') {
                return Err(format!("`{key}` is not an absolute path: `{path}`"));
            }
        }
        if self.remotereadonly {
            return Err("`remotereadonly: true` is not supported: no spec goes from the container to here only; remove the \
                        key to go both ways"
                .to_owned());
        }
        if self.localreadonly && self.direction == Some(Direction::Both) {
            return Err("`localreadonly: true` and `direction: both` exclude each other: remove one of them"
                .to_owned());
        }
        match (self.selector.is_empty(), self.pod.is_empty()) {
            (true, true) => Err("neither `selector` nor `pod` is set".to_owned()),
            (false, false) => Err("both `selector` and `pod` are set".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Whether two lists of patterns leave out the same. The order of those that bring something back counts.
pub(crate) fn same_patterns(one: &[String], two: &[String]) -> bool {
    let plain = |patterns: &[String]| !patterns.iter().any(|pattern| pattern.contains('!'));
    let all = |patterns: &[String]| patterns.iter().cloned().collect::<BTreeSet<_>>();
    one == two || plain(one) && all(one) == all(two)
}

/// The old ksync takes a null for an empty value.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A selector as one text: the old ksync has a list of requirements, all of which count.
fn requirements<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Requirements;

    impl<'de> Visitor<'de> for Requirements {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a label selector, as a text or as a list of texts")
        }

        fn visit_unit<E>(self) -> Result<String, E> {
            Ok(String::new())
        }

        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<String, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = list.next_element::<String>()? {
                all.push(one);
            }
            Ok(all.join(","))
        }
    }

    deserializer.deserialize_any(Requirements)
}

#[cfg(test)]
mod tests {
    use super::{Direction, ReloadMode, SpecDetails};
    use crate::config::yaml;

    fn spec(more: &str) -> SpecDetails {
        yaml::parse(&format!("name: a\nlocalpath: /l\nremotepath: /r\n{more}")).unwrap()
    }

    #[test]
    fn an_old_ksyncs_keys_mean_what_they_meant() {
        let old = spec("pod: p\nlocalreadonly: true\nremotereadonly: false\n");
        assert_eq!((old.way(), old.check()), (Direction::ToContainer, Ok(())));
        for keys in
            ["", "localreadonly: false\n", "localreadonly: ~\nremotereadonly: ~\n", "direction: both\n"]
        {
            let both = spec(&format!("pod: p\n{keys}"));
            assert_eq!((both.way(), both.check()), (Direction::Both, Ok(())), "{keys}");
        }
        let refused = |keys: &str| spec(&format!("pod: p\n{keys}")).check().unwrap_err();
        assert!(refused("remotereadonly: true\n").starts_with("`remotereadonly: true` is not supported"));
        assert!(refused("localreadonly: true\ndirection: both\n").contains("exclude each other"));
    }

    #[test]
    fn what_comes_unasked_has_limits_unless_it_is_said() {
        let terms = |keys: &str| spec(&format!("pod: p\n{keys}")).terms();
        let usual = terms("");
        assert_eq!((usual.trusts, usual.max_file, usual.max_pull), (false, 50 << 20, 1 << 30));
        let own = terms("trust-container: true\nmax-file: 200M\nmax-pull: 4096\n");
        assert_eq!((own.trusts, own.max_file, own.max_pull), (true, 200_000_000, 4096));
        assert_eq!(terms("trust-container: ~\nmax-file: ~\n"), usual);
    }

    #[test]
    fn a_directory_here_has_one_set_of_patterns() {
        let differ = |one: &str, two: &str| {
            let [one, two] = [one, two].map(|keys| spec(&format!("pod: p\n{keys}")));
            two.patterns_differ_from(&one).is_some()
        };
        let why = spec("ignore: [x]").patterns_differ_from(&spec("")).unwrap();
        assert_eq!(why, "`ignore` differs from that of spec `a`, which syncs the same `localpath`");
        assert!(!differ("ignore: [x, y]", "ignore: [y, x]") && !differ("", "ignore: []"));
        assert!(differ("ignore: [x, '!y']", "ignore: ['!y', x]"), "the first that matches decides");
        let elsewhere = SpecDetails { localpath: "/m".into(), ..spec("") };
        assert!(elsewhere.patterns_differ_from(&spec("ignore: [x]")).is_none());
        let slash = SpecDetails { localpath: "/l/".into(), ..spec("") };
        assert!(slash.patterns_differ_from(&spec("ignore: [x]")).is_some());
    }

    #[test]
    fn a_selector_may_be_a_list() {
        for (text, selector) in [
            ("selector: [app=a, 'tier in (x, y)']", "app=a,tier in (x, y)"),
            ("selector:\n- app=a\n", "app=a"),
            ("selector: app=a", "app=a"),
            ("selector: []\npod: p", ""),
            ("selector: ~\npod: p", ""),
        ] {
            assert_eq!((spec(text).selector.as_str(), spec(text).check()), (selector, Ok(())), "{text}");
        }
        let problem = yaml::parse::<SpecDetails>("name: a\nselector: {app: a}\n").unwrap_err();
        assert!(problem.message.contains("a label selector, as a text or as a list of texts"), "{problem:?}");
    }

    #[test]
    fn reload_modes_read_as_they_print() {
        for text in ["auto", "process", "container", "signal:HUP", "signal:USR1"] {
            assert_eq!(text.parse::<ReloadMode>().unwrap().to_string(), text);
        }
        for text in ["", "signal:", "signal:hup", "restart"] {
            assert!(text.parse::<ReloadMode>().is_err(), "{text}");
        }
    }
}
