//! What can go wrong with one request of a client, and when it shall.
//!
//! Requests are counted from 1, of all kinds together. What goes wrong at a request depends on its kind, for not
//! everything can; a number chooses among that.

use std::collections::BTreeMap;

use rustix::io::Errno;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    LookUp,
    Status,
    SetStatus,
    MakeDirectory,
    Unlink,
    RemoveDirectory,
    Rename,
    Link,
    Open,
    Create,
    Read,
    Write,
    Close,
    Sync,
    OpenDirectory,
    List,
    SyncDirectory,
    Capacity,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Nothing happens, and this and more requests of the kind get an error.
    Refused(Code, u32),
    /// It happens, and the answer is an error.
    Unanswered(Code),
    /// What was written before is lost, all but its length, and this is the only request that is told.
    Lost(Code),
    /// A part of it is written, and the answer says so.
    Short,
    /// From now on there is no room.
    Full(Code),
}

/// An error, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    Io,
    Stale,
    TimedOut,
    NoSpace,
    Quota,
    Exists,
    NotThere,
    Invalid,
    NotPermitted,
}

use Code::{Exists, Invalid, Io, NoSpace, NotPermitted, NotThere, Quota, Stale, TimedOut};
use Harm::{Full, Lost, Refused, Short, Unanswered};

impl Code {
    pub fn errno(self) -> Errno {
        match self {
            Io => Errno::IO,
            Stale => Errno::STALE,
            TimedOut => Errno::TIMEDOUT,
            NoSpace => Errno::NOSPC,
            Quota => Errno::DQUOT,
            Exists => Errno::EXIST,
            NotThere => Errno::NOENT,
            Invalid => Errno::INVAL,
            NotPermitted => Errno::PERM,
        }
    }
}

/// More than the kernel and the program look something up again.
const OFTEN: u32 = 50;

impl Call {
    /// What can go wrong with such a request. A server of which an answer was lost says of the same request that the
    /// name exists, or that it is gone.
    pub fn harms(self) -> &'static [Harm] {
        match self {
            Self::LookUp | Self::Status | Self::Open | Self::Read | Self::OpenDirectory | Self::List => {
                &[Refused(Io, 1), Refused(Stale, 1), Refused(Stale, 3), Refused(Stale, OFTEN), Refused(TimedOut, OFTEN)]
            }
            Self::Capacity => &[Refused(Io, 1), Refused(Stale, 1)],
            Self::SetStatus => &[Refused(NotPermitted, 1), Refused(Io, 1)],
            Self::Create | Self::MakeDirectory | Self::Link => &[
                Unanswered(Exists),
                Refused(NoSpace, 1),
                Unanswered(Io),
                Refused(Stale, 1),
                Full(Quota),
                Refused(Io, 1),
                Refused(Stale, OFTEN),
            ],
            Self::Unlink | Self::RemoveDirectory | Self::Rename => {
                &[Unanswered(NotThere), Refused(Io, 1), Unanswered(Io), Refused(Stale, 1), Refused(Stale, OFTEN)]
            }
            Self::Write => {
                &[Short, Refused(NoSpace, 1), Refused(Io, 1), Refused(Quota, 1), Full(NoSpace), Refused(Stale, 1)]
            }
            Self::Close | Self::Sync => &[Lost(Io), Lost(NoSpace), Unanswered(Io), Lost(Quota)],
            Self::SyncDirectory => &[Refused(Io, 1), Refused(Invalid, OFTEN), Refused(Stale, 1)],
        }
    }
}

/// The n-th request goes wrong, in the way of this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub way: usize,
}

/// Counts requests, and says which go wrong.
#[derive(Debug, Default)]
pub struct Plan {
    fault: Option<Fault>,
    calls: usize,
    by_kind: BTreeMap<Call, usize>,
    goes_on: Option<(Call, Code, u32)>,
    full: Option<Code>,
    done: Option<(Call, Harm)>,
    spoiling: Option<(Call, usize)>,
    spoilt: u64,
}

impl Plan {
    pub fn new(fault: Option<Fault>) -> Self {
        Self { fault, ..Self::default() }
    }

    /// How many requests there were.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// How many of each kind.
    pub fn by_kind(&self) -> &BTreeMap<Call, usize> {
        &self.by_kind
    }

    /// What went wrong, if it came to that.
    pub fn done(&self) -> Option<(Call, Harm)> {
        self.done
    }

    /// From now on every `nth` request of this kind goes wrong in the first way that it can.
    pub fn spoil_every(&mut self, call: Call, nth: usize) {
        self.spoiling = Some((call, nth));
    }

    /// How many went wrong so.
    pub fn spoilt(&self) -> u64 {
        self.spoilt
    }

    /// Counts a request, and says what goes wrong with it.
    pub fn next(&mut self, call: Call) -> Option<Harm> {
        self.calls += 1;
        let of_kind = self.by_kind.entry(call).or_default();
        *of_kind += 1;
        if self.spoiling.is_some_and(|(kind, nth)| kind == call && of_kind.is_multiple_of(nth)) {
            self.spoilt += 1;
            return Some(call.harms()[0]);
        }
        if let Some(code) = self.full.filter(|_| matches!(call, Call::Create | Call::Write | Call::MakeDirectory)) {
            return Some(Refused(code, 1));
        }
        if let Some((_, code, left)) = self.goes_on.as_mut().filter(|(kind, _, left)| *kind == call && *left > 0) {
            *left -= 1;
            return Some(Refused(*code, 1));
        }
        let fault = self.fault.filter(|fault| fault.at == self.calls)?;
        let harm = call.harms()[fault.way % call.harms().len()];
        self.done = Some((call, harm));
        match harm {
            Refused(code, times) => self.goes_on = Some((call, code, times - 1)),
            Full(code) => self.full = Some(code),
            Unanswered(_) | Lost(_) | Short => {}
        }
        Some(harm)
    }
}
