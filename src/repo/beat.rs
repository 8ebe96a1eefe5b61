//! Beats: empty objects by which sessions show that they are alive (`format-spec/concurrency.md`, "Fence").
//!
//! Only the time that the store puts on one counts, and only for suspicion: whoever takes a live session for dead costs
//! its writer another commit, and never data. So a beat that cannot be stored is no failure.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::PointId;
use crate::repo::{RepoError, Repository, layout};
use crate::store::{Name, Store};

/// How often a session shows that it is alive.
const BEAT_EVERY: Duration = Duration::from_mins(5);

/// The sessions of a process that are open, with the number of the last beat of each.
type Open = Arc<Mutex<BTreeMap<PointId, u64>>>;

/// Beats for the sessions of a process until it is dropped.
pub(super) struct Heart {
    open: Open,
    /// Ends the thread when it is dropped.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    pub(super) fn new() -> Self {
        Self { open: Open::default(), end: None, thread: None }
    }

    /// Beats for one more session. The thread begins with the first.
    pub(super) fn add(&mut self, repository: &Repository, session: PointId) {
        lock(&self.open).insert(session, 0);
        if self.thread.is_none() {
            let (end, ended) = channel();
            let (open, store) = (Arc::clone(&self.open), repository.shared_store());
            self.end = Some(end);
            self.thread = Some(std::thread::spawn(move || {
                while ended.recv_timeout(BEAT_EVERY) == Err(RecvTimeoutError::Timeout) {
                    beat(&open, &*store);
                }
            }));
        }
    }

    /// Leaves off, and removes the session's last beat.
    pub(super) fn remove(&self, repository: &Repository, session: PointId) {
        if let Some(number @ 1..) = lock(&self.open).remove(&session) {
            let _ = repository.store().delete(&layout::beat(session, number));
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(open: &Open) -> std::sync::MutexGuard<'_, BTreeMap<PointId, u64>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stores the next beat of each session and removes the one before.
fn beat(open: &Open, store: &dyn Store) {
    let sessions: Vec<(PointId, u64)> = lock(open).iter().map(|(session, number)| (*session, *number)).collect();
    for (session, before) in sessions {
        if store.put(&layout::beat(session, before + 1), &[]).is_err() {
            continue;
        }
        if before > 0 {
            let _ = store.delete(&layout::beat(session, before));
        }
        if let Some(number) = lock(open).get_mut(&session) {
            *number = before + 1;
        }
    }
}

impl Repository {
    /// Every beat that is stored: its session and its name.
    pub fn list_beats(&self) -> Result<Vec<(PointId, Name)>, RepoError> {
        let listed = self.store().list(&layout::BEATS)?;
        Ok(listed.into_iter().filter_map(|one| Some((layout::parse_beat(&one.name)?, one.name))).collect())
    }

    /// When a session last showed that it was alive, by the store's own clock; `None` if there is nothing of it.
    pub fn last_sign_of(&self, session: PointId) -> Result<Option<Timestamp>, RepoError> {
        let mut signs = Vec::new();
        signs.extend(self.store().stat(&layout::session(session))?);
        for (of, name) in self.list_beats()? {
            if of == session {
                signs.extend(self.store().stat(&name)?);
            }
        }
        Ok(signs.into_iter().map(|stat| stat.modified).max())
    }

    /// What the store's own clock says now: the time on an object just written, which is removed again.
    pub fn store_time(&self) -> Result<Option<Timestamp>, RepoError> {
        let name = layout::beat(PointId::random()?, 0);
        let _: crate::store::Put = self.store().put(&name, &[])?;
        let stat = self.store().stat(&name);
        self.store().delete(&name)?;
        Ok(stat?.map(|stat| stat.modified))
    }
}
