//! The task that keeps a way to the API server open.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::switch::{State, Way};
use crate::cluster::{
    ClusterConfig, Error,
    explain::{Denied, explain},
    plugin::Person,
};
use ksync_common::{Backoff, chain};

/// A plugin that takes longer is said to be waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the kubeconfig is looked at, and what it names.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the API server is probed, and how long it may take: together less than 15 s.
const PROBE_EVERY: Duration = Duration::from_secs(4);
const PROBE_LIMIT: Duration = Duration::from_secs(6);
/// Waits after there were no credentials: a plugin may open a window each time.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Credentials that live shorter are asked for this often.
const RENEW_AT_MOST: Duration = Duration::from_secs(5);

pub(super) struct CredentialRefresher {
    cluster: ClusterConfig,
    state_tx: watch::Sender<State>,
    refused_rx: mpsc::Receiver<u64>,
    trouble_tx: watch::Sender<Option<String>>,
    wake: Arc<Notify>,
    /// How many ways there have been.
    number: u64,
}

/// A way that was opened, with what is needed to open it anew.
struct Opened {
    config: kube::Config,
    expires: Option<Timestamp>,
}

/// What a probe of the API server finds.
enum ServerAnswer {
    Served,
    Unauthorized,
    Silent(String),
}

/// The files that a way was made of, and what they were like.
type Files = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

impl CredentialRefresher {
    pub(super) fn new(
        cluster: ClusterConfig,
        state_tx: watch::Sender<State>,
        refused_rx: mpsc::Receiver<u64>,
        trouble_tx: watch::Sender<Option<String>>,
        wake: Arc<Notify>,
    ) -> Self {
        Self { cluster, state_tx, refused_rx, trouble_tx, wake, number: 0 }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        // Until when the present way's credentials hold, while there is one; none is for ever.
        let mut valid: Option<Option<Timestamp>> = None;
        loop {
            // Before they are read: what changes after this is news.
            let files = files(&self.cluster);
            let usable = valid.is_some_and(|until| until.is_none_or(|until| until > Timestamp::now()));
            match self.renew(usable).await {
                Ok(opened) => {
                    backoff.reset();
                    valid = Some(opened.expires);
                    if self.hold(&opened, &files).await {
                        valid = None;
                    }
                }
                Err(denied) => {
                    warn!(reason = %denied, "no credentials");
                    self.deny(denied, usable);
                    tokio::select! {
                        () = self.wake.notified() => info!("woken"),
                        () = changed(&self.cluster, &files) => info!("the kubeconfig has changed"),
                        () = backoff.wait() => {}
                    }
                }
            }
        }
    }

    /// Gets credentials and opens a way with them. Where the present one is `usable`, it stays until then.
    async fn renew(&mut self, usable: bool) -> Result<Opened, Denied> {
        let cluster = self.cluster.clone();
        let mut work = std::pin::pin!(login(&cluster));
        let wake = Arc::clone(&self.wake);
        let mut patience = std::pin::pin!(sleep(PATIENCE));
        let mut told = false;
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = &mut patience, if !told => {
                    told = true;
                    self.deny(Denied("waiting for the kubeconfig's credential plugin".into()), usable);
                }
                // Who has just logged in need not wait for a plugin that hangs since before.
                () = wake.notified(), if told => work.set(login(&cluster)),
            }
        };
        let (cluster, config, expires, client) = done.map_err(|error| self.no_credentials(&error))?;
        self.cluster = cluster;
        let answer = probe(&client, &self.cluster.server).await;
        if matches!(answer, ServerAnswer::Unauthorized) {
            return Err(self.login_required("the cluster does not accept the credentials"));
        }
        self.hear(answer);
        self.open(client);
        Ok(Opened { config, expires })
    }

    /// Keeps the way open until new credentials are needed; tells whether the present ones are of no use any more.
    async fn hold(&mut self, opened: &Opened, files: &Files) -> bool {
        let renew_at = opened.expires.map(|until| Instant::now() + ahead(until, Timestamp::now()));
        let mut probe = interval(PROBE_EVERY);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        probe.reset();
        let cluster = self.cluster.clone();
        let mut changed = std::pin::pin!(changed(&cluster, files));
        loop {
            tokio::select! {
                () = at(renew_at) => return false,
                () = &mut changed => {
                    info!("the kubeconfig has changed");
                    return false;
                }
                Some(number) = self.refused_rx.recv() => if number == self.number {
                    return true;
                },
                () = self.wake.notified() => probe.reset_immediately(),
                _ = probe.tick() => if !self.probe(opened).await {
                    return true;
                },
            }
        }
    }

    /// Probes the API server; where no answer comes, what is under way ends, and the next goes by new connections.
    /// Tells whether the credentials hold.
    async fn probe(&mut self, opened: &Opened) -> bool {
        let State::Open(way) = self.state_tx.borrow().clone() else { return false };
        let answer = probe(&way.client, &self.cluster.server).await;
        let silent = matches!(answer, ServerAnswer::Silent(_));
        if matches!(answer, ServerAnswer::Unauthorized) {
            return false;
        }
        self.hear(answer);
        if silent {
            match self.cluster.build(opened.config.clone()).await {
                Ok(client) => self.open(client),
                Err(error) => warn!(error = chain(&error), "make another client"),
            }
            way.dead.cancel();
        }
        true
    }

    fn open(&mut self, client: kube::Client) {
        self.number += 1;
        let way = Way { client, number: self.number, dead: CancellationToken::new() };
        self.state_tx.send_replace(State::Open(way));
    }

    fn hear(&self, answer: ServerAnswer) {
        let trouble = match answer {
            ServerAnswer::Silent(why) => Some(why),
            ServerAnswer::Served | ServerAnswer::Unauthorized => None,
        };
        self.say(trouble);
    }

    fn deny(&self, denied: Denied, usable: bool) {
        self.say(Some(denied.to_string()));
        if !usable {
            self.state_tx.send_replace(State::Closed(denied));
        }
    }

    fn say(&self, trouble: Option<String>) {
        self.trouble_tx.send_if_modified(|now| {
            let news = *now != trouble;
            if news {
                info!(trouble, "the cluster");
            }
            *now = trouble;
            news
        });
    }

    fn no_credentials(&self, error: &Error) -> Denied {
        match error {
            Error::Plugin(plugin) if plugin.is_for_a_person() => self.login_required(&chain(error)),
            _ => Denied(chain(error).into()),
        }
    }

    fn login_required(&self, why: &str) -> Denied {
        let context = &self.cluster.context;
        Denied(
            format!("login required: run `kubectl ksync version --context {context}` at a terminal ({why})")
                .into(),
        )
    }
}

/// Reads the kubeconfig anew, gets credentials, and makes a client with them.
async fn login(
    cluster: &ClusterConfig,
) -> Result<(ClusterConfig, kube::Config, Option<Timestamp>, kube::Client), Error> {
    let cluster = cluster.again().await?;
    let (config, expires) = cluster.login(Person::Away).await?;
    let client = cluster.build(config.clone()).await?;
    Ok((cluster, config, expires, client))
}

/// Asks for the version, which anybody may.
async fn probe(client: &kube::Client, server: &str) -> ServerAnswer {
    match timeout(PROBE_LIMIT, client.apiserver_version()).await {
        Ok(Err(kube::Error::Api(status))) if status.code == 401 => ServerAnswer::Unauthorized,
        Ok(Ok(_) | Err(kube::Error::Api(_))) => ServerAnswer::Served,
        Ok(Err(error)) => ServerAnswer::Silent(explain(&error, server).to_string()),
        Err(_) => ServerAnswer::Silent(format!("the cluster at `{server}` does not answer")),
    }
}

/// When to ask for the next credentials: in good time before these end.
fn ahead(until: Timestamp, now: Timestamp) -> Duration {
    let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    (left * 3 / 4).max(RENEW_AT_MOST)
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn files(cluster: &ClusterConfig) -> Files {
    let user = &cluster.config.auth_info;
    let named = [&user.client_certificate, &user.client_key].into_iter().flatten().map(PathBuf::from);
    let like = |path: &PathBuf| path.metadata().and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
    cluster
        .paths
        .iter()
        .cloned()
        .chain(named)
        .map(|path| {
            let was = like(&path);
            (path, was)
        })
        .collect()
}

/// Waits until the kubeconfig, or a certificate that it names, is another than it was.
async fn changed(cluster: &ClusterConfig, was: &Files) {
    let mut look = interval(LOOK_EVERY);
    loop {
        look.tick().await;
        if files(cluster) != *was {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::ahead;

    #[test]
    fn credentials_are_renewed_in_good_time() {
        let now = Timestamp::UNIX_EPOCH;
        let after = |seconds: i64| ahead(Timestamp::from_second(seconds).unwrap(), now).as_secs();
        assert_eq!((after(20), after(3600)), (15, 2700));
        assert_eq!((after(2), after(-100)), (5, 5), "one that is over already is not asked for all the time");
        assert_eq!(ahead(now, now), Duration::from_secs(5));
    }
}
