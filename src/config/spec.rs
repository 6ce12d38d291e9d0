//! One spec of the file. Its keys are the old ksync's, and a few optional ones of ours that it passes over.

use std::{fmt, num::NonZeroUsize};

use serde::{Deserialize, Deserializer};

/// All configuration required to sync a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, expecting = "a mapping of a spec's keys")]
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
    /// A label selector.
    #[serde(deserialize_with = "nullable")]
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
    /// Which way changes go.
    pub direction: Option<Direction>,
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
        match (self.selector.is_empty(), self.pod.is_empty()) {
            (true, true) => Err("neither `selector` nor `pod` is set".to_owned()),
            (false, false) => Err("both `selector` and `pod` are set".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The old ksync takes a null for an empty value.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::ReloadMode;

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
