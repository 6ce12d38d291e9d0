//! Floods by somebody who may exec into a container of his own: what they cost others, and radar.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use ksync_keys::Client;
use ksync_proto::radar::{
    AttachRequest, DetachRequest, LookRequest, ReloadMode, ReloadRequest, SessionEvent, StageRequest,
    SyncReply, SyncRequest, radar_client::RadarClient,
};
use ksync_wire::{Content, Open, Reply, ReplyDecoder, Request, RequestEncoder};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming, transport::Channel};

use super::{super::CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Need, Sandbox,
    container::Container,
    eventually::{SHORT, holds, now_and_then},
    proving::prove,
    run::SYSTEM,
    stopwatch::{edit, median_and_longest},
    stranger::{Forward, new_key, open_session, runtime, wire},
};

pub(in crate::cases) const CASES: &[Case] = &[
    Case::new("one_persons_flood_costs_another_at_most_twice", twice)
        .on_each()
        .alone()
        .needs(&[Need::Processes]),
    Case::new("one_key_takes_less_than_half_of_radars_memory", memory)
        .on_each()
        .alone()
        .needs(&[Need::Processes]),
];

/// Somebody with a key, a session, and the proof that he may exec into a container.
struct Insider<'a> {
    forward: &'a Forward,
    keys: Client,
    radar: RadarClient<Channel>,
    container: String,
    _session: Streaming<SessionEvent>,
}

/// A stream of syncs.
struct Syncing {
    requests_tx: mpsc::Sender<SyncRequest>,
    replies: Streaming<SyncReply>,
    encoder: RequestEncoder,
}

impl Syncing {
    async fn begin(radar: &mut RadarClient<Channel>) -> Self {
        let (requests_tx, requests_rx) = mpsc::channel(16);
        let replies = radar.sync(ReceiverStream::new(requests_rx)).await.expect("Sync").into_inner();
        Self { requests_tx, replies, encoder: RequestEncoder::default() }
    }

    async fn send(&mut self, requests: impl IntoIterator<Item = Request>) -> bool {
        let message = self.encoder.encode(requests.into_iter().map(|request| (1, request)));
        self.requests_tx.send(message).await.is_ok()
    }

    async fn open(&mut self, attachment: &str) {
        let open = Open { attachment: attachment.to_owned(), ignore: Vec::new(), inline: 0 };
        assert!(self.send([Request::Open(open)]).await);
    }

    /// To the end of the listing, or of the stream: why.
    async fn listed(&mut self) -> Result<usize, String> {
        let (mut decoder, mut count) = (ReplyDecoder::default(), 0);
        loop {
            let message = self.replies.message().await.map_err(|status| status.message().to_owned())?;
            let message = message.ok_or("its end")?;
            for (_, reply) in decoder.decode(message).expect("a message that can be read") {
                match reply {
                    Reply::News(news) => count += news.len(),
                    Reply::Listed => return Ok(count),
                    other => return Err(format!("{other:?}")),
                }
            }
        }
    }
}

impl<'a> Insider<'a> {
    async fn of(sandbox: &Sandbox, forward: &'a Forward, container: &Container) -> Self {
        let keys = new_key();
        let mut radar = forward.with_key(&keys).await;
        let session = open_session(&mut radar).await.expect("a session");
        prove(sandbox, &mut radar, container).await;
        Self { forward, keys, radar, container: container.id.clone(), _session: session }
    }

    async fn attach(&mut self, path: &str) -> String {
        let request = AttachRequest {
            folder_id: path.replace('/', "f"),
            container: Some(wire(&self.container)),
            path: path.to_owned(),
            take_over: false,
        };
        self.radar.attach(request).await.expect("what was proved").into_inner().attachment_id
    }

    /// How long it takes to attach a directory, and to be told what is in it.
    async fn attaches(&mut self, path: &str, entries: usize) -> Duration {
        let begun = Instant::now();
        let attachment = self.attach(path).await;
        let mut sync = Syncing::begin(&mut self.radar).await;
        sync.open(&attachment).await;
        assert_eq!(sync.listed().await, Ok(entries));
        let took = begun.elapsed();
        self.radar.detach(DetachRequest { attachment_id: attachment }).await.expect("Detach");
        took
    }
}

fn reload(attachment: &str, grace: Duration) -> ReloadRequest {
    ReloadRequest {
        attachment_id: attachment.to_owned(),
        mode: ReloadMode::Process.into(),
        grace_ms: u64::try_from(grace.as_millis()).expect("a short time"),
        ..ReloadRequest::default()
    }
}

const FILES: usize = 300;
const ROUNDS: usize = 11;
/// What a busy machine of two cores adds to any of them.
const NOISE: Duration = Duration::from_millis(60);

/// What others do, measured: an edit, an attach with its listing, a reload.
async fn usual(sandbox: &Sandbox, other: &mut Insider<'_>, there: &str, round: usize) -> [Duration; 3] {
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    let reloaded = other.attach("/reloaded").await;
    for number in 0..ROUNDS {
        let content = format!("edit {}\n", round + number);
        times[0].push(edit(sandbox, "a.txt", there, &content));
        times[1].push(other.attaches("/listed", FILES).await);
        let begun = Instant::now();
        let request = reload(&reloaded, Duration::ZERO);
        other.radar.reload(request).await.expect("a reload");
        times[2].push(begun.elapsed());
    }
    other.radar.detach(DetachRequest { attachment_id: reloaded }).await.expect("Detach");
    times.map(|times| median_and_longest(times)[0])
}

/// Opens all that one key may, and more, and waits for nothing of it.
async fn flood(mut attacker: Insider<'_>) -> (JoinSet<()>, Insider<'_>, Vec<Syncing>) {
    let attachment = attacker.attach("/flood").await;
    let refused = reload(&attachment, Duration::from_secs(600));
    let refused = attacker.radar.reload(refused).await.expect_err("a grace of 600 s");
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "a grace of a reload of 600s, more than 60s")
    );
    let mut under_way = JoinSet::new();
    let mut syncs = Vec::new();
    let mut first = Syncing::begin(&mut attacker.radar).await;
    first.open(&attachment).await;
    // Answers that nobody reads.
    first.listed().await.expect("its listing");
    assert!(first.send(std::iter::repeat_n(Request::List, 30_000)).await);
    syncs.push(first);
    for connection in 0..4 {
        let mut radar = attacker.forward.with_key(&attacker.keys).await;
        syncs.push(Syncing::begin(&mut radar).await);
        for number in 0..150_u64 {
            let mut radar = radar.clone();
            let head = StageRequest {
                attachment_id: attachment.clone(),
                number: connection * 1000 + number,
                path: format!("stalled-{connection}-{number}"),
                ..StageRequest::default()
            };
            under_way.spawn(async move {
                let requests = stream::iter([head]).chain(stream::pending());
                // It stands to the end, or is refused for being too many.
                drop(radar.stage(requests).await);
            });
        }
        for _ in 0..40 {
            let (mut radar, request) = (radar.clone(), reload(&attachment, Duration::from_secs(60)));
            under_way.spawn(async move { drop(radar.reload(request).await) });
            let mut radar = attacker.radar.clone();
            let look = LookRequest { container: Some(wire(&attacker.container)), path: "/flood".to_owned() };
            under_way.spawn(async move { drop(radar.look(look).await) });
        }
    }
    (under_way, attacker, syncs)
}

fn twice(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = format!(
        "mkdir -p /code /listed /reloaded; i=0; while [ $i -lt {FILES} ]; do echo $i >/listed/$i; i=$((i+1)); done; \
         exec sleep 1000000"
    );
    let container = App::shell(sandbox, &app).apply(sandbox).only();
    // An app that takes its time when it is asked to end.
    let stubborn = "mkdir -p /flood; echo f >/flood/f; trap : TERM; while :; do sleep 1; done";
    let flooded = App::shell(sandbox, stubborn).named("flooded").apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    let pid = container.pid(sandbox.cluster()).expect("its process");
    let there = format!("/proc/{pid}/root{CODE}/a.txt");
    let forward = Forward::to_radar(sandbox, &sandbox.kubectl().kubeconfig, &container.node);
    runtime().block_on(async {
        let mut other = Insider::of(sandbox, &forward, &container).await;
        let before = usual(sandbox, &mut other, &there, 0).await;
        let attacker = Insider::of(sandbox, &forward, &flooded).await;
        let flooding = flood(attacker).await;
        let during = usual(sandbox, &mut other, &there, ROUNDS).await;
        println!("{container}: edit, attach, reload: {before:?}, in the flood {during:?}");
        for (before, during) in before.into_iter().zip(during) {
            assert!(during <= 2 * before + NOISE, "{before:?} before, {during:?} in the flood");
        }
        drop(flooding);
    });
    sandbox.ksync.watching("main", 1, SHORT);
}

/// A field of a process's status, in bytes.
fn status(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number")
        << 10
}

/// The memory limit of radar's container, in bytes.
fn limit(sandbox: &Sandbox) -> u64 {
    let path = "-o=jsonpath={.spec.template.spec.containers[?(@.name=='radar')].resources.limits.memory}";
    let limit = sandbox.kubectl().ok(&["get", "daemonset", "-n", SYSTEM, "ksync", path]);
    let gigabytes = limit.trim().strip_suffix("Gi").and_then(|number| number.parse::<u64>().ok());
    gigabytes.unwrap_or_else(|| panic!("radar's memory limit is `{limit}`")) << 30
}

/// Contents that are remembered, files on their way, and what is in a directory: as much as one key may have of each.
fn memory(sandbox: &Sandbox) {
    let line = "mkdir -p /flood; i=0; while [ $i -lt 200 ]; do mkdir /flood/$i; (cd /flood/$i; \
                seq 1 500 | xargs touch); i=$((i+1)); done; touch /done; exec sleep 1000000";
    let container = App::shell(sandbox, line).apply(sandbox).only();
    crate::suite::eventually("its files", crate::suite::eventually::LONG, || {
        container.read(sandbox.cluster(), "/done")
    });
    let radars = sandbox.radars();
    let radar = radars.iter().find(|part| part.name == "radar" && part.node == container.node);
    let radar = radar.expect("a container `radar`").pid(sandbox.cluster()).expect("its process");
    let before = status(radar, "VmRSS");
    let forward = Forward::to_radar(sandbox, &sandbox.kubectl().kubeconfig, &container.node);
    runtime().block_on(async {
        let mut attacker = Insider::of(sandbox, &forward, &container).await;
        let attachment = attacker.attach("/flood").await;
        let mut first = Syncing::begin(&mut attacker.radar).await;
        first.open(&attachment).await;
        assert_eq!(first.listed().await, Ok(100_200));
        let entries = status(radar, "VmRSS").saturating_sub(before);
        println!("{container}: 100,200 entries take {} MB", entries >> 20);
        let mut syncs = vec![first];
        let mut under_way = JoinSet::new();
        for connection in 0..7_u8 {
            let mut radar = attacker.forward.with_key(&attacker.keys).await;
            let mut sync = Syncing::begin(&mut radar).await;
            for number in 0..40_u8 {
                let noise =
                    |at: u32| at.wrapping_mul(2_654_435_761).to_le_bytes()[2] ^ number ^ (connection << 5);
                let content: Vec<u8> = (0..480 << 10).map(noise).collect();
                let job = Request::Job {
                    number: u64::from(number),
                    path: "f".into(),
                    old: None,
                    new: None,
                    content: Content::Whole(content.into(), None),
                    keep: false,
                };
                if !sync.send([job]).await {
                    break;
                }
            }
            syncs.push(sync);
            for number in 0..56_u64 {
                let (mut radar, attachment) = (radar.clone(), attachment.clone());
                let number = u64::from(connection) * 100 + number;
                let message = move |data: Vec<u8>| StageRequest {
                    attachment_id: attachment.clone(),
                    number,
                    path: format!("stalled-{number}"),
                    data: data.into(),
                    ..StageRequest::default()
                };
                let pieces = (0..20).map(move |_| message(vec![7; 256 << 10]));
                under_way.spawn(async move {
                    drop(radar.stage(stream::iter(pieces).chain(stream::pending())).await);
                });
            }
        }
        let mut most = 0;
        let limit = limit(sandbox);
        now_and_then("radar's memory", Duration::from_secs(10), Duration::from_millis(50), || {
            most = most.max(status(radar, "VmRSS"));
            holds(most < limit / 2, format!("{most} bytes, and the limit is {limit}"))
        });
        println!("{container}: {} MB at most, of {} MB", most >> 20, limit >> 20);
        drop((syncs, under_way));
    });
}
