//! How fast checkpoints leave a node: what is sent to one peer must not slow down what is committed with the others.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes a second, for all senders together.
const DEFAULT: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: AtomicU64,
    /// When what has been let pass so far will have left.
    free_at: Mutex<Option<Instant>>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { bytes_per_second: AtomicU64::new(DEFAULT), free_at: Mutex::default() }
    }
}

impl Pace {
    pub(super) fn set(&self, bytes_per_second: u64) {
        self.bytes_per_second.store(bytes_per_second.max(1), Ordering::Relaxed);
    }

    /// Waits until everything that was let pass before has left; then lets `bytes` pass.
    pub(super) async fn pass(&self, bytes: usize) {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let start = {
            let mut free_at = self.free_at.lock().expect("no holder of this lock panics");
            let start = free_at.unwrap_or_else(Instant::now).max(Instant::now());
            *free_at = Some(start + takes);
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_senders_together_keep_the_pace() {
        let pace = Pace::default();
        pace.set(1_000);
        let begun = Instant::now();
        let sender = async || {
            for _ in 0..10 {
                pace.pass(500).await;
            }
        };
        tokio::join!(sender(), sender());
        // The last of the 10,000 bytes are let pass when the 9,500 before them have left.
        assert_eq!(begun.elapsed().as_millis() / 10, 950);
        // Time that was not used is not saved up.
        tokio::time::sleep(Duration::from_secs(100)).await;
        let begun = Instant::now();
        sender().await;
        assert_eq!(begun.elapsed().as_millis() / 10, 450);
    }
}
