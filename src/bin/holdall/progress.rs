//! Progress for people: a bar for each object at work on a terminal, a line now and then elsewhere.
//!
//! The one monitor of the program. Problems are told as they come, but for `check`, whose findings are its results.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdall::monitor::{Event, Monitor, Problem};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

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
    bars: MultiProgress,
    works: Mutex<Vec<Work>>,
}

/// Something that is being worked on.
struct Work {
    object: String,
    bar: Option<ProgressBar>,
    done: u64,
    total: Option<u64>,
    told: Instant,
}

impl<'o> Progress<'o> {
    /// Begins to watch.
    pub fn new(output: &'o Output, problems: Problems) -> Self {
        let (kept, works, count) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        Self { output, problems, kept, count, bars: MultiProgress::new(), works }
    }

    /// How many problems and failed sources there were.
    pub fn problems(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// The problems that were kept.
    pub fn take_problems(&self) -> Vec<Problem> {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes all bars away, so that results can be printed.
    pub fn clear(&self) {
        for work in self.works().drain(..) {
            work.end(&self.bars);
        }
    }

    fn works(&self) -> MutexGuard<'_, Vec<Work>> {
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work on an object begins, perhaps once more.
    fn start(&self, object: String, total: Option<u64>) {
        self.end(&object);
        if !self.output.draws() {
            let size = total.map_or_else(String::new, |bytes| format!(" ({})", size(bytes)));
            self.output.detail(&format!("{object}{size}"));
        }
        let bar = self.output.draws().then(|| bar(&self.bars, &object, total));
        self.works().push(Work { object, bar, done: 0, total, told: Instant::now() });
    }

    fn end(&self, object: &str) {
        let mut works = self.works();
        if let Some(at) = works.iter().position(|work| work.object == object) {
            works.remove(at).end(&self.bars);
        }
    }

    fn advance(&self, object: Option<&str>, bytes: u64) {
        let mut works = self.works();
        let mut latest_first = works.iter_mut().rev();
        let work = latest_first.find(|work| object.is_none_or(|object| work.object == object));
        if let Some(work) = work
            && let Some(line) = work.advance(bytes)
        {
            self.output.note(&line);
        }
    }

    /// What the daemon does before there is a stream.
    fn wait(&self, object: &str, words: &str) {
        let text = format!("{object}: {words}");
        if !self.output.draws() {
            self.output.detail(&text);
            return;
        }
        let is_known = self.works().iter().any(|work| work.object == object);
        if !is_known {
            self.start(object.to_owned(), None);
        }
        if let Some(bar) = self.works().iter().find(|work| work.object == object).and_then(|work| work.bar.as_ref()) {
            bar.set_message(plain(&text).into_owned());
        }
    }

    fn problem(&self, problem: Problem) {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        match self.problems {
            Problems::Told => self.bars.suspend(|| self.output.problem(&problem.object, &problem.message)),
            Problems::Kept => {
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
                if let Some(bar) = self.works().last().and_then(|work| work.bar.as_ref()) {
                    bar.set_prefix(format!("{count} found so far  "));
                }
            }
        }
    }
}

impl Work {
    /// Notes bytes that passed. Returns what to tell where there is no bar, now and then.
    fn advance(&mut self, bytes: u64) -> Option<String> {
        self.done += bytes;
        if let Some(bar) = &self.bar {
            if self.total.is_none() && self.done == bytes {
                bar.set_style(style(Look::Counting));
            }
            bar.inc(bytes);
            return None;
        }
        if self.told.elapsed() < LINE_EVERY {
            return None;
        }
        self.told = Instant::now();
        let total = self.total.map_or_else(String::new, |total| format!(" of {}", size(total)));
        Some(format!("{}: {}{total}", self.object, size(self.done)))
    }

    fn end(self, bars: &MultiProgress) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
            bars.remove(&bar);
        }
    }
}

impl Monitor for Progress<'_> {
    fn event(&self, event: Event) {
        match event {
            Event::Started { object, bytes } => self.start(object, bytes),
            Event::Advanced { object, bytes } => self.advance(object.as_deref(), bytes),
            Event::Ended { object } => self.end(&object),
            Event::Waiting { object, progress } => self.wait(&object, &progress),
            Event::Said { object, message } => self.bars.suspend(|| self.output.note(&format!("{object}: {message}"))),
            Event::Problem(problem) => self.problem(problem),
            Event::Failed { source, message } => {
                self.count.fetch_add(1, Ordering::SeqCst);
                let source = source.to_string();
                self.end(&source);
                self.bars.suspend(|| self.output.failed(&source, &message));
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

fn bar(bars: &MultiProgress, object: &str, total: Option<u64>) -> ProgressBar {
    let look = if total.is_some() { Look::Measured } else { Look::Alive };
    let bar = ProgressBar::no_length();
    if let Some(total) = total {
        bar.set_length(total);
    }
    let bar = bars.add(bar.with_style(style(look)));
    bar.set_message(plain(object).into_owned());
    bar.enable_steady_tick(TICK);
    bar
}
