//! What a run does beside making points: hooks around them, and the note that says what it was about.

use std::sync::{Arc, Mutex};

use holdall::backup::{BackupOptions, Host, HostHooks, NoHostHooks, Selection, StagingCheck, Summary, When, back_up};
use holdall::daemon::Flavor;
use holdall::daemon::fake::{FakeDaemon, FakeInstance, Fault};
use holdall::monitor::Silent;
use holdall::repo::{Repository, RunRecord};
use holdall::source::Source;
use holdall::store::{MemoryStore, Name, Put, Store};

use crate::fixture::{clock, init, new, points};

fn hooked(name: &str, status: &str) -> FakeInstance {
    FakeInstance::container(name)
        .status(status)
        .config("user.holdall.hook.pre", "freeze")
        .config("user.holdall.hook.post", "thaw")
}

fn run_with(repository: &Repository, daemon: &FakeDaemon, selection: &Selection, hooks: &dyn HostHooks) -> Summary {
    // In a row, so that the order of calls can be compared.
    let options = BackupOptions { staging: StagingCheck::Skipped, parallel: 1, ..BackupOptions::default() };
    let host = Host { name: "test-host", clock: &clock(), hooks };
    back_up(repository, daemon, selection, &options, host, &Silent).unwrap()
}

fn run(repository: &Repository, daemon: &FakeDaemon) -> Summary {
    run_with(repository, daemon, &Selection::All, &NoHostHooks)
}

/// What was called in which order, without the parts that differ from run to run.
fn calls(daemon: &FakeDaemon) -> Vec<String> {
    let verb = |call: &String| call.split(' ').next().unwrap_or_default().to_owned();
    daemon.calls().iter().map(|call| if call.starts_with("execute") { call.clone() } else { verb(call) }).collect()
}

fn record(repository: &Repository) -> RunRecord {
    repository.history().unwrap().runs().next().unwrap().clone()
}

#[test]
fn hooks_run_in_the_instance_around_its_export() {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add(&hooked("web1", "Running"));
    let summary = run(&repository, &daemon);
    assert_eq!((summary.failed, summary.problems, summary.made.len()), (vec![], vec![], 1));
    let expected = ["execute \"freeze\" in default/web1", "stream", "execute \"thaw\" in default/web1"];
    assert_eq!(calls(&daemon), expected);
}

#[test]
fn hooks_of_a_stopped_instance_do_not_run() {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add(&hooked("web1", "Stopped"));
    assert_eq!((run(&repository, &daemon).made.len(), calls(&daemon)), (1, vec!["stream".to_owned()]));
}

#[test]
fn nothing_is_saved_that_could_not_be_made_ready_and_it_is_put_right_all_the_same() {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add(&hooked("web1", "Running"));
    daemon.exit("freeze", 7);
    let summary = run(&repository, &daemon);
    assert_eq!((summary.made.len(), summary.failed.len()), (0, 1));
    assert_eq!(summary.failed[0].1, "Its hook user.holdall.hook.pre failed with code 7");
    assert_eq!(calls(&daemon), ["execute \"freeze\" in default/web1", "execute \"thaw\" in default/web1"]);
}

#[test]
fn it_is_put_right_after_a_failed_export_and_a_failure_at_that_is_a_problem_beside_the_point() {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add(&hooked("web1", "Running"));
    daemon.fault("default", "web1", &[Fault::DeleteSnapshot("none".into())]);
    daemon.exit("thaw", 137);
    let summary = run(&repository, &daemon);
    assert_eq!((summary.made.len(), summary.failed.len(), summary.problems.len()), (1, 0, 1));
    assert!(summary.problems[0].message.contains("killed, most likely at its time limit of 300 seconds"));

    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add(&hooked("web1", "Running"));
    daemon.fault("default", "web1", &[Fault::DeleteSnapshot("s0".into()), Fault::ReplaceInstance]);
    daemon.fault("default", "web1", &[Fault::RenameInstance("www".into())]);
    let summary = run(&repository, &daemon);
    assert_eq!((summary.made.len(), summary.failed.len()), (0, 1));
    // It has another name by now, which is said, too.
    assert!(summary.problems[0].message.contains("Its hook user.holdall.hook.post could not be run"));
    assert!(calls(&daemon).iter().filter(|call| *call == "stream").count() >= 2);
}

/// Notes what it was asked for, and fails before these.
struct Noting(Mutex<Vec<String>>, &'static str);

impl HostHooks for Noting {
    fn run(&self, when: When, source: &Source) -> Result<(), String> {
        self.0.lock().unwrap().push(format!("{when:?} {source}"));
        if when == When::Before && source.name == self.1 { Err("No".to_owned()) } else { Ok(()) }
    }
}

#[test]
fn hooks_of_the_host_run_around_every_set() {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add(&FakeInstance::container("db1"));
    daemon.add(&FakeInstance::container("web1"));
    let hooks = Noting(Mutex::default(), "db1");
    let summary = run_with(&repository, &daemon, &Selection::All, &hooks);
    assert_eq!(
        hooks.0.into_inner().unwrap(),
        ["Before fake//db1", "After fake//db1", "Before fake//web1", "After fake//web1"]
    );
    assert_eq!((summary.made.len(), &summary.failed[0].1), (1, &"No".to_owned()));
}

#[test]
fn a_run_notes_what_it_was_about() {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add(&FakeInstance::container("web1"));
    daemon.add(&FakeInstance::container("scratch").config("user.holdall.exclude", "true"));
    let summary = run(&repository, &daemon);
    let noted = record(&repository);
    assert_eq!((noted.server.as_str(), noted.whole, noted.succeeded), ("fake", true, 1));
    assert_eq!(noted.left_out, [Source::instance("fake", "default", "scratch")]);
    assert_eq!(points(&repository).len(), summary.made.len());

    let repository = new();
    daemon.forbid("default", "not for you");
    run(&repository, &daemon);
    assert!(!record(&repository).whole, "a project was hidden");

    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add(&FakeInstance::container("scratch").config("user.holdall.exclude", "true"));
    let named = Selection::Sources(vec!["scratch".parse().unwrap()]);
    assert_eq!(run_with(&repository, &daemon, &named, &NoHostHooks).made.len(), 1);
    assert!(!record(&repository).whole);
}

#[test]
fn an_instance_that_waits_to_replace_another_is_left_out() {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add(&FakeInstance::container("holdall-new-0123abcd").config("user.holdall.replaces", "web1"));
    daemon.add(&FakeInstance::container("holdall-new-of-somebody"));
    let summary = run(&repository, &daemon);
    assert_eq!((summary.made.len(), summary.made[0].source.name.as_str()), (1, "holdall-new-of-somebody"));
}

#[test]
fn a_note_that_cannot_be_read_keeps_nobody_from_the_points() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    let daemon = FakeDaemon::new(Flavor::Incus);
    daemon.add(&FakeInstance::container("web1"));
    run(&repository, &daemon);
    let name: Name = format!("notes/{}", "5".repeat(64)).parse().unwrap();
    assert_eq!(store.put(&name, &[&[0; 4096]]).unwrap(), Put::Created);
    assert_eq!(points(&repository).len(), 1);
    assert!(repository.notes().is_err(), "who a server is must be known for certain");
}
