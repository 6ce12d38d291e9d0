//! radar's manifest, rendered by plain substitution. What is put in can't break out of its place.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use kube::core::DynamicObject;

/// This program's version, strict semver.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The label that says radar's version, on the DaemonSet and its pods.
pub(crate) const VERSION_LABEL: &str = "app.kubernetes.io/version";

const TEMPLATE: &str = include_str!("../../manifests/radar.yaml");
const RIGHTS: &str = include_str!("../../manifests/rights.yaml");

/// The digest of radar's image, where a release has built that before this program: `sha256:` and 64 hex digits.
const DIGEST: Option<&str> = option_env!("KSYNC_RADAR_DIGEST");
const _: () = assert!(is_digest(DIGEST), "KSYNC_RADAR_DIGEST is no digest");

const fn is_digest(digest: Option<&str>) -> bool {
    let Some(digest) = digest else { return true };
    let Some((algorithm, mut hex)) = digest.as_bytes().split_at_checked(7) else { return digest.is_empty() };
    let mut right = matches!(algorithm, b"sha256:") && hex.len() == 64;
    while let [digit, rest @ ..] = hex {
        right = right && matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        hex = rest;
    }
    right
}

/// Where radar's image is unless the user says otherwise; set when this program is built. With its digest nobody can put another
/// one in its place, whatever becomes of the tag.
pub(crate) fn default_image() -> String {
    let image = option_env!("KSYNC_RADAR_IMAGE").filter(|image| !image.is_empty());
    let image = image.map_or_else(|| format!("ghcr.io/kubectl-ksync/radar:v{VERSION}"), str::to_owned);
    pinned(image, DIGEST)
}

fn pinned(image: String, digest: Option<&str>) -> String {
    match digest {
        Some(digest) if !digest.is_empty() => format!("{image}@{digest}"),
        _ => image,
    }
}

/// When kubelet pulls the image; the names are Kubernetes' own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PullPolicy {
    /// At every start
    #[value(name = "Always")]
    Always,
    /// When the node does not have it
    #[default]
    #[value(name = "IfNotPresent")]
    IfNotPresent,
    /// The image is on the nodes
    #[value(name = "Never")]
    Never,
}

impl PullPolicy {
    /// As a pod's spec has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Always, Self::IfNotPresent, Self::Never].into_iter().find(|policy| policy.name() == name)
    }
}

/// What is filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Image reference.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
    /// Names of secrets in radar's namespace.
    pub pull_secrets: Vec<String>,
}

/// What a person said of radar's image; what was not said is open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Image reference.
    pub image: Option<String>,
    /// When it is pulled.
    pub pull_policy: Option<PullPolicy>,
    /// Names of secrets in radar's namespace.
    pub pull_secrets: Vec<String>,
}

/// The radar that is in a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Installed {
    /// Its version, where its label says one.
    pub version: Option<String>,
    /// Its image and how it is pulled; none where it has none.
    pub options: Option<Options>,
}

impl Installed {
    /// From its labels and the spec of its pods.
    pub(crate) fn of(labels: &BTreeMap<String, String>, pod: Option<&PodSpec>) -> Self {
        let container = pod.and_then(|pod| pod.containers.iter().find(|c| c.name == "radar"));
        let options = container.and_then(|container| {
            let policy = container.image_pull_policy.as_deref().and_then(PullPolicy::from_name);
            let secrets = pod.into_iter().flat_map(|pod| pod.image_pull_secrets.iter().flatten());
            Some(Options {
                image: container.image.clone()?,
                pull_policy: policy.unwrap_or_default(),
                pull_secrets: secrets.map(|secret| secret.name.clone()).collect(),
            })
        });
        Self { version: labels.get(VERSION_LABEL).cloned(), options }
    }
}

impl Wanted {
    /// What is to be applied where `there` is installed. A radar of our own version keeps its image, and how that is
    /// pulled, unless something else is said: whoever installed it knew where nodes get it from.
    pub(crate) fn beside(&self, there: Option<&Installed>) -> Options {
        let kept = there.filter(|there| self.image.is_none() && there.version.as_deref() == Some(VERSION));
        let kept = kept.and_then(|there| there.options.clone());
        let was = kept.unwrap_or_else(|| Options { image: default_image(), ..Options::default() });
        Options {
            image: self.image.clone().unwrap_or(was.image),
            pull_policy: self.pull_policy.unwrap_or(was.pull_policy),
            pull_secrets: if self.pull_secrets.is_empty() {
                was.pull_secrets
            } else {
                self.pull_secrets.clone()
            },
        }
    }
}

/// Why it can't be rendered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not an image reference.
    #[error("`{0}` is not an image reference")]
    Image(String),
    /// Not a name.
    #[error("`{0}` is not the name of a secret")]
    Secret(String),
    /// Not a name.
    #[error("`{0}` is not the name of a group")]
    Group(String),
    /// The template is broken; can't happen in a release of ours.
    #[error("can't read radar's manifest: {0}")]
    Template(String),
}

/// A rendered manifest.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    /// As YAML documents.
    pub text: String,
    /// As objects, in the order to apply them.
    pub objects: Vec<DynamicObject>,
}

/// Fills the template in.
pub(crate) fn render(options: &Options) -> Result<Manifest, Error> {
    let image_char =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@' | '+');
    if options.image.is_empty() || !options.image.chars().all(image_char) {
        return Err(Error::Image(options.image.clone()));
    }
    let name_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if let Some(bad) =
        options.pull_secrets.iter().find(|name| name.is_empty() || !name.chars().all(name_char))
    {
        return Err(Error::Secret(bad.clone()));
    }
    let secrets: Vec<String> =
        options.pull_secrets.iter().map(|name| format!(r#"{{"name": "{name}"}}"#)).collect();
    Manifest::of(
        without_head(TEMPLATE)
            .replace("{{image}}", &options.image)
            .replace("{{version}}", VERSION)
            .replace("{{imagePullPolicy}}", options.pull_policy.name())
            .replace("{{imagePullSecrets}}", &format!("[{}]", secrets.join(", "))),
    )
}

/// The rights to radar, for these groups. None are as in [`all_rights`].
pub(crate) fn rights(groups: &[String]) -> Result<Manifest, Error> {
    let Manifest { text, mut objects } = all_rights(groups)?;
    let (text, _) = text.rsplit_once("---\n").ok_or_else(|| Error::Template("one document".to_owned()))?;
    objects.pop();
    Ok(Manifest { text: text.to_owned(), objects })
}

/// The same, and what a person needs beside them in his own namespaces. Without groups there is a placeholder.
pub(crate) fn all_rights(groups: &[String]) -> Result<Manifest, Error> {
    if let Some(bad) = groups.iter().find(|name| name.trim().is_empty() || name.chars().any(char::is_control))
    {
        return Err(Error::Group(bad.escape_debug().to_string()));
    }
    let placeholder = ["GROUP".to_owned()];
    let names = if groups.is_empty() { &placeholder } else { groups };
    let subject = |name: &String| serde_json::json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name });
    let subjects = serde_json::Value::Array(names.iter().map(subject).collect());
    Manifest::of(without_head(RIGHTS).replace("{{groups}}", &subjects.to_string()))
}

/// A template without its head comment, which is about the template, with its own placeholders.
fn without_head(template: &str) -> String {
    let lines = template.lines().skip_while(|line| line.starts_with('#') || line.is_empty());
    lines.flat_map(|line| [line, "\n"]).collect()
}

impl Manifest {
    fn of(text: String) -> Result<Self, Error> {
        let parse = |document| {
            crate::config::yaml::parse::<DynamicObject>(document).map_err(|e| Error::Template(e.message))
        };
        let objects = text.split("\n---\n").map(parse).collect::<Result<_, _>>()?;
        Ok(Self { text, objects })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Error, Installed, Options, PullPolicy, VERSION, Wanted, default_image, is_digest, pinned, render,
    };

    #[test]
    fn a_release_that_knows_the_images_digest_pins_it() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let image = pinned("registry.example.com/radar:v1".into(), Some(&digest));
        assert_eq!(image, format!("registry.example.com/radar:v1@{digest}"));
        assert!(render(&Options { image, ..Options::default() }).is_ok());
        for none in [None, Some("")] {
            assert_eq!(pinned("radar:v1".into(), none), "radar:v1");
            assert!(is_digest(none));
        }
        assert!(is_digest(Some(&digest)));
        for bad in
            ["sha256:", &digest[1..], &digest[..70], &format!("{digest}0"), &digest.replace('a', "A"), "x"]
        {
            assert!(!is_digest(Some(bad)), "{bad}");
        }
    }

    #[test]
    fn the_rendered_manifest() {
        let options = Options {
            image: "registry.example.com:5000/ksync/radar@sha256:0123".into(),
            pull_policy: PullPolicy::Never,
            pull_secrets: vec!["regcred".into(), "other".into()],
        };
        let manifest = render(&options).unwrap();
        let kinds: Vec<_> =
            manifest.objects.iter().filter_map(|o| o.types.as_ref().map(|t| t.kind.as_str())).collect();
        assert_eq!(kinds, ["Namespace", "ServiceAccount", "DaemonSet"]);
        assert!(!manifest.text.contains("{{"));
        insta::assert_snapshot!(manifest.text.replace(VERSION, "VERSION"));
    }

    #[test]
    fn the_rights_of_groups() {
        let kinds = |manifest: &super::Manifest| -> Vec<String> {
            manifest.objects.iter().filter_map(|o| o.types.as_ref().map(|t| t.kind.clone())).collect()
        };
        let groups = ["devs".to_owned(), "a\"]\n---\nkind: x".replace('\n', " ")];
        let applied = super::rights(&groups).unwrap();
        assert_eq!(kinds(&applied), ["Role", "RoleBinding"]);
        let subjects = applied.objects[1].data["subjects"].as_array().unwrap();
        let names: Vec<_> = subjects.iter().map(|subject| subject["name"].as_str().unwrap()).collect();
        assert_eq!(names, groups);
        let printed = super::all_rights(&[]).unwrap();
        assert_eq!(kinds(&printed), ["Role", "RoleBinding", "ClusterRole"]);
        insta::assert_snapshot!(printed.text);
        for bad in ["", " ", "a\nb"] {
            assert!(matches!(super::rights(&[bad.to_owned()]), Err(Error::Group(_))), "{bad:?}");
        }
    }

    #[test]
    fn nothing_breaks_out_of_its_place() {
        for image in ["", "a\"\nkind: Pod", "a b", "${x}"] {
            assert!(matches!(
                render(&Options { image: image.into(), ..Options::default() }),
                Err(Error::Image(_))
            ));
        }
        let secrets = Options { image: "a".into(), pull_secrets: vec!["a\"}".into()], ..Options::default() };
        assert!(matches!(render(&secrets), Err(Error::Secret(_))));
    }

    #[test]
    fn a_radar_of_our_version_keeps_what_is_not_said_otherwise() {
        let pod = serde_json::from_value(serde_json::json!({
            "containers": [{"name": "radar", "image": "mirror/radar:1", "imagePullPolicy": "Never"}],
            "imagePullSecrets": [{"name": "regcred"}],
        }))
        .unwrap();
        let installed = |version: &str| {
            Installed::of(&[(super::VERSION_LABEL.into(), version.into())].into(), Some(&pod))
        };
        let mirror = Options {
            image: "mirror/radar:1".into(),
            pull_policy: PullPolicy::Never,
            pull_secrets: vec!["regcred".into()],
        };
        let ours = Options { image: default_image(), ..Options::default() };
        let silent = Wanted::default();
        assert_eq!(silent.beside(None), ours);
        assert_eq!(silent.beside(Some(&installed(VERSION))), mirror);
        assert_eq!(silent.beside(Some(&installed("0.0.9"))), ours, "an older radar is replaced by ours");
        assert_eq!(silent.beside(Some(&Installed { options: None, ..installed(VERSION) })), ours);
        let policy = Wanted { pull_policy: Some(PullPolicy::Always), ..Wanted::default() };
        assert_eq!(
            policy.beside(Some(&installed(VERSION))),
            Options { pull_policy: PullPolicy::Always, ..mirror.clone() }
        );
        let other = Wanted { image: Some("other:2".into()), ..Wanted::default() };
        assert_eq!(
            other.beside(Some(&installed(VERSION))),
            Options { image: "other:2".into(), ..Options::default() }
        );
    }
}
