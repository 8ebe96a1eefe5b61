//! Progress for people: bars on a terminal, a line now and then elsewhere.
//!
//! The one monitor of the program. Problems are told as they come, but for `check`, whose findings are its results.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdall::monitor::{Event, Monitor, Problem};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::interrupt;
use crate::output::{Output, plain};
use crate::table::size;

/// How often a line is written where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_mins(1);
const TICK: Duration = Duration::from_millis(120);

/// What becomes of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problems {
    /// They are told as they come.
    Told,
    /// They are kept for the end.
    Kept,
}

/// Watches one operation.
pub struct Progress<'o> {
    output: &'o Output,
    problems: Problems,
    kept: Mutex<Vec<Problem>>,
    count: AtomicU64,
    present: Mutex<Present>,
}

/// What is being worked on.
struct Present {
    bar: Option<ProgressBar>,
    object: String,
    done: u64,
    total: Option<u64>,
    told: Instant,
}

impl<'o> Progress<'o> {
    /// Begins to watch.
    pub fn new(output: &'o Output, problems: Problems) -> Self {
        let present = Present { bar: None, object: String::new(), done: 0, total: None, told: Instant::now() };
        Self { output, problems, kept: Mutex::default(), count: AtomicU64::new(0), present: Mutex::new(present) }
    }

    /// How many problems and failed sources there were.
    pub fn problems(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// The problems that were kept.
    pub fn take_problems(&self) -> Vec<Problem> {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the bar away, so that results can be printed.
    pub fn clear(&self) {
        if let Some(bar) = self.present().bar.take() {
            bar.finish_and_clear();
        }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, object: String, total: Option<u64>) {
        self.clear();
        let mut present = self.present();
        if self.output.draws() {
            present.bar = Some(bar(&object, total));
        } else {
            let size = total.map_or_else(String::new, |bytes| format!(" ({})", size(bytes)));
            self.output.detail(&format!("{object}{size}"));
        }
        *present = Present { bar: present.bar.take(), object, done: 0, total, told: Instant::now() };
    }

    fn advance(&self, bytes: u64) {
        let mut present = self.present();
        present.done += bytes;
        if let Some(bar) = &present.bar {
            if present.total.is_none() && present.done == bytes {
                bar.set_style(style(Look::Counting));
            }
            bar.inc(bytes);
        } else if present.told.elapsed() > LINE_EVERY {
            present.told = Instant::now();
            let total = present.total.map_or_else(String::new, |total| format!(" of {}", size(total)));
            self.output.note(&format!("{}: {}{total}", present.object, size(present.done)));
        }
    }

    /// Writes lines above the bar.
    fn above_bar(&self, write: impl FnOnce()) {
        match &self.present().bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn problem(&self, problem: Problem) {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        match self.problems {
            Problems::Told => self.above_bar(|| self.output.problem(&problem.object, &problem.message)),
            Problems::Kept => {
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
                let present = self.present();
                if let Some(bar) = &present.bar {
                    bar.set_prefix(format!("{count} found so far  "));
                }
            }
        }
    }
}

impl Monitor for Progress<'_> {
    fn event(&self, event: Event) {
        match event {
            Event::Started { object, bytes } => self.start(object, bytes),
            Event::Advanced { bytes } => self.advance(bytes),
            Event::Ended { .. } => self.clear(),
            Event::Waiting { object, progress } => {
                let text = format!("{object}: {progress}");
                match &self.present().bar {
                    Some(bar) => bar.set_message(plain(&text).into_owned()),
                    None => self.output.detail(&text),
                }
            }
            Event::Said { object, message } => self.above_bar(|| self.output.note(&format!("{object}: {message}"))),
            Event::Problem(problem) => self.problem(problem),
            Event::Failed { source, message } => {
                self.count.fetch_add(1, Ordering::SeqCst);
                self.above_bar(|| self.output.failed(&source.to_string(), &message));
            }
        }
    }

    fn stop_requested(&self) -> bool {
        interrupt::stop_requested()
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How a bar looks: with its end in sight, counting, or just alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Measured,
    Counting,
    Alive,
}

fn style(look: Look) -> ProgressStyle {
    let template = match look {
        Look::Measured => {
            "{prefix}{msg}  {bar:30}  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta}"
        }
        Look::Counting => "{prefix}{spinner} {msg}  {binary_bytes}  {binary_bytes_per_sec}",
        Look::Alive => "{prefix}{spinner} {msg}",
    };
    // A template that is wrong shows as the usual bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

fn bar(object: &str, total: Option<u64>) -> ProgressBar {
    let look = if total.is_some() { Look::Measured } else { Look::Alive };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr()).with_style(style(look));
    bar.set_message(plain(object).into_owned());
    bar.enable_steady_tick(TICK);
    bar
}
