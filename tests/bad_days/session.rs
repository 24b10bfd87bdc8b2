//! A session with one node and no other: nobody follows a leader here, and nobody asks twice.

use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use vestibule_engine::{Envelope, ShardCommand, ShardQuery, codec};
use vestibule_proto::v1;
use vestibule_proto::v1::access_client::AccessClient;
use vestibule_proto::v1::query::Consistency;

/// How long a node may take to accept a session, or to say anything.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests that may wait for the network.
const SESSION_LEN_MAX: usize = 256;

pub(crate) struct Session {
    runtime: Runtime,
    requests: mpsc::Sender<v1::Request>,
    answers: Streaming<v1::Response>,
    sent: u64,
}

impl Session {
    pub(crate) fn open(address: &str) -> Self {
        // With a thread of its own it sends while the test does other things.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let (requests, outgoing) = mpsc::channel(SESSION_LEN_MAX);
        let url = format!("http://{address}");
        let opened = async {
            let mut client = AccessClient::connect(url).await.expect("the node can be reached");
            client.session(ReceiverStream::new(outgoing)).await.expect("the node takes the session").into_inner()
        };
        let answers = runtime.block_on(async { tokio::time::timeout(PATIENCE, opened).await });
        Self { answers: answers.expect("the node answers in time"), runtime, requests, sent: 0 }
    }

    fn send(&mut self, group: u64, body: v1::request::Body) {
        self.sent += 1;
        let group = group.try_into().expect("groups are few");
        let request = v1::Request { id: self.sent, group, patience_ms: 2_000, body: Some(body), ..Default::default() };
        self.requests.try_send(request).expect("there is room for what a test asks");
    }

    /// Asks a question that only the leader may answer, and only as of now.
    pub(crate) fn ask_linearizable(&mut self, group: u64, query: &ShardQuery) {
        let consistency = Some(Consistency::Linearizable(true));
        let query = v1::Query { query: codec::encode(query).into(), consistency };
        self.send(group, v1::request::Body::Query(query));
    }

    /// Has the group apply a command.
    pub(crate) fn propose(&mut self, group: u64, command: ShardCommand) {
        let command = codec::encode(&Envelope { request: None, command });
        self.send(group, v1::request::Body::Propose(command.into()));
    }

    /// The next answer, or refusal, of whatever was asked; `None` when the node says nothing more.
    pub(crate) fn next(&mut self) -> Option<Result<Vec<u8>, v1::Failure>> {
        let message = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.answers.message()).await });
        match message.ok()?.ok()??.body? {
            v1::response::Body::Answer(answer) => Some(Ok(answer.into())),
            v1::response::Body::Failure(failure) => Some(Err(failure)),
        }
    }
}
