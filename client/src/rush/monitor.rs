//! Watches the public status and the seats while the rush runs.

use super::Rush;
use super::record::Sample;
use super::report::Step;
use crate::client::Connector;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// Takes samples until the rush is over, and one more then.
pub(super) async fn watch<C: Connector>(rush: Arc<Rush<C>>) {
    let mut stop = rush.stop.subscribe();
    loop {
        let last = *stop.borrow();
        sample(&rush).await;
        if last {
            return;
        }
        tokio::select! {
            () = sleep(INTERVAL) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

async fn sample<C: Connector>(rush: &Rush<C>) {
    let showtime = &rush.options.showtime;
    // It does not queue at the gate: the line is watched on time even when the crowd is not served on time.
    let sent = Instant::now();
    if let Ok(status) = rush.client.queue_status(showtime).await {
        super::lock(&rush.steps).add(Step::Status, sent.elapsed());
        {
            let mut record = rush.record();
            record.note_height(Instant::now(), status.cursor);
            record.samples.push(Sample { sent, sequence: status.sequence, cursor: status.cursor });
        }
        let counts = rush.house().counts();
        rush.progress.set_message(format!(
            "line {} · called {} · inside {} · held {} · sold {} of {}",
            status.joined,
            status.cursor,
            status.active,
            counts.held,
            counts.sold,
            counts.available + counts.held + counts.sold
        ));
    }
    let since = rush.house().sequence();
    if let Ok(answer) = rush.client.seats_bytes(showtime, Some(since)).await {
        let read = rush.house().apply(&answer);
        let mut record = rush.record();
        record.looks += 1;
        if let Err(error) = read {
            record.unexpected(format!("the monitor, look: {error}"));
        }
    }
}
