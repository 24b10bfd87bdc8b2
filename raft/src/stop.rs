//! How the parts of a node learn that it stops, or that a group of it does.

use tokio::sync::watch;

/// Turns when the node, or a group of it, stops. Clones follow the same one.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

/// A switch that is off, and the followers' side of it.
pub(crate) fn switch() -> (watch::Sender<bool>, Stop) {
    let (sender, receiver) = watch::channel(false);
    (sender, Stop(receiver))
}

impl Stop {
    /// Resolves when it stops, or is gone.
    pub(crate) async fn stopped(&mut self) {
        // An error means that it is gone, which is as good.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}
