//! A spec as YAML lines, in the old ksync's order and style; whatever could be read as something else (`yes`, `0x10`, `~`)
//! is quoted, for YAML 1.1 readers too.

use std::fmt::Write;

use super::SpecDetails;

/// The lines of a list item, indented.
pub(super) fn item(spec: &SpecDetails, indent: usize) -> String {
    let mut fields = vec![
        ("name", string(&spec.name)),
        ("containername", string(&spec.containername)),
        ("pod", string(&spec.pod)),
        ("selector", string(&spec.selector)),
        ("namespace", string(&spec.namespace)),
        ("localpath", string(&spec.localpath)),
        ("remotepath", string(&spec.remotepath)),
        ("reload", spec.reload.to_string()),
    ];
    let mut optional = |key, value: Option<String>| fields.extend(value.map(|value| (key, value)));
    optional("context", spec.context.as_deref().map(string));
    optional("cluster", spec.cluster.as_deref().map(string));
    optional("ignore", (!spec.ignore.is_empty()).then(|| patterns(&spec.ignore)));
    optional("initial", spec.initial.map(|initial| initial.to_string()));
    optional("direction", spec.direction.map(|direction| direction.to_string()));
    optional("trust-container", spec.trust_container.then(|| "true".to_owned()));
    optional("max-file", spec.max_file.map(|size| size.to_string()));
    optional("max-pull", spec.max_pull.map(|size| size.to_string()));
    optional("reload-mode", spec.reload_mode.as_ref().map(|mode| string(&mode.to_string())));
    optional("reload-on", (!spec.reload_on.is_empty()).then(|| patterns(&spec.reload_on)));
    optional("reload-max-unavailable", spec.reload_max_unavailable.map(|most| most.to_string()));
    let mut text = String::new();
    for (i, (key, value)) in fields.iter().enumerate() {
        let dash = if i == 0 { "- " } else { "  " };
        // Writing to a String can't fail.
        let _ = writeln!(text, "{:indent$}{dash}{key}: {value}", "");
    }
    text
}

/// The value of `ignore` or `reload-on`.
pub(super) fn patterns(patterns: &[String]) -> String {
    format!("[{}]", patterns.iter().map(|pattern| quoted(pattern)).collect::<Vec<_>>().join(", "))
}

fn string(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '=' | '+');
    let starts_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let word = text.to_ascii_lowercase();
    let reserved =
        matches!(word.as_str(), "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null" | "nan");
    if starts_plain && text.chars().all(safe) && !reserved { text.to_owned() } else { quoted(text) }
}

/// YAML's double-quoted style, with escapes for all but plain printable characters.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{85}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::{super::yaml, item};
    use crate::config::{ByteSize, Direction, Initial, ReloadMode, SpecDetails};

    #[test]
    fn every_value_reads_back() {
        for text in [
            "",
            "a",
            "yes",
            "N",
            "~",
            "1",
            "0x10",
            "1e3",
            "a b",
            "/tmp/ü ☃",
            "a: b",
            "#x",
            "x #y",
            "\"q\"",
            "\\",
            "tab\t",
            "nl\nx",
            "\u{7f}",
            "app in (a,b)",
            "-",
            "*x",
            "[a",
            "null",
        ] {
            let spec = SpecDetails {
                name: text.to_owned(),
                localpath: text.to_owned(),
                context: Some(text.to_owned()),
                ignore: vec![text.to_owned(), "*.o".to_owned()],
                initial: Some(Initial::Newest),
                direction: Some(Direction::ToContainer),
                trust_container: true,
                max_file: Some(ByteSize(200_000_000)),
                max_pull: Some(ByteSize(7)),
                reload_mode: Some(ReloadMode::Signal("HUP".to_owned())),
                reload_on: vec![text.to_owned()],
                reload_max_unavailable: NonZeroUsize::new(2),
                ..SpecDetails::default()
            };
            assert_eq!(yaml::parse::<Vec<SpecDetails>>(&item(&spec, 3)).unwrap(), [spec], "{text:?}");
        }
    }

    #[test]
    fn the_style_is_the_old_ksyncs() {
        let spec = SpecDetails {
            name: "sunny-husky".into(),
            selector: "app=app".into(),
            namespace: "default".into(),
            localpath: "/tmp/ksync".into(),
            remotepath: "/code".into(),
            reload: true,
            ..SpecDetails::default()
        };
        let old = crate::config::store::OLD_FILE;
        assert!(old.ends_with(&item(&spec, 0)), "{}", item(&spec, 0));
    }
}
