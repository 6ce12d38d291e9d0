//! `stop`: ends the context's watcher in good order.
//!
//! A watcher can outlive the kubeconfig that it was started with, so where that does not tell which one is meant, those
//! that run are asked.

use std::process::ExitCode;

use super::ensure;
use crate::{
    cluster::{ClusterArgs, ClusterConfig, Error},
    home::{ContextDir, Home},
    printer::{Printer, UserError},
    watcher::client::Client,
};

/// Runs `stop`.
pub(crate) async fn run(cluster: &ClusterArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let home = Home::from_env()?;
    let (context, dir) = match ClusterConfig::load(cluster).await {
        Ok(cluster) => (cluster.context.clone(), home.context(&cluster.context, &cluster.hash())),
        Err(error) => {
            let Some(found) = pick(running(&home).await?, cluster.context.as_deref(), error)? else {
                printer.say("no watcher runs");
                return Ok(ExitCode::SUCCESS);
            };
            found
        }
    };
    if ensure::stopped(&dir).await? {
        printer.data(format!("the watcher for context `{context}` has ended"));
    } else {
        printer.say(format!("no watcher runs for context `{context}`"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The watchers that answer: the context that each serves, and its directory.
async fn running(home: &Home) -> anyhow::Result<Vec<(String, ContextDir)>> {
    let mut found = Vec::new();
    for dir in home.contexts()? {
        if let Some(mut client) = Client::connect(&dir.socket()).await? {
            found.push((client.version().await?.context, dir));
        }
    }
    Ok(found)
}

/// Which of the watchers is meant where `error` hides it: the only one of the context that was named, or the only one
/// at all. None when there is none to be meant.
fn pick<T>(
    mut running: Vec<(String, T)>,
    named: Option<&str>,
    error: Error,
) -> anyhow::Result<Option<(String, T)>> {
    let all: Vec<String> = running.iter().map(|(context, _)| format!("`{context}`")).collect();
    running.retain(|(context, _)| named.is_none_or(|named| named == context));
    match (running.len(), named) {
        (1, _) => Ok(running.pop()),
        (0, None) => Ok(None),
        // Nobody can say that it is not a slip of the pen.
        (0, Some(_)) if all.is_empty() => Err(error.into()),
        _ => {
            let hint = format!("watchers run for {}: give one of them with `--context`", all.join(", "));
            Err(UserError::with_hint(&error, hint).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, pick};

    #[test]
    fn the_only_one_is_meant() {
        let told = |running: &[&str], named| {
            let running = running.iter().enumerate().map(|(at, name)| ((*name).to_owned(), at)).collect();
            let found = pick(running, named, Error::NoContext { existing: Vec::new() });
            found.map(|found| found.map(|(_, at)| at)).map_err(|_| ())
        };
        assert_eq!(told(&[], None), Ok(None));
        assert_eq!(told(&[], Some("a")), Err(()));
        assert_eq!(told(&["a"], None), Ok(Some(0)));
        assert_eq!(told(&["a"], Some("b")), Err(()));
        assert_eq!(told(&["a", "b"], None), Err(()));
        assert_eq!(told(&["a", "b"], Some("b")), Ok(Some(1)));
        assert_eq!(told(&["a", "a"], Some("a")), Err(()), "of two clusters");
    }
}
