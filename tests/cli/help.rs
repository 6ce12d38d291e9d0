//! The help of each command, the version, completion, and what is not understood.

use super::bench::{Bench, Says, data};

const COMMANDS: &[&str] = &[
    "init",
    "create",
    "delete",
    "get",
    "reload",
    "restore",
    "conflicts",
    "accept",
    "decline",
    "watch",
    "stop",
    "clean",
    "version",
    "completion",
];

fn help(args: &[&str]) -> String {
    let output = Bench::new().command(args).env("COLUMNS", "100").output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_help_of_the_program() {
    insta::assert_snapshot!(help(&["--help"]));
}

#[test]
fn the_help_of_each_command() {
    for command in COMMANDS {
        insta::assert_snapshot!(format!("help-{command}"), help(&[command, "--help"]));
    }
}

#[test]
fn every_command_is_among_them() {
    let listed = help(&["--help"]);
    let commands: Vec<&str> = listed
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // What goes on in the next line is indented further.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(commands, COMMANDS);
}

#[test]
fn usage_says_how_it_is_typed() {
    for command in COMMANDS {
        let usage = format!("Usage: kubectl ksync {command}");
        assert!(help(&[command, "--help"]).contains(&usage), "{command}");
    }
}

#[test]
fn version_asks_nobody_when_told_so() {
    let version = format!("kubectl-ksync {}\n", env!("CARGO_PKG_VERSION"));
    let bench = Bench::new();
    std::fs::remove_file(bench.path("kubeconfig")).unwrap();
    bench.says(&["version", "--client"], data(&version));
    assert!(!bench.home().exists());
}

#[test]
fn version_without_a_cluster_says_what_it_knows() {
    let stdout = format!("kubectl-ksync {}\nwatcher not running\n", env!("CARGO_PKG_VERSION"));
    let stderr = "warning: can't reach the cluster at `https://127.0.0.1:1`: connection refused\n";
    Bench::new().says(&["version"], Says { status: 0, stdout: &stdout, stderr });
}

#[test]
fn completion_for_each_shell() {
    for (shell, mark) in [("bash", "_kubectl"), ("zsh", "#compdef"), ("fish", "complete -c kubectl-ksync")] {
        let script = help(&["completion", shell]);
        assert!(script.contains(mark), "{shell}: {script}");
        assert!(COMMANDS.iter().all(|command| script.contains(command)), "{shell}");
    }
}

#[test]
fn what_is_not_understood() {
    let said = |args: &[&str]| {
        let output = Bench::new().command(args).env("COLUMNS", "100").output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(stdout, "", "{args:?}");
        format!("{}\nstatus {}\n", String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
    };
    let cases: &[&[&str]] = &[
        &["nonsense"],
        &["get", "--nonsense"],
        &["get", "-o", "xml"],
        &["create"],
        &["create", "-l", "app=app", "local"],
        &["create", "local", "/code"],
        &["create", "-l", "app=app", "-p", "pod", "local", "/code"],
        &["create", "-l", "app=app", "--wait", "--no-start", "local", "/code"],
        &["create", "-l", "app=app", "--timeout", "soon", "local", "/code"],
        &["delete"],
        &["delete", "--all", "name"],
        &["accept"],
        &["restore", "--all"],
        &["restore", "main", "--all", "a.txt"],
        &["conflicts", "--clear", "-o", "json"],
        &["completion", "csh"],
    ];
    for args in cases {
        let name = format!("not-understood-{}", args.join("_").replace(['/', '='], ""));
        insta::assert_snapshot!(name, said(args));
    }
}

#[test]
fn nothing_at_all_is_a_call_for_help() {
    let output = Bench::new().command(&[]).env("COLUMNS", "100").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("Usage: kubectl ksync"), "{text}");
}
