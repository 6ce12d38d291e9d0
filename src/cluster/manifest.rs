//! radar's manifest, rendered by plain substitution. What is put in can't break out of its place.

use kube::core::DynamicObject;

/// This program's version, strict semver.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const TEMPLATE: &str = include_str!("../../manifests/radar.yaml");

/// Where radar's image is unless the user says otherwise; set when this program is built.
pub fn default_image() -> String {
    option_env!("KSYNC_RADAR_IMAGE")
        .filter(|image| !image.is_empty())
        .map_or_else(|| format!("ghcr.io/kubectl-ksync/radar:v{VERSION}"), str::to_owned)
}

/// When kubelet pulls the image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PullPolicy {
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

/// What is filled in.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Image reference.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
    /// Names of secrets in radar's namespace.
    pub pull_secrets: Vec<String>,
}

/// Why it can't be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an image reference.
    #[error("`{0}` is not an image reference")]
    Image(String),
    /// Not a name.
    #[error("`{0}` is not the name of a secret")]
    Secret(String),
    /// The template is broken; can't happen in a release of ours.
    #[error("can't read radar's manifest: {0}")]
    Template(String),
}

/// A rendered manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// As YAML documents.
    pub text: String,
    /// As objects, in the order to apply them.
    pub objects: Vec<DynamicObject>,
}

/// Fills the template in.
pub fn render(options: &Options) -> Result<Manifest, Error> {
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
    let policy = match options.pull_policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    };
    let secrets: Vec<String> =
        options.pull_secrets.iter().map(|name| format!(r#"{{"name": "{name}"}}"#)).collect();
    let mut text = String::new();
    // The head comment is about the template, with its own placeholders.
    for line in TEMPLATE.lines().skip_while(|line| line.starts_with('#') || line.is_empty()) {
        text.push_str(line);
        text.push('\n');
    }
    let text = text
        .replace("{{image}}", &options.image)
        .replace("{{version}}", VERSION)
        .replace("{{imagePullPolicy}}", policy)
        .replace("{{imagePullSecrets}}", &format!("[{}]", secrets.join(", ")));
    let mut objects = Vec::new();
    for document in text.split("\n---\n") {
        objects.push(
            crate::config::yaml::parse::<DynamicObject>(document).map_err(|e| Error::Template(e.message))?,
        );
    }
    Ok(Manifest { text, objects })
}

#[cfg(test)]
mod tests {
    use super::{Error, Options, PullPolicy, VERSION, render};

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
}
