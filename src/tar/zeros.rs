//! Finds long runs of zeros in a payload that comes in pieces (`format-spec/splitting.md`, "Runs of zeros").
//!
//! Holds back a count, never bytes. The events do not depend on the pieces: a maximal run of
//! [`ZERO_RUN_BYTES_MIN`] or more is one [`Event::Zeros`], everything else is [`Event::Payload`]. Looks at one byte in
//! [`ZERO_RUN_BYTES_MIN`] of data that holds no zeros.

use super::Event;
use crate::limits::ZERO_RUN_BYTES_MIN;

/// What a zero run that turned out too short is given out from.
static ZEROS: [u8; ZERO_RUN_BYTES_MIN] = [0; ZERO_RUN_BYTES_MIN];

/// Bytes compared at once.
const STEP_BYTES: usize = 128;

/// The state between two pieces of one payload.
#[derive(Debug, Clone, Default)]
pub(super) struct ZeroRuns {
    /// Zeros that came last and were not given out yet.
    held: u64,
}

impl ZeroRuns {
    /// Takes the next bytes of the payload.
    pub(super) fn push<E>(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut body = bytes;
        if self.held > 0 {
            let (zeros, rest) = bytes.split_at(leading_zeros(bytes));
            self.held += zeros.len() as u64;
            if rest.is_empty() {
                return Ok(());
            }
            self.finish(sink)?;
            body = rest;
        }
        let tail = trailing_zeros(body);
        (body, _) = body.split_at(body.len() - tail);
        while let Some((start, end)) = find_run(body) {
            let (run, rest) = body.split_at(end);
            let (data, run) = run.split_at(start);
            if !data.is_empty() {
                sink(Event::Payload(data))?;
            }
            sink(Event::Zeros(run.len() as u64))?;
            body = rest;
        }
        if !body.is_empty() {
            sink(Event::Payload(body))?;
        }
        self.held = tail as u64;
        Ok(())
    }

    /// The run that was held back is over, because another byte or the end of the payload follows.
    pub(super) fn finish<E>(&mut self, sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let held = std::mem::take(&mut self.held);
        match usize::try_from(held).ok().and_then(|held| ZEROS.get(..held)) {
            Some([]) => Ok(()),
            Some(short) if short.len() < ZERO_RUN_BYTES_MIN => sink(Event::Payload(short)),
            _ => sink(Event::Zeros(held)),
        }
    }
}

/// Start and end of the first maximal run of [`ZERO_RUN_BYTES_MIN`] zeros or more in `bytes`.
fn find_run(bytes: &[u8]) -> Option<(usize, usize)> {
    // No run begins before `from`: the byte before it is not zero. A run that begins in the next ZERO_RUN_BYTES_MIN
    // bytes covers the last of them, so that one tells whether there can be any.
    let mut from = 0;
    loop {
        let probe = from + ZERO_RUN_BYTES_MIN - 1;
        if *bytes.get(probe)? != 0 {
            from = probe + 1;
            continue;
        }
        let (before, after) = bytes.split_at(probe);
        let start = probe - trailing_zeros(before);
        let end = probe + leading_zeros(after);
        if end - start >= ZERO_RUN_BYTES_MIN {
            return Some((start, end));
        }
        from = end;
    }
}

/// Whether every byte is zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    leading_zeros(bytes) == bytes.len()
}

/// How many zeros `bytes` begins with.
fn leading_zeros(bytes: &[u8]) -> usize {
    let (steps, _) = bytes.as_chunks::<STEP_BYTES>();
    let whole = steps.iter().take_while(|step| is_zero_step(step)).count() * STEP_BYTES;
    let (_, rest) = bytes.split_at(whole);
    whole + rest.iter().take_while(|byte| **byte == 0).count()
}

/// How many zeros `bytes` ends with.
fn trailing_zeros(bytes: &[u8]) -> usize {
    let (_, steps) = bytes.as_rchunks::<STEP_BYTES>();
    let whole = steps.iter().rev().take_while(|step| is_zero_step(step)).count() * STEP_BYTES;
    let (rest, _) = bytes.split_at(bytes.len() - whole);
    whole + rest.iter().rev().take_while(|byte| **byte == 0).count()
}

fn is_zero_step(step: &[u8; STEP_BYTES]) -> bool {
    step.iter().fold(0, |all, byte| all | byte) == 0
}
