//! The attack: while the process makes calls for us, another one that shares its memory rewrites what it runs.

use std::{process::Command, time::Duration};

use ksync_procfs::{Namespace, namespace};

use super::{
    shell,
    victim::{Victim, compiled},
};
use crate::{error::Error, replace::replace, tests::seccomp::reads_filters};

#[tokio::test]
async fn who_rewrites_its_instructions_has_it_make_no_call_of_his() {
    if !reads_filters() {
        return ksync_skip::skipped("only root without filters of its own may read others'");
    }
    for attack in ["unshare", "other machine", "other place", "no instruction", "no call"] {
        let mut noticed = 0;
        for round in 1..=30 {
            let mut victim = Victim::run(Command::new(compiled("rewriter")).args([attack, "filtered"]));
            let users = || namespace(victim.pid(), Namespace::User).unwrap();
            let before = users();
            let refused = replace(victim.pid(), shell("true", None), Duration::ZERO).await;
            assert_eq!(users(), before, "{attack}, round {round}");
            match (attack, refused) {
                ("no call", Err(Error::Slow(_))) | (_, Err(Error::Changed)) => noticed += 1,
                // It did not come to it: it had no processor meanwhile.
                (_, Ok(1)) => continue,
                (_, other) => panic!("{attack}, round {round}: {other:?}"),
            }
            victim.say("go on");
            victim.until("went on");
            if noticed == 3 || attack == "no call" {
                break;
            }
        }
        assert!(noticed > 0, "{attack}: was not tried");
    }
}
