//! Reading no faster than the user wants, so that a backup leaves a busy server its disks and its network.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::monitor::Monitor;

/// The longest sleep without asking whether the user wants to stop.
const NAP: Duration = Duration::from_millis(100);
/// What a stream that came slower than it might have may make up for.
const CREDIT: Duration = Duration::from_secs(1);

/// The most bytes in a second that all streams of a run together give, over any longer time.
pub(super) struct Rate {
    bytes_per_second: Option<u64>,
    passed: Mutex<Passed>,
}

struct Passed {
    since: Instant,
    bytes: u64,
}

impl Rate {
    /// A limit, or none.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, passed: Mutex::new(Passed { since: Instant::now(), bytes: 0 }) }
    }

    /// Counts bytes, and says until when whoever read them has to wait.
    fn pass(&self, bytes: u64, rate: u64) -> Instant {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.bytes += bytes;
        let due = due(passed.bytes, rate);
        if passed.since.elapsed() > due + CREDIT {
            *passed = Passed { since: Instant::now(), bytes: 0 };
            return passed.since;
        }
        // One that lies beyond all time is as good as never.
        passed.since.checked_add(due).unwrap_or_else(|| Instant::now() + Duration::from_hours(24))
    }
}

/// A stream under such a limit.
pub(super) struct Limited<'m, R> {
    inner: R,
    rate: &'m Rate,
    monitor: &'m dyn Monitor,
}

impl<'m, R: Read> Limited<'m, R> {
    /// Limits a stream.
    pub(super) fn new(inner: R, rate: &'m Rate, monitor: &'m dyn Monitor) -> Self {
        Self { inner, rate, monitor }
    }

    fn wait(&self, until: Instant) {
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.monitor.stop_requested() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}

/// When so many bytes may have passed.
fn due(bytes: u64, rate: u64) -> Duration {
    let rate = rate.max(1);
    Duration::from_secs(bytes / rate) + Duration::from_nanos(bytes % rate * 1_000_000_000 / rate)
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(rate) = self.rate.bytes_per_second else { return self.inner.read(buffer) };
        // Small pieces flow; one of a second and more would come in bursts.
        let most = usize::try_from(rate / 10).unwrap_or(usize::MAX).clamp(512, buffer.len().max(512));
        let most = most.min(buffer.len());
        let read = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.wait(self.rate.pass(read as u64, rate));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;

    #[test]
    fn bytes_are_due_at_the_rate() {
        assert_eq!(due(0, 100), Duration::ZERO);
        assert_eq!(due(250, 100), Duration::from_millis(2500));
        assert_eq!(due(u64::MAX, u64::MAX), Duration::from_secs(1));
        assert_eq!(due(7, 0), Duration::from_secs(7));
    }

    #[test]
    fn a_limited_stream_is_the_same_stream() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for rate in [None, Some(u64::MAX), Some(50_000_000)] {
            let mut read = Vec::new();
            Limited::new(&bytes[..], &Rate::new(rate), &Silent).read_to_end(&mut read).unwrap();
            assert!(read == bytes);
        }
    }

    #[test]
    fn streams_share_their_rate() {
        let rate = Rate::new(Some(1000));
        let one = rate.pass(500, 1000);
        let other = rate.pass(500, 1000);
        assert_eq!(other.duration_since(one), Duration::from_millis(500));
    }
}
