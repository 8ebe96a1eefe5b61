//! Ctrl-C: the first stops cleanly, the second at once, and neither leaves anything half done.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, noise};

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Writes until nobody reads any more.
fn feed(mut to: ChildStdin) {
    let bytes = noise(1, 1 << 16);
    while to.write_all(&bytes).is_ok() {}
}

#[test]
fn the_first_signal_stops_an_import_cleanly() {
    for signal in [Signal::INT, Signal::TERM] {
        let bench = Bench::new();
        let mut import = spawn(&mut bench.command(&["import", "-", "-v", "--as", "file:x"]));
        let input = import.stdin.take().unwrap();
        let feeder = thread::spawn(move || feed(input));
        let mut said = BufReader::new(import.stderr.take().unwrap()).lines();
        let begun = said.by_ref().any(|line| line.unwrap().contains("standard input"));
        assert!(begun);
        send(&import, signal);
        let rest: Vec<String> = said.map(Result::unwrap).collect();
        assert_eq!(import.wait().unwrap().code(), Some(130), "{rest:?}");
        assert!(rest.iter().any(|line| line.contains("once more to stop at once")), "{rest:?}");
        assert!(rest.last().unwrap().contains("Stopped on request; no point was made"), "{rest:?}");
        feeder.join().unwrap();
        assert_eq!((bench.objects("points").len(), bench.objects("sessions").len()), (0, 0));
        bench.run(&["check"]).succeeds();
    }
}

#[test]
fn the_second_signal_stops_an_import_that_waits_for_input() {
    let bench = Bench::new();
    let mut import = spawn(&mut bench.command(&["import", "-", "-v", "--as", "file:x"]));
    // It stays open, and nothing comes.
    let _input = import.stdin.take().unwrap();
    let mut said = BufReader::new(import.stderr.take().unwrap()).lines();
    assert!(said.by_ref().any(|line| line.unwrap().contains("standard input")));
    send(&import, Signal::INT);
    assert!(said.by_ref().any(|line| line.unwrap().contains("once more")));
    send(&import, Signal::INT);
    assert_eq!(import.wait().unwrap().code(), Some(130));
    assert_eq!(bench.objects("points").len(), 0);
    bench.run(&["check"]).succeeds();
}

#[test]
fn the_first_signal_ends_what_only_waits() {
    let bench = Bench::new();
    let mut list = spawn(&mut bench.bare(&["-r", "repo", "--password-command", "echo begun >&2; sleep 30", "list"]));
    let mut said = BufReader::new(list.stderr.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "begun");
    send(&list, Signal::INT);
    assert_eq!(list.wait().unwrap().code(), Some(130));
}
