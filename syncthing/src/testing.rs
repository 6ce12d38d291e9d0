//! A real syncthing for tests of other crates, which need no binary of their own that turns into one.

use std::{
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{Client, Home, HomeOptions, launch::command};

/// How long it may take to answer.
const LIMIT: Duration = Duration::from_secs(40);

/// A syncthing without folders and devices, as both sides of ksync start it. It ends with this.
#[derive(Debug)]
pub struct TestSyncthing {
    /// The process itself, to be killed.
    pub process: Child,
    /// Its REST API.
    pub client: Client,
    /// Its device id.
    pub id: String,
}

impl Drop for TestSyncthing {
    fn drop(&mut self) {
        // It may have been ended before.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl TestSyncthing {
    /// Runs the program `binary` in `home`. `port` of the loopback is where it accepts connections; 0 is any.
    ///
    /// # Panics
    /// It does not start, or does not answer for 40 s.
    #[expect(clippy::unwrap_used, reason = "a test has failed")]
    pub async fn start(binary: &Path, home: &Path, port: u16) -> Self {
        let options = HomeOptions { listen: Some(format!("tcp://127.0.0.1:{port}")) };
        let home = Home::prepare(home, &home.with_extension("sock"), binary, &options).unwrap();
        let process = command(binary, &home.dir).stdout(Stdio::null()).spawn().unwrap();
        let client = Client::unix(&home.socket, &home.key).unwrap();
        let begun = Instant::now();
        let id = loop {
            match client.my_id().await {
                Ok(id) => break id,
                Err(error) => assert!(begun.elapsed() < LIMIT, "syncthing does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self { process, client, id }
    }
}
