//! What a benchmark measures: bytes per second, and seconds of processor per gigabyte over all threads.

use std::time::Instant;

/// Clock ticks per second in `/proc`, which is part of the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;
/// A case repeats until it took this long, for ticks are coarse.
const SECONDS_MIN: f64 = 1.0;

/// Seconds of processor that this process has used, in all threads and in the kernel.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let ticks: f64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / TICKS_PER_SECOND
}

/// Runs a case again and again and prints what it cost for each of its `bytes`.
pub fn measure(name: &str, bytes: usize, mut case: impl FnMut()) {
    let (begun, used) = (Instant::now(), processor_seconds());
    let mut times = 0_u32;
    while times == 0 || begun.elapsed().as_secs_f64() < SECONDS_MIN {
        case();
        times += 1;
    }
    report(name, bytes, f64::from(times), begun.elapsed().as_secs_f64(), processor_seconds() - used);
}

/// Runs a case once, for cases that change the world.
pub fn measure_once<T>(name: &str, bytes: usize, case: impl FnOnce() -> T) -> T {
    let (begun, used) = (Instant::now(), processor_seconds());
    let result = case();
    report(name, bytes, 1.0, begun.elapsed().as_secs_f64(), processor_seconds() - used);
    result
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn report(name: &str, bytes: usize, times: f64, seconds: f64, processor: f64) {
    let gigabytes = bytes as f64 * times / 1e9;
    println!("{name:44} {:9.0} MB/s {:8.2} CPU-s/GB", gigabytes * 1e3 / seconds, processor / gigabytes);
}

/// As [`measure`], per operation.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub fn measure_each(name: &str, operations: usize, mut case: impl FnMut()) {
    let begun = Instant::now();
    let mut times = 0_u32;
    while times == 0 || begun.elapsed().as_secs_f64() < SECONDS_MIN {
        case();
        times += 1;
    }
    let each = begun.elapsed().as_secs_f64() / (operations as f64 * f64::from(times));
    println!("{name:44} {:9.2} us each", each * 1e6);
}
