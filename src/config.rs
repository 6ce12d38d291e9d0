//! `ksync.yaml`: the old ksync's format, read by and from the old ksync. Reading gives good specs and bad ones apart, each
//! bad one with its place; writing changes only the lines that it must, so that unknown keys, comments, the order of
//! keys and the way things are written stay.

mod byte_size;
mod draft;
mod error;
mod layout;
mod loaded;
mod name;
mod position;
mod render;
mod selector;
mod spec;
mod store;
pub(crate) mod validate;
pub(crate) mod yaml;

pub(crate) use byte_size::ByteSize;
pub(crate) use draft::Draft;
#[cfg(fuzzing)]
pub use draft::takes_out_one_spec as fuzz;
pub(crate) use error::Error;
pub(crate) use loaded::{Config, Loaded, SpecError};
pub(crate) use name::fresh_name;
pub(crate) use position::Position;
pub(crate) use spec::{Direction, Initial, ReloadMode, SpecDetails, same_patterns};
pub(crate) use store::Store;
pub(crate) use yaml::to_yaml;

#[cfg(test)]
mod tests {
    use super::{Draft, Position};

    fn load(text: &str) -> super::Loaded {
        Draft::parse("k".as_ref(), text).unwrap().loaded().clone()
    }

    #[test]
    fn the_old_ksyncs_file_loads() {
        let loaded = load(super::store::OLD_FILE);
        assert_eq!(loaded.errors, []);
        let config = loaded.config;
        assert_eq!(
            (config.apikey.as_str(), config.log_level.as_str(), config.port),
            ("ksync", "debug", Some(40322))
        );
        let spec = &config.spec[0];
        assert_eq!(
            (spec.name.as_str(), spec.selector.as_str(), spec.remotepath.as_str()),
            ("sunny-husky", "app=app", "/code")
        );
        assert!(spec.reload && spec.pod.is_empty() && spec.containername.is_empty());
    }

    #[test]
    fn one_bad_spec_is_told_with_its_place_and_spares_the_others() {
        let text = "spec:\n- name: a\n  selector: x=y\n  localpath: /a\n  remotepath: /r\n  reload: maybe\n\
                    - name: b\n  selector: x=y\n  localpath: /b\n  remotepath: /r\n\
                    -   name: c\n    pod: p\n    localpath: rel\n    remotepath: /r\n\
                    - name: b\n  pod: p\n  localpath: /d\n  remotepath: /r\n- just text\n";
        let loaded = load(text);
        let names: Vec<_> = loaded.config.spec.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["b"]);
        let told: Vec<_> = loaded.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "spec `a` at line 6 column 11: reload: invalid type: string \"maybe\", expected a boolean",
                "spec `c` at line 11 column 1: `localpath` is not an absolute path: `rel`",
                "spec `b` at line 15 column 9: there is another spec of this name",
                "spec 5 at line 19 column 3: invalid type: string \"just text\", expected a mapping of a spec's keys",
            ]
        );
    }

    #[test]
    fn a_spec_is_in_its_own_namespace_the_files_or_the_contexts() {
        let text = "spec:\n- name: a\n  pod: p\n  namespace: own\n  localpath: /l\n  remotepath: /r\n\
                    - name: b\n  pod: p\n  localpath: /l\n  remotepath: /r\n";
        for (head, expected) in [("", ["own", "context"]), ("namespace: file\n", ["own", "file"])] {
            let config = load(&format!("{head}{text}")).config;
            let found: Vec<_> = config.spec.iter().map(|spec| config.namespace_of(spec, "context")).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_selector_that_is_none_is_told_with_its_place() {
        let spec = |name: &str, selector: &str| {
            format!("  - name: {name}\n    selector:   {selector}\n    localpath: /a\n    remotepath: /r\n")
        };
        let loaded = load(&format!("spec:\n{}{}", spec("a", "app in web"), spec("b", "app in (web)")));
        let names: Vec<_> = loaded.config.spec.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["b"]);
        let told: Vec<_> = loaded.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "spec `a` at line 3 column 17: can't understand the selector `app in web`: `(` after `in` is expected \
              instead of `web`"
            ]
        );
        let first = load("spec:\n- selector: =\n  name: a\n  localpath: /a\n  remotepath: /r\n");
        assert_eq!(first.errors[0].place, Position { line: 2, column: 13 });
    }

    #[test]
    fn a_broken_file_is_one_error_with_its_place() {
        for (text, place) in [
            ("spec:\n- name: a\n  bad\n  x: [1\n", Position { line: 4, column: 4 }),
            ("- a\n", Position { line: 1, column: 1 }),
            ("a: 1\nspec: 5\n", Position { line: 2, column: 1 }),
            ("context: [x]\n", Position { line: 1, column: 1 }),
        ] {
            match Draft::parse("k".as_ref(), text) {
                Err(super::Error::Syntax { place: found, .. }) => {
                    assert_eq!(found.line, place.line, "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_empty_file_and_old_nulls_are_fine() {
        for text in ["", "# nothing\n", "spec:\n", "spec: []\n", "---\n"] {
            assert_eq!(load(text), super::Loaded::default(), "{text}");
        }
        let loaded = load(
            "context: ~\nspec:\n- name: a\n  pod:\n  selector: x=y\n  localpath: /a\n  remotepath: /r\n",
        );
        assert_eq!((loaded.errors.len(), loaded.config.spec.len()), (0, 1));
    }
}
