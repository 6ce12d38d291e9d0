//! The thread that owns an endpoint: hints, jobs and questions go in, in order, and what came of them out.
//!
//! Invariant: what was asked for before a mark is told before the mark.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use ksync_merge::Digest;
use ksync_tree::{Entry, Exact, Root};

use crate::{
    apply::{Applied, Job, apply},
    audit::audit,
    held::HeldFile,
    linked::linked,
    look::{Depth, Endpoint, News},
    suspects::Suspects,
};

/// A round of the audit takes this long, so that it takes next to nothing of a processor.
const ROUND: Duration = Duration::from_secs(30);
/// Steps of a round.
const STEPS: u32 = 60;
/// News that go together at most.
const TOGETHER: usize = 1024;

/// What an endpoint is told and asked.
#[derive(Debug)]
pub enum Input {
    /// Something may have changed at a path.
    Hint(String, Depth),
    /// Anything may have changed.
    Everything,
    /// Is to be done; the number comes back with the answer.
    Job(u64, Job),
    /// What was told before this is to be answered before this is; the number comes back.
    Mark(u64),
    /// A displaced file of this number is in safety.
    Release(u64),
    /// A displaced file of this number could not be brought to safety: it is told of again, if it is anywhere.
    JudgeAgain(u64),
    /// All that is here is to be told once more.
    List,
    /// The directory was made anew: this is it now. All that is different in it is told.
    Root(Root),
    /// What stands at a path, and what tells that it is still the same. server --reply--> whoever reads it
    Exact(String, mpsc::SyncSender<Option<(Arc<Entry>, Exact)>>),
}

/// What an endpoint tells.
#[derive(Debug)]
pub enum Output {
    /// What was found, in order.
    News(Vec<News>),
    /// All that is there is told.
    Listed,
    /// So many changes that the audit has found were told of by no event, then or soon after.
    Missed(u64),
    /// What came of a job.
    Applied(u64, Applied),
    /// A displaced file is to be brought to safety.
    Held(HeldFile),
    /// Everything before the mark was told.
    Marked {
        /// Its number.
        number: u64,
        /// Of all that is here.
        digest: Digest,
        /// Rounds of the audit that are over.
        rounds: u64,
    },
    /// What can't be looked at is this now, with the reasons.
    Skipped(BTreeMap<String, String>),
    /// There is more in it than there is memory for: the endpoint ends with this.
    Full,
}

/// Whom an endpoint works for, on its thread. False ends the endpoint.
pub trait Host: Send + 'static {
    /// Hears what there is to tell.
    fn tell(&mut self, output: Output) -> bool;

    /// Whether the directory may be written, asked before each job.
    fn may_apply(&mut self) -> bool {
        true
    }
}

impl<F: FnMut(Output) -> bool + Send + 'static> Host for F {
    fn tell(&mut self, output: Output) -> bool {
        self(output)
    }
}

/// A running endpoint; ends when it is dropped.
#[derive(Debug, Clone)]
pub struct Driver(mpsc::Sender<Input>);

impl Driver {
    /// Starts the thread, which looks at everything first. `tell` is called on it, and ends it by returning false.
    pub fn start(
        endpoint: Endpoint,
        name: &str,
        tell: impl FnMut(Output) -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        Self::start_with(endpoint, name, tell)
    }

    /// The same for a host that has more to say. It is dropped at the thread's end.
    pub fn start_with(endpoint: Endpoint, name: &str, host: impl Host) -> std::io::Result<Self> {
        let (inputs_tx, inputs_rx) = mpsc::channel();
        let run = move || {
            let mut running = Running {
                endpoint,
                host,
                skipped: BTreeMap::new(),
                rounds: 0,
                audit: Instant::now() + ROUND / STEPS,
                suspects: Suspects::default(),
            };
            running.run(&inputs_rx);
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self(inputs_tx))
    }

    /// Tells or asks something. What has ended does not answer.
    pub fn send(&self, input: Input) {
        if self.try_send(input).is_err() {
            tracing::debug!("an endpoint that has ended is told something");
        }
    }

    /// The same.
    ///
    /// # Errors
    /// It has ended, and hears nothing; what was to be told comes back.
    pub fn try_send(&self, input: Input) -> Result<(), Box<Input>> {
        self.0.send(input).map_err(|unheard| Box::new(unheard.0))
    }
}

struct Running<H> {
    endpoint: Endpoint,
    host: H,
    skipped: BTreeMap<String, String>,
    rounds: u64,
    audit: Instant,
    suspects: Suspects,
}

/// The one who listened has gone.
struct Gone;

impl<H: Host> Running<H> {
    fn run(&mut self, inputs_rx: &mpsc::Receiver<Input>) {
        let news = self.endpoint.look_first();
        if self.news(news).is_err() || self.tell(Output::Listed).is_err() {
            return;
        }
        let mut inputs = VecDeque::new();
        loop {
            if inputs.is_empty() {
                let wait = self.wait();
                match inputs_rx.recv_timeout(wait) {
                    Ok(input) => inputs.push_back(input),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
                inputs.extend(inputs_rx.try_iter().take(TOGETHER));
            }
            let done = match inputs.pop_front() {
                Some(input) => self.take(input),
                None => Ok(()),
            };
            if done.and_then(|()| self.due()).is_err() {
                return;
            }
        }
    }

    fn tell(&mut self, output: Output) -> Result<(), Gone> {
        if self.host.tell(output) { Ok(()) } else { Err(Gone) }
    }

    fn wait(&self) -> Duration {
        let due = self.endpoint.held.due().map_or(self.audit, |due| due.min(self.audit));
        due.saturating_duration_since(Instant::now())
    }

    fn take(&mut self, input: Input) -> Result<(), Gone> {
        match input {
            Input::Hint(path, depth) => {
                self.suspects.hinted(&path);
                let news = self.endpoint.look(&path, depth);
                self.news(news)
            }
            Input::Everything => {
                self.suspects.hinted("");
                let news = self.endpoint.look("", Depth::Tree);
                self.news(news)
            }
            Input::Job(number, job) => {
                if !self.host.may_apply() {
                    return Err(Gone);
                }
                let mut applied = apply(&mut self.endpoint, job);
                let news = std::mem::take(&mut applied.news);
                // What was found on the way may be newer than what came of the job.
                self.tell(Output::Applied(number, applied))?;
                self.news(news)
            }
            Input::Mark(number) => {
                let (digest, rounds) = (self.endpoint.digest(), self.rounds);
                self.tell(Output::Marked { number, digest, rounds })
            }
            Input::Release(number) => {
                if let Err(error) = self.endpoint.release(number) {
                    tracing::warn!(error = ksync_common::chain(&error), "drop a file that is in safety");
                }
                Ok(())
            }
            Input::JudgeAgain(number) => {
                self.endpoint.judge_again(number);
                Ok(())
            }
            Input::List => {
                let all: Vec<News> =
                    self.endpoint.entries().map(|(path, entry)| News::bare(path, entry)).collect();
                self.news(all)?;
                self.tell(Output::Listed)
            }
            Input::Root(root) => {
                let news = self.endpoint.replace_root(root);
                self.news(news)
            }
            Input::Exact(path, reply) => {
                // Whoever asked may have given up.
                let _ = reply.try_send(self.endpoint.exact(&path));
                Ok(())
            }
        }
    }

    fn due(&mut self) -> Result<(), Gone> {
        if self.endpoint.held.due().is_some_and(|due| due <= Instant::now()) {
            for file in self.endpoint.judge() {
                self.tell(Output::Held(file))?;
            }
        }
        if Instant::now() >= self.audit {
            let news = linked(&mut self.endpoint);
            self.news(news)?;
            let step = self.endpoint.len().div_ceil(STEPS as usize).max(1);
            let (news, over) = audit(&mut self.endpoint, step);
            let now = Instant::now();
            for found in &news {
                self.suspects.found(&found.path, now);
            }
            self.news(news)?;
            let missed = self.suspects.missed(now);
            if missed > 0 {
                self.tell(Output::Missed(missed))?;
            }
            self.rounds += u64::from(over);
            self.audit = Instant::now() + ROUND / STEPS;
        }
        Ok(())
    }

    fn news(&mut self, news: Vec<News>) -> Result<(), Gone> {
        if self.endpoint.is_full() {
            // Not all of it was looked at: none of it is told.
            self.tell(Output::Full)?;
            return Err(Gone);
        }
        let mut news = news.into_iter();
        loop {
            let some: Vec<News> = news.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                break;
            }
            self.tell(Output::News(some))?;
        }
        if *self.endpoint.skipped() != self.skipped {
            self.skipped.clone_from(self.endpoint.skipped());
            self.tell(Output::Skipped(self.skipped.clone()))?;
        }
        Ok(())
    }
}
