//! `restore` and `conflicts`, and what `get` says of them, without a watcher.

use std::fs;

use super::bench::{Bench, Says, data, refusal};

/// A spec `main` of the bench's local directory, with a few things kept.
fn scene() -> Bench {
    let bench = Bench::new();
    let local = bench.text("local");
    bench.write_config(&format!(
        "spec:\n- name: main\n  selector: app=app\n  localpath: {local}\n  remotepath: /code\n- name: other\n  \
         selector: app=app\n  localpath: /tmp/other\n  remotepath: /code\n"
    ));
    bench.put("kept/ksync-1/local-path", &format!("{local}\n"));
    bench.put("kept/ksync-1/deleted/20260101T100000000Z-000001/d/a.txt", "older\n");
    bench.put("kept/ksync-1/deleted/20260102T100000500Z-000002/d/a.txt", "old\n");
    bench.put("kept/ksync-1/deleted/20260102T100000500Z-000002/b.txt", "b\n");
    bench.put("kept/ksync-1/conflicts/20260103T100000000Z-000003/c.txt", "theirs\n");
    bench.put("kept/ksync-2/local-path", "/tmp/gone\n");
    bench.put("kept/ksync-2/accepted/20260104T100000000Z-000004/x", "");
    bench
}

#[test]
fn what_is_kept_is_listed() {
    let bench = scene();
    let dir = bench.context_dir();
    let at = |below: &str| dir.join("kept").join(below).display().to_string();
    let places = [
        at("ksync-2/accepted/20260104T100000000Z-000004/x"),
        at("ksync-1/deleted/20260102T100000500Z-000002/b.txt"),
        at("ksync-1/conflicts/20260103T100000000Z-000003/c.txt"),
        at("ksync-1/deleted/20260102T100000500Z-000002/d/a.txt"),
        at("ksync-1/deleted/20260101T100000000Z-000001/d/a.txt"),
    ];
    let main = format!(
        "main   b.txt     2026-01-02T10:00:00Z   deleted    2 bytes   {}\n\
         main   c.txt     2026-01-03T10:00:00Z   conflict   7 bytes   {}\n\
         main   d/a.txt   2026-01-02T10:00:00Z   deleted    4 bytes   {}\n\
         main   d/a.txt   2026-01-01T10:00:00Z   deleted    6 bytes   {}\n",
        places[1], places[2], places[3], places[4]
    );
    let headings = "NAME   PATH      KEPT                   WHY        SIZE      LOCATION\n";
    bench.says(&["restore", "main"], data(&format!("{headings}{main}")));
    let output = bench.command(&["restore"]).output().unwrap();
    let all = String::from_utf8(output.stdout).unwrap();
    assert!(all.contains("/tmp/gone") && all.contains(&places[0]) && all.lines().count() == 6, "{all}");
    let names = "b.txt@20260102T100000500Z\nc.txt@20260103T100000000Z\nd/a.txt@20260102T100000500Z\n\
                 d/a.txt@20260101T100000000Z\n";
    bench.says(&["restore", "main", "-o", "name"], data(names));
    let output = bench.command(&["restore", "/tmp/gone", "-o", "json"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({
        "kind": "KeptList",
        "items": [{
            "spec": "", "localPath": "/tmp/gone", "path": "x", "keptAt": "2026-01-04T10:00:00Z",
            "why": "deleted", "size": 0, "location": places[0],
        }],
    });
    assert_eq!(list, expected);
    bench.says(&["restore", "other"], Says { status: 0, stdout: "", stderr: "nothing is kept\n" });
    let hint = "hint: give a spec, or the local path of one that was deleted\n";
    bench.refuses(&["restore", "nobody"], &format!("error: spec `nobody` not found\n{hint}"));
}

#[test]
fn a_file_comes_back_and_what_was_here_is_kept_instead() {
    let bench = scene();
    let here = |name: &str| fs::read_to_string(bench.path("local").join(name));
    bench.says(&["restore", "main", "d"], data("`d/a.txt` is back\n"));
    assert_eq!(here("d/a.txt").unwrap(), "old\n");
    fs::write(bench.path("local/d/a.txt"), "mine\n").unwrap();
    bench.says(
        &["restore", "main", "d/a.txt@20260101T100000000Z", "b.txt"],
        data("`d/a.txt` is back; what was here is kept instead\n`b.txt` is back\n"),
    );
    assert_eq!((here("d/a.txt").unwrap(), here("b.txt").unwrap()), ("older\n".into(), "b\n".into()));
    bench.says(&["restore", "main", "d/a.txt"], data("`d/a.txt` is back; what was here is kept instead\n"));
    assert_eq!(here("d/a.txt").unwrap(), "mine\n");
    fs::write(bench.path("local/c.txt"), "theirs\n").unwrap();
    bench.says(&["restore", "main", "c.txt"], data("`c.txt` was here already, with the same content\n"));
}

#[test]
fn what_is_gone_comes_back_and_what_is_here_stays() {
    let bench = scene();
    fs::write(bench.path("local/c.txt"), "ours\n").unwrap();
    let said = Says {
        status: 0,
        stdout: "`b.txt` is back\n`d/a.txt` is back\n",
        stderr: "1 file that is here stays as it is; name it to have the kept one\n",
    };
    bench.says(&["restore", "main", "--all"], said);
    assert_eq!(fs::read_to_string(bench.path("local/c.txt")).unwrap(), "ours\n");
}

#[test]
fn a_wrong_name_moves_nothing() {
    let bench = scene();
    let expected =
        "error: nothing is kept of `none`\nhint: `kubectl ksync restore main` lists what is kept\n";
    bench.refuses(&["restore", "main", "b.txt", "none"], expected);
    assert!(!bench.path("local/b.txt").exists());
    fs::create_dir(bench.path("local/b.txt")).unwrap();
    let expected = "warning: `b.txt` is not put back, it is still kept: `b.txt` is a directory here\n\
                    error: not all files are put back\n";
    bench.says(&["restore", "main", "b.txt"], refusal(expected));
}

#[test]
fn conflicts_are_listed_counted_and_dismissed() {
    let bench = scene();
    let place = bench.context_dir().join("kept/ksync-1/conflicts/20260103T100000000Z-000003/c.txt");
    let table = format!(
        "NAME   PATH    KEPT                   WHY        SIZE      LOCATION\n\
         main   c.txt   2026-01-03T10:00:00Z   conflict   7 bytes   {}\n",
        place.display()
    );
    bench.says(&["conflicts"], data(&table));
    bench.says(&["conflicts", "other"], Says { status: 0, stdout: "", stderr: "no conflicts\n" });
    let counted = || {
        let output = bench.command(&["get", "main", "-o", "json"]).output().unwrap();
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let table = bench.command(&["get", "main"]).output().unwrap();
        (list["items"][0]["conflicts"].as_u64().unwrap(), String::from_utf8(table.stderr).unwrap())
    };
    let warning =
        "warning: spec `main`: 1 conflict, local content stays: see `kubectl ksync conflicts main`\n";
    let hint = "hint: no watcher runs; `kubectl ksync watch --daemon` starts one\n";
    assert_eq!(counted(), (1, format!("{warning}{hint}")));
    bench.says(
        &["conflicts", "main", "--clear"],
        data("1 conflict dismissed; `kubectl ksync restore` has what was kept\n"),
    );
    assert_eq!(counted(), (0, hint.to_owned()));
    bench.says(&["restore", "main", "c.txt"], data("`c.txt` is back\n"));
}

/// Names that a container has given its files.
#[test]
fn names_do_nothing_to_a_terminal() {
    let bench = scene();
    let odd = "a\u{1b}[2J\u{202e}\tb\nc";
    let moment = "kept/ksync-1/deleted/20260105T100000000Z-000005";
    bench.put(&format!("{moment}/{odd}"), "x");
    let shown = r"a\u{1b}[2J\u{202e}\tb\nc";
    let output = bench.command(&["restore", "main"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let place = bench.context_dir().join(moment).display().to_string();
    let line = format!("main   {shown}   2026-01-05T10:00:00Z   deleted    1 byte    {place}/{shown}");
    assert!(table.lines().any(|other| other == line) && table.lines().count() == 6, "{table}");
    let output = bench.command(&["restore", "main", "-o", "name"]).output().unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    assert!(names.lines().any(|name| name == format!("{shown}@20260105T100000000Z")), "{names}");
    // For programs they are what they are.
    let output = bench.command(&["restore", "main", "-o", "json"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(list["items"].as_array().unwrap().iter().any(|item| item["path"] == odd));
    bench.refuses(
        &["restore", "main", "no\u{1b}[31m"],
        "error: nothing is kept of `no\\u{1b}[31m`\nhint: `kubectl ksync restore main` lists what is kept\n",
    );
    // As it is listed, it can be named.
    bench.says(&["restore", "main", shown], data(&format!("`{shown}` is back\n")));
    assert_eq!(fs::read_to_string(bench.path("local").join(odd)).unwrap(), "x");
}
