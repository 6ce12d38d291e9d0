//! An API server that answers what it is told to answer, for what `create` and `clean` say before or after they act. How
//! they act is seen in the cluster suite.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use super::bench::Bench;

/// Answers by method and path; the query does not count.
type Answers = Arc<BTreeMap<String, (u16, Value)>>;

/// Listens until the test is over.
pub(crate) struct FakeApi {
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeApi {
    /// In the place of the bench's cluster. What has no answer is not found.
    pub(crate) fn of(bench: &Bench, answers: &[(&str, u16, Value)]) -> Self {
        let answers: BTreeMap<String, (u16, Value)> =
            answers.iter().map(|(call, code, body)| ((*call).to_owned(), (*code, body.clone()))).collect();
        let (answers, asked): (Answers, _) = (Arc::new(answers), Arc::<Mutex<Vec<String>>>::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answers, calls) = (Arc::clone(&answers), Arc::clone(&calls));
                thread::spawn(move || serve(stream.unwrap(), &answers, &calls));
            }
        });
        let kubeconfig = fs::read_to_string(bench.path("kubeconfig")).unwrap();
        let there = kubeconfig.replace("https://127.0.0.1:1", &format!("http://{address}"));
        fs::write(bench.path("kubeconfig"), there).unwrap();
        Self { asked }
    }

    /// The calls so far, as `METHOD /path`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A list of pods.
pub(crate) fn pods(items: &[Value]) -> Value {
    json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items })
}

/// A radar of our version.
pub(crate) fn radar() -> Value {
    let labels = json!({ "app.kubernetes.io/version": env!("CARGO_PKG_VERSION") });
    pods(&[json!({ "metadata": { "name": "ksync-1", "namespace": "ksync-system", "labels": labels } })])
}

/// As the API server refuses.
pub(crate) fn refusal(code: u16, message: &str) -> Value {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message })
}

fn serve(stream: TcpStream, answers: &Answers, calls: &Mutex<Vec<String>>) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let length = head
            .iter()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let call: Vec<&str> = head[0].split([' ', '?']).take(2).collect();
        let call = call.join(" ");
        let missing = (404, refusal(404, "not found"));
        let (code, answer) = answers.get(&call).unwrap_or(&missing);
        calls.lock().unwrap().push(call);
        let text = answer.to_string();
        let written = write!(
            writer,
            "HTTP/1.1 {code} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        if written.is_err() {
            return;
        }
    }
}
