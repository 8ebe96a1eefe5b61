//! What a benchmark measures: bytes per second, and seconds of processor per gigabyte over all threads.

use std::time::Instant;

/// Clock ticks per second in `/proc`, which is part of the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;
/// Seconds of processor that this process has used, in all threads and in the kernel.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let ticks: f64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / TICKS_PER_SECOND
}

/// Runs a case until it took `seconds_min`, once at least, and prints what it cost for each of its `bytes`.
pub fn measure<T>(name: &str, bytes: usize, seconds_min: f64, mut case: impl FnMut() -> T) -> T {
    let (begun, used) = (Instant::now(), processor_seconds());
    let mut times = 1_u32;
    let mut result = case();
    while begun.elapsed().as_secs_f64() < seconds_min {
        result = case();
        times += 1;
    }
    report(name, bytes, f64::from(times), begun.elapsed().as_secs_f64(), processor_seconds() - used);
    result
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn report(name: &str, bytes: usize, times: f64, seconds: f64, processor: f64) {
    let gigabytes = bytes as f64 * times / 1e9;
    println!("{name:44} {:9.0} MB/s {:8.2} CPU-s/GB", gigabytes * 1e3 / seconds, processor / gigabytes);
}
