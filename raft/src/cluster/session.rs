//! One node's session: everything asked of it travels over one stream, and answers come in any order.

use crate::transport::MESSAGE_LEN_MAX;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use vestibule_proto::v1;
use vestibule_proto::v1::access_client::AccessClient;

/// Requests that may wait for a session, and answers that a session may wait for.
const SESSION_LEN_MAX: usize = 8_192;
/// How long a node may take to accept a session.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_millis(1_000);
/// How long a session that broke rests before it is made again.
const SESSION_REST: Duration = Duration::from_millis(50);

/// What became of a request on a session.
pub(super) enum SessionError {
    /// It never left.
    NotSent,
    /// It left, and the connection broke or nothing came back.
    Lost,
}

struct Outgoing {
    request: v1::Request,
    answer: oneshot::Sender<Result<v1::Response, SessionError>>,
}

/// A handle to the task that keeps one node's session.
#[derive(Clone)]
pub(super) struct Session {
    outgoing: mpsc::Sender<Outgoing>,
}

impl Session {
    pub(super) fn start(channel: Channel) -> Self {
        let (outgoing, queue) = mpsc::channel(SESSION_LEN_MAX);
        tokio::spawn(keep_session(channel, queue));
        Self { outgoing }
    }

    pub(super) async fn ask(&self, request: v1::Request, patience: Duration) -> Result<v1::Response, SessionError> {
        let (answer, answered) = oneshot::channel();
        self.outgoing.try_send(Outgoing { request, answer }).map_err(|_| SessionError::NotSent)?;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(SessionError::Lost),
        }
    }
}

/// Keeps a session to one node for as long as somebody has a handle to it.
async fn keep_session(channel: Channel, mut queue: mpsc::Receiver<Outgoing>) {
    // Connecting waits for a first request, so that a seed that nobody needs costs nothing.
    let mut first = queue.recv().await;
    while let Some(outgoing) = first.take() {
        let (send, sent) = mpsc::channel(SESSION_LEN_MAX);
        let mut client = AccessClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_LEN_MAX)
            .max_encoding_message_size(MESSAGE_LEN_MAX);
        let opened = tokio::time::timeout(SESSION_TIMEOUT, client.session(ReceiverStream::new(sent))).await;
        if let Ok(Ok(inbound)) = opened {
            first = pump(outgoing, &mut queue, send, inbound.into_inner()).await;
            continue;
        }
        // Refuse what waits, so that it is sent elsewhere, and come back a little later.
        let _ = outgoing.answer.send(Err(SessionError::NotSent));
        let rested = tokio::time::sleep(SESSION_REST);
        tokio::pin!(rested);
        loop {
            tokio::select! {
                () = &mut rested => break,
                more = queue.recv() => match more {
                    Some(more) => drop(more.answer.send(Err(SessionError::NotSent))),
                    None => return,
                },
            }
        }
        first = queue.recv().await;
    }
}

/// Runs a session until it breaks; gives the first request that could not be sent on it, if there is one.
async fn pump(
    first: Outgoing,
    queue: &mut mpsc::Receiver<Outgoing>,
    send: mpsc::Sender<v1::Request>,
    mut inbound: tonic::Streaming<v1::Response>,
) -> Option<Outgoing> {
    let mut waiting: BTreeMap<u64, oneshot::Sender<Result<v1::Response, SessionError>>> = BTreeMap::new();
    let mut next_id = 1;
    let mut outgoing = Some(first);
    let unsent = loop {
        if let Some(Outgoing { mut request, answer }) = outgoing.take() {
            request.id = next_id;
            if waiting.len() >= SESSION_LEN_MAX {
                // Forget those whose askers have given up.
                waiting.retain(|_, answer| !answer.is_closed());
            }
            if waiting.len() >= SESSION_LEN_MAX {
                let _ = answer.send(Err(SessionError::NotSent));
            } else {
                match send.try_send(request) {
                    Ok(()) => {
                        waiting.insert(next_id, answer);
                        next_id += 1;
                    }
                    Err(mpsc::error::TrySendError::Full(_)) => drop(answer.send(Err(SessionError::NotSent))),
                    Err(mpsc::error::TrySendError::Closed(request)) => break Some(Outgoing { request, answer }),
                }
            }
        }
        tokio::select! {
            message = inbound.message() => match message {
                Ok(Some(response)) => {
                    if let Some(answer) = waiting.remove(&response.id) {
                        let _ = answer.send(Ok(response));
                    }
                }
                Ok(None) | Err(_) => break None,
            },
            more = queue.recv() => match more {
                Some(more) => outgoing = Some(more),
                None => return None,
            },
        }
    };
    for (_, answer) in waiting {
        let _ = answer.send(Err(SessionError::Lost));
    }
    match unsent {
        Some(unsent) => Some(unsent),
        None => queue.recv().await,
    }
}
