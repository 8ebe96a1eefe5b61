//! Notes about runs that tell nothing any more. One is stored every night for every host, and every command reads them.
//!
//! What a run found is of interest until a later one has looked at everything on its server: what failed in the earlier
//! one failed again then, or was made, or is gone. Nothing is decided here by what is not listed.

use std::collections::HashMap;

use crate::id::NoteId;
use crate::repo::{Note, NoteFact, RepoError, Repository, RunRecord};

/// Removes the notes about runs that later ones have made moot. Returns how many.
pub(super) fn remove_moot(repository: &Repository) -> Result<usize, RepoError> {
    let mut removed = 0;
    for note in moot(&repository.readable_notes()?) {
        repository.remove_note(note)?;
        removed += 1;
    }
    Ok(removed)
}

fn moot(notes: &[(NoteId, Note)]) -> Vec<NoteId> {
    let runs = || {
        notes.iter().filter_map(|(id, note)| match &note.fact {
            NoteFact::Run(run) => Some((*id, run)),
            _ => None,
        })
    };
    let mut newest: HashMap<&str, &RunRecord> = HashMap::new();
    for (_, run) in runs().filter(|(_, run)| run.whole) {
        let known = newest.entry(&run.server).or_insert(run);
        if known.started < run.started {
            *known = run;
        }
    }
    let is_moot = |run: &RunRecord| {
        let is_past = newest.get(run.server.as_str()).is_some_and(|whole| run.started < whole.started);
        // What is no failure and says nothing of what else there was told its points, and those tell themselves.
        is_past || !run.whole && run.failed.is_empty()
    };
    runs().filter(|(_, run)| is_moot(run)).map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::RunId;
    use crate::source::Source;

    fn run(number: u8, server: &str, hour: u64, whole: bool, failed: &[&str]) -> (NoteId, Note) {
        let failed = failed.iter().map(|name| (Source::instance(server, "default", name), "it vanished".to_owned()));
        let record = RunRecord {
            run: RunId::from_bytes([number; 32]),
            server: server.to_owned(),
            whole,
            started: Timestamp::from_micros(hour * 3_600_000_000).unwrap(),
            succeeded: 1,
            failed: failed.collect(),
            left_out: Vec::new(),
        };
        let written = record.started;
        (NoteId::from_bytes([number; 32]), Note { supersedes: Vec::new(), written, fact: NoteFact::Run(record) })
    }

    #[test]
    fn a_run_tells_something_until_a_later_one_has_looked_at_everything() {
        let notes = [
            run(1, "lab", 1, true, &["web1"]),
            run(2, "lab", 2, false, &["web2"]),
            run(3, "lab", 3, true, &[]),
            run(4, "lab", 4, false, &["web3"]),
            run(5, "lab", 5, false, &[]),
            run(6, "other", 1, false, &["web1"]),
            run(7, "other", 2, false, &["web1"]),
            run(8, "", 9, false, &[]),
        ];
        let moot: Vec<u8> = moot(&notes).iter().map(|id| id.as_bytes()[0]).collect();
        assert_eq!(moot, [1, 2, 5, 8]);
    }
}
