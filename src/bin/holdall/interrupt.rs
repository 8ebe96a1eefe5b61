//! Ending early: Ctrl-C, SIGTERM, a terminal that goes away, and panics.
//!
//! While an operation is at work that can stop cleanly the first signal asks it to, and a second one ends the program
//! at once; otherwise the first does. However it ends, what is registered here is undone: a half-written file of ours,
//! a terminal that does not echo. State is global because a signal is.

use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::{fs, io, panic, process, thread};

use holdall::daemon::StopFlag;
use rustix::termios::{self, OptionalActions, Termios};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::Code;

static STOP: LazyLock<StopFlag> = LazyLock::new(StopFlag::default);
static WORKING: AtomicBool = AtomicBool::new(false);
static UNDONE: Mutex<Vec<(usize, Undo)>> = Mutex::new(Vec::new());

/// What has to be undone if the program ends now.
enum Undo {
    Remove(PathBuf),
    Restore(Box<Termios>),
}

/// Something that is undone if the program ends before this is dropped.
pub struct Undone(usize);

/// While this lives the first signal asks instead of ending the program.
pub struct Working(());

/// Makes panics end the program with one line, and begins to listen for signals.
pub fn prepare() {
    panic::set_hook(Box::new(tell_panic));
    // Without the thread a signal ends the program as it would any other.
    if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) {
        thread::spawn(move || {
            for _ in signals.forever() {
                if WORKING.load(Ordering::SeqCst) && !STOP.swap(true, Ordering::SeqCst) {
                    let _ = writeln!(io::stderr(), "\nholdall: stopping; once more to stop at once");
                } else {
                    end(Code::Interrupted);
                }
            }
        });
    }
}

/// The wish to stop, for whoever waits in another thread.
pub fn stop_flag() -> StopFlag {
    Arc::clone(&STOP)
}

/// Whether the user asked to stop.
pub fn stop_requested() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// An operation begins that asks [`stop_requested`] often.
pub fn working() -> Working {
    WORKING.store(true, Ordering::SeqCst);
    Working(())
}

impl Drop for Working {
    fn drop(&mut self) {
        WORKING.store(false, Ordering::SeqCst);
    }
}

/// A file that must not be left behind.
pub fn removes(path: PathBuf) -> Undone {
    register(Undo::Remove(path))
}

/// The terminal's settings, which a prompt is about to change.
pub fn restores_terminal() -> Option<Undone> {
    let settings = termios::tcgetattr(fs::File::open("/dev/tty").ok()?).ok()?;
    Some(register(Undo::Restore(Box::new(settings))))
}

fn register(undo: Undo) -> Undone {
    let mut all = undone();
    let number = all.last().map_or(0, |(number, _)| number + 1);
    all.push((number, undo));
    Undone(number)
}

impl Drop for Undone {
    fn drop(&mut self) {
        undone().retain(|(number, _)| *number != self.0);
    }
}

fn undone() -> MutexGuard<'static, Vec<(usize, Undo)>> {
    UNDONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Undoes what is registered and ends the program.
fn end(code: Code) -> ! {
    for (_, undo) in undone().drain(..) {
        match undo {
            Undo::Remove(path) => drop(fs::remove_file(path)),
            Undo::Restore(settings) => {
                if let Ok(terminal) = fs::File::open("/dev/tty") {
                    let _ = termios::tcsetattr(&terminal, OptionalActions::Now, &settings);
                    let _ = writeln!(io::stderr());
                }
            }
        }
    }
    process::exit(code.number().into())
}

fn tell_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
    let cause = info.payload_as_str().unwrap_or("no reason given").replace('\n', " ");
    let _ = writeln!(
        io::stderr(),
        "holdall: error: A mistake in holdall itself{place}: {cause}; please report it. What was stored \
         before is intact"
    );
    end(Code::Failed)
}
