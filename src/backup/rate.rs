//! Reading no faster than the user wants, so that a backup leaves a busy server its disks and its network.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::monitor::Monitor;

/// The longest sleep without asking whether the user wants to stop.
const NAP: Duration = Duration::from_millis(100);
/// What a stream that came slower than it might have may make up for.
const CREDIT: Duration = Duration::from_secs(1);

/// A stream that gives at most so many bytes in a second, over any longer time.
pub(super) struct Limited<'m, R> {
    inner: R,
    bytes_per_second: Option<u64>,
    monitor: &'m dyn Monitor,
    began: Instant,
    passed: u64,
}

impl<'m, R: Read> Limited<'m, R> {
    /// Limits a stream, or does not.
    pub(super) fn new(inner: R, bytes_per_second: Option<u64>, monitor: &'m dyn Monitor) -> Self {
        Self { inner, bytes_per_second, monitor, began: Instant::now(), passed: 0 }
    }

    fn wait(&mut self, rate: u64) {
        let due = due(self.passed, rate);
        if self.began.elapsed() > due + CREDIT {
            (self.began, self.passed) = (Instant::now(), 0);
            return;
        }
        while let Some(left) = due.checked_sub(self.began.elapsed()).filter(|left| !left.is_zero()) {
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
        let Some(rate) = self.bytes_per_second else { return self.inner.read(buffer) };
        // Small pieces flow; one of a second and more would come in bursts.
        let most = usize::try_from(rate / 10).unwrap_or(usize::MAX).clamp(512, buffer.len().max(512));
        let most = most.min(buffer.len());
        let read = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.passed += read as u64;
        self.wait(rate);
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
            Limited::new(&bytes[..], rate, &Silent).read_to_end(&mut read).unwrap();
            assert!(read == bytes);
        }
    }
}
