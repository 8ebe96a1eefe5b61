//! Two merges and a writer: what a stored segment ever said, some stored segment says.

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::small::{Bits, Small};
use crate::protocol::{IdSet, Merge, MergeStep, Reading};

/// What is done wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Old segments are removed before the new one is stored.
    RemovedBefore,
    /// Segments are removed that were not read.
    RemovedUnread,
}

/// Segments and who merges them.
struct Merging {
    mistake: Option<Mistake>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    segments: Bits,
    /// The packs that each segment names.
    names: [Bits; 8],
    next_segment: u8,
    merges: [Option<Merge<Small>>; 2],
    /// What each merge has read.
    read: [Bits; 2],
    /// Packs that the writer has named.
    written: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// A merge lists some of the segments; it need not merge all.
    Begin(usize, Bits),
    Go(usize),
    Write,
}

impl State {
    fn put(&mut self, names: Bits) {
        self.names[usize::from(self.next_segment)] = names;
        self.segments.insert(self.next_segment);
        self.next_segment += 1;
    }
}

impl Merging {
    fn go(&self, state: &mut State, number: usize) {
        let Some(mut merge) = state.merges[number].take() else { return };
        match merge.next() {
            MergeStep::Read(segment) if self.mistake == Some(Mistake::RemovedUnread) => {
                merge.read(segment, &Reading::Says(()));
                if segment % 2 == 0 {
                    state.read[number].extend(&state.names[usize::from(segment)]);
                }
            }
            MergeStep::Read(segment) if state.segments.has(segment) => {
                merge.read(segment, &Reading::Says(()));
                state.read[number].extend(&state.names[usize::from(segment)]);
            }
            MergeStep::Read(segment) => merge.read(segment, &Reading::<()>::Gone),
            MergeStep::Store if self.mistake == Some(Mistake::RemovedBefore) => merge.stored(),
            MergeStep::Store => {
                merge.stored();
                state.put(state.read[number]);
            }
            MergeStep::Remove(segment) => {
                merge.removed(segment);
                state.segments.remove(segment);
                if self.mistake == Some(Mistake::RemovedBefore) && merge.next() == MergeStep::Ended {
                    state.merges[number] = Some(merge);
                    return;
                }
            }
            MergeStep::Ended => state.put(state.read[number]),
        }
        state.merges[number] = Some(merge);
    }
}

impl Model for Merging {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut names = [Bits::default(); 8];
        names[..3].copy_from_slice(&[Bits(0b001), Bits(0b010), Bits(0b110)]);
        let merges = [None, None];
        vec![State { segments: Bits(0b111), names, next_segment: 3, merges, read: [Bits(0); 2], written: 0 }]
    }

    fn actions(&self, state: &State, to: &mut Vec<Action>) {
        for (number, merge) in state.merges.iter().enumerate() {
            match merge {
                None => {
                    let subsets = (1..=state.segments.0).filter(|some| some & !state.segments.0 == 0);
                    to.extend(subsets.map(|some| Action::Begin(number, Bits(some))));
                }
                Some(merge) if merge.next() == MergeStep::Ended && self.mistake != Some(Mistake::RemovedBefore) => {}
                Some(_) if state.next_segment < 8 => to.push(Action::Go(number)),
                Some(_) => {}
            }
        }
        if state.written < 2 {
            to.push(Action::Write);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Begin(number, listed) => state.merges[number] = Some(Merge::new(listed)),
            Action::Go(number) => self.go(&mut state, number),
            Action::Write => {
                state.put(Bits::of(3 + state.written));
                state.written += 1;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("every fact is stored", |_, state: &State| {
            let named = state.segments.ids().fold(0, |all, segment| all | state.names[usize::from(segment)].0);
            let written = [0, 0b1000, 0b11000][usize::from(state.written)];
            named == 0b111 | written
        })]
    }
}

/// The number of states, and whether a fact was lost.
pub fn explore(mistake: Option<Mistake>) -> (usize, bool) {
    let checker = Merging { mistake }.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    (checker.unique_state_count(), checker.discovery("every fact is stored").is_some())
}
