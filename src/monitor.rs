//! The one channel by which operations tell what they do: a closed enum of events and a trait of one method.
//!
//! The library prints nothing. Bars, plain lines, JSON and tests are monitors.

use crate::source::Source;

/// Something that went wrong without ending the operation: the object, the cause and what follows, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is about: a source, an object's name, a member of a stream.
    pub object: String,
    /// What happened and what it means.
    pub message: String,
}

/// What an operation is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Work on a source or an object of this name begins; `bytes` is its expected length where known.
    Started {
        /// What is worked on.
        object: String,
        /// Expected stream length in bytes.
        bytes: Option<u64>,
    },
    /// The daemon reports progress of its own, in its own words.
    Waiting {
        /// What is worked on.
        object: String,
        /// The daemon's words.
        progress: String,
    },
    /// Bytes of the stream that have passed since the last such event about the object.
    Advanced {
        /// What is worked on, where several may be at once; otherwise it is what was started last.
        object: Option<String>,
        /// How many.
        bytes: u64,
    },
    /// Work on the object is over, for good or ill.
    Ended {
        /// What was worked on.
        object: String,
    },
    /// Something worth knowing that is no problem.
    Said {
        /// What it is about.
        object: String,
        /// One line.
        message: String,
    },
    /// A problem that the operation survives.
    Problem(Problem),
    /// A source could not be backed up or restored; the run goes on with the others.
    Failed {
        /// The source.
        source: Source,
        /// Object, cause and next step, in one line.
        message: String,
    },
}

/// Hears of events, from any thread.
pub trait Monitor: Send + Sync {
    /// Takes note of an event; must not block for long.
    fn event(&self, event: Event);

    /// Whether the operation should stop at the next safe place; asked between pieces of work.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn event(&self, _event: Event) {}
}

/// Keeps every event, for tests.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Default)]
pub struct Collected(std::sync::Mutex<Vec<Event>>);

#[cfg(any(test, feature = "testing"))]
impl Collected {
    /// Everything heard so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().map(|events| events.clone()).unwrap_or_default()
    }
}

#[cfg(any(test, feature = "testing"))]
impl Monitor for Collected {
    fn event(&self, event: Event) {
        if let Ok(mut events) = self.0.lock() {
            events.push(event);
        }
    }
}
