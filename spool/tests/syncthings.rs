//! Two real syncthings on the loopback, each with its end of a spool. `KSYNC_TEST_SYNCTHING` names the program
//! (`make syncthing-test`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "the whole target is a test"
)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ksync_spool::{End, Error, Lease, Leased, Name, Pair};
use syncthing::{Device, TestSyncthing};

const LIMIT: Duration = Duration::from_secs(40);
const MB: usize = 1 << 20;

/// The way from here to there: it can be cut, and counts what it carries.
#[derive(Clone)]
struct Way {
    open: Arc<Mutex<Vec<TcpStream>>>,
    carried: Arc<AtomicU64>,
    /// Bytes in a second.
    rate: Arc<AtomicU64>,
}

impl Way {
    /// Returns its port, too.
    fn to(port: u16) -> (Self, u16) {
        let way =
            Self { open: Arc::default(), carried: Arc::default(), rate: Arc::new(AtomicU64::new(u64::MAX)) };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let accepting = way.clone();
        thread::spawn(move || {
            for here in listener.incoming() {
                let Ok(here) = here else { return };
                let Ok(there) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(&here, &there), (&there, &here)] {
                    let (way, from, to) =
                        (accepting.clone(), from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || way.carry(from, to));
                }
                accepting.open.lock().unwrap().extend([here, there]);
            }
        });
        (way, own)
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
            self.carried.fetch_add(count as u64, Ordering::SeqCst);
            let rate = self.rate.load(Ordering::SeqCst);
            thread::sleep(Duration::from_nanos(count as u64 * 1_000_000_000 / rate.min(1 << 40)));
        }
        // The other direction may have done so.
        for end in [&from, &to] {
            drop(end.shutdown(Shutdown::Both));
        }
    }

    fn cut(&self) {
        for end in self.open.lock().unwrap().drain(..) {
            drop(end.shutdown(Shutdown::Both));
        }
    }
}

struct Scene {
    dir: tempfile::TempDir,
    binary: PathBuf,
    here: TestSyncthing,
    there: TestSyncthing,
    there_port: u16,
    way: Way,
    way_port: u16,
    pairs: [Pair; 2],
}

impl Scene {
    async fn new() -> Self {
        let binary =
            PathBuf::from(std::env::var_os("KSYNC_TEST_SYNCTHING").expect("KSYNC_TEST_SYNCTHING is set"));
        // The process's other tests may have done so.
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().unwrap();
        let there_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let there = TestSyncthing::start(&binary, &dir.path().join("there"), there_port).await;
        let here = TestSyncthing::start(&binary, &dir.path().join("here"), 0).await;
        let (way, way_port) = Way::to(there_port);
        let pair = |end, name| Pair::open(end, &dir.path().join(name), "session", "1").unwrap();
        let pairs = [pair(End::Here, "spool-here"), pair(End::There, "spool-there")];
        let scene = Self { dir, binary, here, there, there_port, way, way_port, pairs };
        scene.share().await;
        scene
    }

    /// Both ends as the watcher and radar make them, in that order.
    async fn share(&self) {
        let (here, there) = (&self.here.client, &self.there.client);
        there.put_device(&Device::new(&self.here.id, "here", None)).await.unwrap();
        self.pairs[1].share(there, &self.here.id).await.unwrap();
        let device = Device::new(&self.there.id, "there", Some(format!("tcp://127.0.0.1:{}", self.way_port)));
        here.put_device(&Device { paused: true, ..device.clone() }).await.unwrap();
        self.pairs[0].share(here, &self.there.id).await.unwrap();
        here.put_device(&device).await.unwrap();
        let begun = Instant::now();
        while !self.pairs[0].is_shared(here, &self.there.id).await.unwrap() {
            assert!(begun.elapsed() < LIMIT, "the two do not come together");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join(dir)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    async fn until_empty(&self) {
        let begun = Instant::now();
        loop {
            let left: Vec<_> = ["spool-here/in", "spool-here/out", "spool-there/in", "spool-there/out"]
                .into_iter()
                .flat_map(|dir| self.names(dir))
                .collect();
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "{left:?} stay");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Noise of so many bytes.
fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    noise
}

fn name(content: &[u8]) -> Name {
    Name::new(*blake3::hash(content).as_bytes())
}

async fn offered(pair: &Pair, content: &[u8]) -> Lease {
    let lease = match pair.outbox.lease(name(content), content.len() as u64).await.unwrap() {
        Leased::Filled(lease) => lease,
        Leased::Empty(mut filling) => {
            content.chunks(256 << 10).for_each(|piece| filling.add(piece).unwrap());
            filling.finish().unwrap()
        }
    };
    lease.offer().await.unwrap();
    lease
}

async fn received(pair: &Pair, content: &[u8]) -> Result<Vec<u8>, Error> {
    let mut arrived = pair.inbox.wait(name(content), content.len() as u64).await?;
    let mut got = Vec::new();
    arrived.file.read_to_end(&mut got).unwrap();
    Ok(got)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a syncthing: make syncthing-test"]
async fn a_file_goes_each_way_and_leaves_nothing() {
    let scene = Scene::new().await;
    for (from, to) in [(0, 1), (1, 0)] {
        for bytes in [8 * MB, 40 * MB, 200 * MB] {
            let content = noise(bytes);
            let begun = Instant::now();
            let lease = offered(&scene.pairs[from], &content).await;
            let offered = begun.elapsed();
            // Several containers of a node may want one content.
            let (first, second) =
                tokio::join!(received(&scene.pairs[to], &content), received(&scene.pairs[to], &content));
            println!(
                "{} MB from {from} to {to}: offered after {offered:?}, there after {:?}",
                bytes / MB,
                begun.elapsed()
            );
            assert!(first.unwrap() == content && second.unwrap() == content);
            lease.done();
            scene.until_empty().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a syncthing: make syncthing-test"]
async fn a_connection_that_breaks_costs_what_was_under_way() {
    let scene = Scene::new().await;
    let content = noise(60 * MB);
    scene.way.rate.store(30_000_000, Ordering::SeqCst);
    for (from, to, inbox) in [(0, 1, "spool-there/in"), (1, 0, "spool-here/in")] {
        let before = scene.way.carried.load(Ordering::SeqCst);
        let lease = offered(&scene.pairs[from], &content).await;
        let begun = Instant::now();
        while scene.way.carried.load(Ordering::SeqCst) < before + 30 * MB as u64 {
            assert!(begun.elapsed() < LIMIT, "nothing comes");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(
            scene.names(inbox).iter().all(|name| name.starts_with(".syncthing.")),
            "it is not complete yet"
        );
        scene.way.cut();
        // Whoever lost the connection asks again.
        drop(lease);
        let lease = offered(&scene.pairs[from], &content).await;
        assert!(received(&scene.pairs[to], &content).await.unwrap() == content);
        let carried = scene.way.carried.load(Ordering::SeqCst) - before;
        println!("from {from} to {to}: {} MB for 60, {:?}", carried / MB as u64, begun.elapsed());
        assert!(carried < 90 * MB as u64, "{carried} bytes: it began anew");
        lease.done();
        scene.until_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a syncthing: make syncthing-test"]
async fn a_syncthing_that_was_killed_goes_on_or_is_given_up() {
    let mut scene = Scene::new().await;
    let content = noise(40 * MB);
    scene.way.rate.store(20_000_000, Ordering::SeqCst);
    let lease = offered(&scene.pairs[0], &content).await;
    let begun = Instant::now();
    while scene.names("spool-there/in").is_empty() {
        assert!(begun.elapsed() < LIMIT, "nothing comes");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The node's, as radar starts it again: it knows nothing any more.
    scene.there.process.kill().unwrap();
    scene.there.process.wait().unwrap();
    scene.there =
        TestSyncthing::start(&scene.binary, &scene.dir.path().join("there"), scene.there_port).await;
    scene.share().await;
    assert!(received(&scene.pairs[1], &content).await.unwrap() == content, "it goes on");
    lease.done();
    scene.until_empty().await;
    // One that does not come back.
    let lease = offered(&scene.pairs[0], &content).await;
    scene.there.process.kill().unwrap();
    let begun = Instant::now();
    assert!(matches!(received(&scene.pairs[1], &content).await, Err(Error::Stuck { .. })));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(scene.names("spool-there/in").is_empty());
    drop(lease);
}
