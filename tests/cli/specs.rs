//! `delete` where no cluster can be reached: the file is all it needs.

use std::fs;

use super::bench::{Bench, Says, data};

const TWO: &str = "\
# mine
apikey: ksync
port: 40322
spec:
- name: one
  selector: app=app
  localpath: /tmp/one
  remotepath: /code
  reload: true
- name: two # kept
  pod: p
  localpath: /tmp/two
  remotepath: /srv
  future: [x]
";

#[test]
fn delete_takes_one_and_leaves_every_other_byte() {
    let bench = Bench::new();
    bench.write_config(TWO);
    bench.says(&["delete", "one"], data("spec `one` deleted\n"));
    let (head, rest) = TWO.split_once("- name: one").unwrap();
    let (_, tail) = rest.split_once("- name: two").unwrap();
    assert_eq!(fs::read_to_string(bench.config()).unwrap(), format!("{head}- name: two{tail}"));
}

#[test]
fn delete_needs_no_kubeconfig() {
    let bench = Bench::new();
    bench.write_config(TWO);
    fs::remove_file(bench.path("kubeconfig")).unwrap();
    bench.says(&["delete", "one", "two"], data("spec `one` deleted\nspec `two` deleted\n"));
    assert_eq!(fs::read_to_string(bench.config()).unwrap(), "# mine\napikey: ksync\nport: 40322\nspec: []\n");
}

/// No watcher runs any more to sweep what it left.
#[test]
fn the_last_spec_of_a_directory_takes_ours_from_it() {
    let bench = Bench::new();
    let (local, exclude) = (bench.path("local"), bench.path("local/.git/info/exclude"));
    fs::create_dir_all(exclude.parent().unwrap()).unwrap();
    fs::write(&exclude, "# mine\n*.o\n").unwrap();
    let item = |name: &str| {
        format!("- name: {name}\n  pod: p\n  localpath: {}\n  remotepath: /{name}\n", local.display())
    };
    bench.write_config(&format!("spec:\n{}{}", item("one"), item("two")));
    let ours = format!("{}\n.git\n", ksync_tree::STIGNORE_HEADER);
    fs::write(local.join(".stignore"), &ours).unwrap();
    let marked = "# mine\n# kubectl-ksync adds the next line, and removes it\n/.stignore\n*.o\n";
    fs::write(&exclude, marked).unwrap();
    bench.says(&["delete", "one"], data("spec `one` deleted\n"));
    let now = || (local.join(".stignore").exists(), fs::read_to_string(&exclude).unwrap());
    assert_eq!(now(), (true, marked.to_owned()), "the other spec needs them");
    bench.says(&["delete", "two"], data("spec `two` deleted\n"));
    assert_eq!(now(), (false, "# mine\n*.o\n".to_owned()));
}

#[test]
fn an_unknown_name_deletes_nothing() {
    let bench = Bench::new();
    bench.write_config(TWO);
    bench.says(
        &["delete", "one", "three"],
        super::bench::refusal("error: spec `three` not found\nhint: specs: two\n"),
    );
    assert_eq!(fs::read_to_string(bench.config()).unwrap(), TWO);
}

#[test]
fn there_is_nothing_to_delete() {
    let bench = Bench::new();
    bench.says(
        &["delete", "one"],
        super::bench::refusal("error: spec `one` not found\nhint: there are no specs\n"),
    );
    bench.says(&["delete", "--all"], Says { status: 0, stdout: "", stderr: "no specs to delete\n" });
}

#[test]
fn all_of_this_context() {
    let bench = Bench::new();
    bench.write_config(&format!("{TWO}  context: prod\n"));
    bench.says(&["delete", "--all"], data("spec `one` deleted\n"));
    assert!(fs::read_to_string(bench.config()).unwrap().contains("- name: two"));
}

/// `two` says no namespace: it is in the context's, `team`.
#[test]
fn a_namespace_narrows_what_is_deleted() {
    let bench = Bench::new();
    bench.write_config(&TWO.replace("- name: one\n", "- name: one\n  namespace: other\n"));
    let nobody = "no specs to delete in namespace `empty`\n";
    bench.says(&["delete", "--all", "-n", "empty"], Says { status: 0, stdout: "", stderr: nobody });
    for (name, given, own) in [("one", "team", "other"), ("two", "other", "team")] {
        let refusal = format!(
            "error: spec `{name}` is in namespace `{own}`, not in `{given}`\n\
             hint: give `-n {own}`, or no `-n` at all\n"
        );
        bench.refuses(&["delete", name, "-n", given], &refusal);
        bench.refuses(&["delete", "one", "two", "--namespace", given], &refusal);
    }
    bench.says(&["delete", "--all", "-n", "other"], data("spec `one` deleted\n"));
    bench.says(&["delete", "two", "-n", "team"], data("spec `two` deleted\n"));
}

#[test]
fn the_files_namespace_goes_before_the_contexts() {
    let bench = Bench::new();
    bench.write_config(&format!("namespace: file\n{TWO}"));
    let shown =
        |namespace: &str| bench.command(&["get", "-o", "name", "-n", namespace]).output().unwrap().stdout;
    assert_eq!((shown("team"), shown("file").len()), (Vec::new(), "spec/one\nspec/two\n".len()));
    bench.says(&["delete", "--all", "-n", "file"], data("spec `one` deleted\nspec `two` deleted\n"));
}

#[test]
fn a_broken_file_is_not_written() {
    let bench = Bench::new();
    bench.write_config("spec: {\n");
    for args in [&["delete", "one"][..], &["create", "-l", "a=b", "local", "/code"]] {
        let output = bench.command(args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("error: can't read `") && stderr.contains("column"), "{stderr}");
        assert_eq!(fs::read_to_string(bench.config()).unwrap(), "spec: {\n");
    }
}

#[test]
fn a_hidden_verb_is_one_only_where_a_verb_is() {
    let bench = Bench::new();
    let unknown = "error: spec `__watch` not found\nhint: there are no specs\n";
    bench.says(&["delete", "__watch"], super::bench::refusal(unknown));
    bench.says(&["--context", "dev", "delete", "__watch"], super::bench::refusal(unknown));
}
