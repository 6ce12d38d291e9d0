//! `accept` and `decline`, with and without a watcher that has something to ask.

use std::fs;

use ksync_proto::watch::{AnswerReply, SpecStatus};
use tonic::Status;

use super::{
    bench::{Bench, data, refusal},
    watcher::FakeWatcher,
};

/// A bench with a spec `main`, and a watcher that runs it.
fn with_watcher(reply: Result<AnswerReply, Status>) -> (Bench, FakeWatcher) {
    let bench = Bench::new();
    let local = bench.text("local");
    bench.write_config(&format!(
        "spec:\n- name: main\n  selector: app=app\n  localpath: {local}\n  remotepath: /code # mine\n"
    ));
    let watcher = FakeWatcher::of(&bench, "dev");
    watcher.says(vec![SpecStatus { name: "main".into(), local_path: local, ..SpecStatus::default() }]);
    watcher.answers(reply);
    (bench, watcher)
}

fn deletions(deletions: u64) -> AnswerReply {
    AnswerReply { deletions, ..AnswerReply::default() }
}

fn pull(tops: &[&str]) -> AnswerReply {
    let pull_tops = tops.iter().map(|top| (*top).to_owned()).collect();
    AnswerReply { pull_files: 1200, pull_bytes: 3_100_000, pull_tops, ..AnswerReply::default() }
}

#[test]
fn nobody_to_answer() {
    let bench = Bench::new();
    let expected = "error: no watcher runs for context `dev`\n\
                    hint: start one with `kubectl ksync watch --daemon`; what waits goes on waiting\n";
    let unknown = "error: spec `main` not found\nhint: there are no specs\n";
    bench.refuses(&["accept", "main"], unknown);
    bench.write_config("spec:\n- name: main\n  selector: app=a\n  localpath: /x\n  remotepath: /y\n");
    bench.refuses(&["accept", "main"], expected);
    bench.refuses(&["decline", "main"], expected);
}

#[test]
fn nothing_to_answer() {
    let (bench, _watcher) = with_watcher(Ok(AnswerReply::default()));
    let expected =
        "error: spec `main` waits for no answer\nhint: `kubectl ksync get main` says how it stands\n";
    bench.says(&["accept", "main"], refusal(expected));
    bench.says(&["accept", "nobody"], refusal("error: spec `nobody` not found\nhint: specs: main\n"));
}

#[test]
fn a_mass_deletion() {
    let (bench, watcher) = with_watcher(Ok(deletions(39)));
    bench.says(
        &["accept", "main"],
        data("spec `main`: 39 files deleted here too; `kubectl ksync restore main` lists what is kept\n"),
    );
    bench.says(&["decline", "main"], data("spec `main`: 39 files put back into the container\n"));
    assert_eq!(watcher.answered(), [("main".into(), true), ("main".into(), false)]);
}

#[test]
fn a_large_first_pull() {
    let (bench, _watcher) = with_watcher(Ok(pull(&["node_modules", "odd[1]"])));
    bench.says(&["accept", "main"], data("spec `main`: 1200 files (3.1 MB) brought here\n"));
    let before = fs::read_to_string(bench.config()).unwrap();
    bench.says(
        &["decline", "main"],
        data(
            "spec `main`: 1200 files (3.1 MB) left in the container; ignored from now on, in ksync.yaml: \
             /node_modules /odd\\[1\\]\n",
        ),
    );
    let after = fs::read_to_string(bench.config()).unwrap();
    assert_eq!(after, format!("{before}  ignore: [\"/node_modules\", \"/odd\\\\[1\\\\]\"]\n"));
}

#[test]
fn what_does_not_come_unasked() {
    let reply = AnswerReply {
        unasked: "1 symlink that leads out of the directory (`l\u{1b}[m -> /etc`)".to_owned(),
        pull_tops: vec!["l\u{1b}[m".to_owned()],
        put_back: 1,
        ..AnswerReply::default()
    };
    let (bench, _watcher) = with_watcher(Ok(reply.clone()));
    let what = r"1 symlink that leads out of the directory (`l\u{1b}[m -> /etc`)";
    bench.says(&["accept", "main"], data(&format!("spec `main`: {what} brought here\n")));
    let before = fs::read_to_string(bench.config()).unwrap();
    bench.says(
        &["decline", "main"],
        data(&format!(
            "spec `main`: 1 file put back into the container\n\
             spec `main`: {what} left in the container; ignored from now on, in ksync.yaml: /l\\u{{1b}}\\[m\n"
        )),
    );
    let after = fs::read_to_string(bench.config()).unwrap();
    assert_eq!(after, format!("{before}  ignore: [\"/l\\u001b\\\\[m\"]\n"));
    // With a first pull it is one answer.
    let (bench, watcher) = with_watcher(Ok(AnswerReply { put_back: 0, ..reply }));
    watcher.answers(Ok(AnswerReply { unasked: "1 file over `max-file` (`f`)".to_owned(), ..pull(&[]) }));
    bench.says(
        &["accept", "main"],
        data("spec `main`: 1200 files (3.1 MB); 1 file over `max-file` (`f`) brought here\n"),
    );
    bench.says(
        &["decline", "main"],
        data("spec `main`: 1200 files (3.1 MB); 1 file over `max-file` (`f`) not brought here\n"),
    );
}

#[test]
fn what_can_not_be_ignored_goes_on_being_asked() {
    let tops: Vec<String> = (0..101).map(|number| format!("d/{number}")).collect();
    let (bench, _watcher) = with_watcher(Ok(pull(&tops.iter().map(String::as_str).collect::<Vec<_>>())));
    let before = fs::read_to_string(bench.config()).unwrap();
    bench.says(
        &["decline", "main"],
        refusal(
            "error: the files lie in 101 places, too many to ignore one by one\n\
             hint: name them by a few patterns under `ignore` of spec `main` in ksync.yaml, or set `direction: \
             to-container`\n",
        ),
    );
    fs::write(bench.path("local/.stignore"), "mine\n").unwrap();
    let expected = format!(
        "error: spec `main` has patterns of its own\nhint: name them in `{}`, which is in force as it stands\n",
        bench.path("local/.stignore").display()
    );
    bench.says(&["decline", "main"], refusal(&expected));
    assert_eq!(fs::read_to_string(bench.config()).unwrap(), before);
}

#[test]
fn what_can_not_be_done_is_said() {
    let (bench, _watcher) = with_watcher(Err(Status::failed_precondition("the local path `/x` is gone")));
    bench.says(
        &["accept", "main"],
        refusal("error: the watcher refused `Answer`: the local path `/x` is gone\n"),
    );
}
