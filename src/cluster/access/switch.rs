//! The switch in front of kube's clients: each request goes by the way that is open when it comes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use kube::client::Body;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::{BoxError, Service};

use crate::cluster::explain::Denied;

/// One client with its credentials.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) client: kube::Client,
    /// Different for each.
    pub(super) number: u64,
    /// Cancelled when nothing comes through any more.
    pub(super) dead: CancellationToken,
}

/// Whether there is a way.
#[derive(Clone)]
pub(super) enum State {
    /// It is being looked for.
    Unknown,
    /// This one.
    Open(Way),
    /// None, and why.
    Closed(Denied),
}

/// kube's transport for [`super::Access`]'s client.
#[derive(Clone)]
pub(super) struct Switch {
    state: watch::Receiver<State>,
    /// Numbers of ways whose credentials the cluster refused. switch --refused_tx--> credential_refresher.
    refused_tx: mpsc::Sender<u64>,
}

impl Switch {
    pub(super) fn new(state: watch::Receiver<State>, refused_tx: mpsc::Sender<u64>) -> Self {
        Self { state, refused_tx }
    }

    /// The way that is open, once it is known whether there is one.
    async fn way(&mut self) -> Result<Way, Denied> {
        let ending = || Denied("the watcher is ending".into());
        let state =
            self.state.wait_for(|state| !matches!(state, State::Unknown)).await.map_err(|_| ending())?;
        match &*state {
            State::Open(way) => Ok(way.clone()),
            State::Closed(denied) => Err(denied.clone()),
            State::Unknown => Err(ending()),
        }
    }

    async fn send(mut self, request: Request<Body>) -> Result<Response<Cut>, BoxError> {
        let way = self.way().await?;
        let answer = tokio::select! {
            answer = way.client.send(request) => answer?,
            () = way.dead.cancelled() => return Err(Dead.into()),
        };
        if answer.status() == StatusCode::UNAUTHORIZED {
            // Where one is noted already, that one is enough.
            let _ = self.refused_tx.try_send(way.number);
        }
        Ok(answer.map(|body| Cut { body: Box::pin(body), dead: Box::pin(way.dead.cancelled_owned()) }))
    }
}

/// The way was found dead.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dead")]
struct Dead;

impl Service<Request<Body>> for Switch {
    type Response = Response<Cut>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Cut>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

/// An answer that ends with the way it comes by: a watch on a dead connection would wait for its own time limit.
pub(super) struct Cut {
    body: Pin<Box<Body>>,
    dead: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl http_body::Body for Cut {
    type Data = <Body as http_body::Body>::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        if self.dead.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Dead.into())));
        }
        self.body.as_mut().poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use k8s_openapi::api::core::v1::Pod;
    use kube::{Api, api::ListParams};
    use tokio::sync::{mpsc, watch};
    use tokio_util::sync::CancellationToken;

    use super::{Body, Denied, State, Switch, Way};

    /// A way whose API server gives this answer; none is one that never answers.
    fn way(number: u64, answer: Option<(u16, &'static str)>, asked: &Arc<AtomicUsize>) -> State {
        let asked = Arc::clone(asked);
        let server = tower::service_fn(move |_: http::Request<Body>| {
            asked.fetch_add(1, Ordering::SeqCst);
            async move {
                let Some((status, text)) = answer else { return std::future::pending().await };
                let body = Body::from(text.as_bytes().to_vec());
                Ok::<_, std::io::Error>(http::Response::builder().status(status).body(body).unwrap())
            }
        });
        let client = kube::Client::new(server, "default");
        State::Open(Way { client, number, dead: CancellationToken::new() })
    }

    const NONE: &str = r#"{"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": []}"#;

    fn bench() -> (watch::Sender<State>, mpsc::Receiver<u64>, Api<Pod>) {
        let (state_tx, state) = watch::channel(State::Unknown);
        let (refused_tx, refused_rx) = mpsc::channel(1);
        let client = kube::Client::new(Switch::new(state, refused_tx), "default");
        (state_tx, refused_rx, Api::default_namespaced(client))
    }

    #[tokio::test]
    async fn a_request_waits_until_it_is_known_whether_there_is_a_way() {
        let (state_tx, _refused_rx, pods) = bench();
        let asked = Arc::default();
        let listing = {
            let pods = pods.clone();
            tokio::spawn(async move { pods.list(&ListParams::default()).await })
        };
        tokio::task::yield_now().await;
        assert!(!listing.is_finished());
        state_tx.send_replace(way(1, Some((200, NONE)), &asked));
        assert!(listing.await.unwrap().unwrap().items.is_empty());
        state_tx.send_replace(State::Closed(Denied("login required".into())));
        let error = pods.list(&ListParams::default()).await.unwrap_err();
        assert_eq!(crate::cluster::explain(&error, "").to_string(), "login required");
        assert!(crate::cluster::is_denied(&error));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_refusal_is_reported_with_the_way_that_it_came_by() {
        let (state_tx, mut refused_rx, pods) = bench();
        let text = r#"{"kind": "Status", "status": "Failure", "code": 401, "message": "x", "reason": "Unauthorized"}"#;
        state_tx.send_replace(way(7, Some((401, text)), &Arc::default()));
        for _ in 0..2 {
            pods.list(&ListParams::default()).await.unwrap_err();
        }
        assert_eq!(refused_rx.recv().await, Some(7));
        assert!(refused_rx.try_recv().is_err(), "once is enough");
    }

    #[tokio::test]
    async fn what_goes_by_a_dead_way_ends_with_it() {
        let (state_tx, _refused_rx, pods) = bench();
        let asked: Arc<AtomicUsize> = Arc::default();
        let state = way(1, None, &asked);
        let State::Open(Way { dead, .. }) = state.clone() else { unreachable!() };
        state_tx.send_replace(state);
        let listing = tokio::spawn(async move { pods.list(&ListParams::default()).await });
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        dead.cancel();
        let error = listing.await.unwrap().unwrap_err();
        assert!(!crate::cluster::is_denied(&error));
        assert_eq!(
            crate::cluster::explain(&error, "").to_string(),
            "can't reach the cluster: the connection is dead"
        );
    }
}
