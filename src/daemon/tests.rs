//! The client against a scripted HTTP server on a unix socket: every reply that a healthy daemon does not give on
//! demand.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::*;
use crate::limits::{DAEMON_OBJECT_BYTES_MAX, DAEMON_STARTUP_ATTEMPTS_MAX, UPLOAD_PIECE_BYTES};

/// A request as the server got it.
#[derive(Debug, Clone)]
struct Seen {
    /// Method and target.
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    /// Whether the body had its end: all bytes, or the final chunk.
    terminated: bool,
}

impl Seen {
    fn is(&self, method: &str, path: &str) -> bool {
        let (wanted, target) = self.line.split_once(' ').unwrap();
        wanted == method && target.split('?').next() == Some(path)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Answers = dyn Fn(&Seen) -> Vec<u8> + Send + Sync;

/// Answers one request per connection with bytes from a script, then closes the connection.
struct Server {
    directory: tempfile::TempDir,
    seen: Arc<Mutex<Vec<Seen>>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(answers: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("unix.socket")).unwrap();
        let (seen, closing) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let answers: Arc<Answers> = Arc::new(answers);
        let (log, closed) = (Arc::clone(&seen), Arc::clone(&closing));
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming().take_while(|_| !closed.load(Ordering::SeqCst)) {
                let (stream, log, answers) = (stream.unwrap(), Arc::clone(&log), Arc::clone(&answers));
                connections.push(std::thread::spawn(move || serve(&stream, &log, &*answers)));
            }
            for connection in connections {
                let _ = connection.join();
            }
        });
        Self { directory, seen, closing, thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("unix.socket")
    }

    fn daemon(&self) -> LocalDaemon {
        LocalDaemon::at(self.socket(), None).without_pauses()
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }

    fn find(&self, method: &str, path: &str) -> Seen {
        self.seen().into_iter().find(|seen| seen.is(method, path)).unwrap_or_else(|| panic!("{:?}", self.lines()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(self.socket());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: &UnixStream, log: &Mutex<Vec<Seen>>, answers: &Answers) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let (body, terminated) = read_body(&mut reader, &headers);
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let seen = Seen { line, headers, body, terminated };
    log.lock().unwrap().push(seen.clone());
    let mut writer = stream;
    // The client may have gone already.
    let _ = writer.write_all(&answers(&seen));
}

fn read_body(reader: &mut impl BufRead, headers: &BTreeMap<String, String>) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length") {
        body.resize(length.parse().unwrap(), 0);
        let whole = reader.read_exact(&mut body).is_ok();
        return (body, whole);
    }
    if !headers.contains_key("transfer-encoding") {
        return (body, true);
    }
    loop {
        let mut size = String::new();
        if reader.read_line(&mut size).unwrap_or(0) == 0 {
            return (body, false);
        }
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        if reader.read_exact(&mut chunk).is_err() {
            return (body, false);
        }
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

fn reply(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} X\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn reply_json(status: u16, body: &Value) -> Vec<u8> {
    let body = format!("{body}\n");
    let headers = format!("Content-Type: application/json\r\nETag: tag1\r\nContent-Length: {}\r\n", body.len());
    reply(status, &headers, body.as_bytes())
}

fn sync(metadata: &Value) -> Vec<u8> {
    reply_json(200, &json!({"type": "sync", "status": "Success", "status_code": 200, "metadata": metadata}))
}

fn started(id: &str, resources: &Value) -> Vec<u8> {
    let metadata = json!({"id": id, "status": "Running", "status_code": 103, "metadata": null, "resources": resources});
    let operation = format!("/1.0/operations/{id}");
    reply_json(202, &json!({"type": "async", "status_code": 100, "operation": operation, "metadata": metadata}))
}

fn ended(code: u16, err: &str) -> Vec<u8> {
    sync(&json!({"id": "op", "status": "?", "status_code": code, "err": err, "metadata": null}))
}

fn refused(status: u16, code: u16, words: &str) -> Vec<u8> {
    reply_json(status, &json!({"type": "error", "error_code": code, "error": words, "metadata": null}))
}

fn octets(body: &[u8]) -> Vec<u8> {
    let headers = format!("Content-Type: application/octet-stream\r\nContent-Length: {}\r\n", body.len());
    reply(200, &headers, body)
}

fn chunked(chunks: &[&[u8]], terminator: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in chunks {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(terminator.as_bytes());
    reply(200, "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n", &body)
}

/// What every daemon answers, for what a test's script leaves out.
fn usual(seen: &Seen, flavor: &str, extensions: &[&str]) -> Vec<u8> {
    let environment = json!({"server": flavor, "server_version": "1", "server_name": "host", "server_pid": 7,
        "certificate_fingerprint": "f1"});
    if seen.is("GET", "/1.0") {
        sync(&json!({"api_extensions": extensions, "auth": "trusted", "config": {}, "environment": environment}))
    } else if seen.is("GET", "/1.0/certificates") {
        sync(&json!([]))
    } else if seen.line.starts_with("GET /1.0/projects/default") {
        sync(&json!({"name": "default", "config": {}}))
    } else if seen.line.starts_with("DELETE ") || seen.line.starts_with("GET /1.0/operations?") {
        sync(&json!({}))
    } else if seen.line.starts_with("GET /1.0/operations/") {
        ended(200, "")
    } else {
        refused(404, 404, "not found")
    }
}

fn request(route: Route) -> ExportRequest {
    ExportRequest {
        subject: Subject::instance("default", "web1"),
        backup_name: "holdall-1".to_owned(),
        expires_at: Timestamp::from_micros(1_795_219_200_000_000).unwrap(),
        snapshots: Snapshots::Include,
        layout: Layout::Plain,
        route,
    }
}

const BACKUPS: &str = "/1.0/instances/web1/backups";
const BACKUP: &str = "/1.0/instances/web1/backups/holdall-1";
const FILE: &str = "/1.0/instances/web1/backups/holdall-1/export";

/// An Incus that answers the request for a direct stream with `stream`.
fn streaming(stream: Vec<u8>) -> Server {
    Server::start(move |seen| match seen {
        _ if seen.is("POST", BACKUPS) => stream.clone(),
        _ => usual(seen, "incus", &["direct_backup"]),
    })
}

/// An LXD whose backup is read with `file`, and whose operation ends with `end`.
fn staging(end: Vec<u8>, file: Vec<u8>) -> Server {
    Server::start(move |seen| match seen {
        _ if seen.is("POST", BACKUPS) => started("op", &json!({"backups": ["/1.0/backups/holdall-1"]})),
        _ if seen.line.contains("/operations/op/wait") => end.clone(),
        _ if seen.is("GET", FILE) => file.clone(),
        _ => usual(seen, "lxd", &["backup_metadata_version"]),
    })
}

/// Reads an export to its end and finishes it.
fn drain(mut export: Box<dyn Export>) -> Result<(Vec<u8>, Completion), DaemonError> {
    let mut bytes = Vec::new();
    export.read_to_end(&mut bytes).map_err(|error| DaemonError::from_read(error, "x"))?;
    Ok((bytes, export.finish()?))
}

fn export(server: &Server, route: Route) -> Result<(Vec<u8>, Completion), DaemonError> {
    drain(server.daemon().export(&request(route), &mut |_| ())?)
}

#[test]
fn a_direct_stream_is_read_to_its_final_chunk() {
    let server = streaming(chunked(&[b"hello ", b"world"], "0\r\n\r\n"));
    let (bytes, completion) = export(&server, Route::Any).unwrap();
    assert_eq!(bytes, b"hello world");
    assert_eq!((completion.mode, completion.bytes, completion.operation), (Mode::Direct, 11, Verdict::Unseen));
    let post = server.find("POST", BACKUPS);
    assert_eq!(post.headers["accept"], "application/octet-stream");
    assert_eq!(
        post.json(),
        json!({"compression_algorithm": "none", "instance_only": false, "optimized_storage": false})
    );
}

#[test]
fn a_direct_stream_without_its_final_chunk_is_cut() {
    for terminator in ["", "0\r\n", "5\r\nab"] {
        let server = streaming(chunked(&[b"hello"], terminator));
        match export(&server, Route::Any).unwrap_err() {
            DaemonError::Cut { object, received, .. } => {
                assert_eq!((object.as_str(), received >= 5), ("instance web1", true), "{terminator:?}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_stream_of_unknown_end_is_refused() {
    let server = streaming(reply(200, "Content-Type: application/octet-stream\r\n", b"hello"));
    assert!(matches!(export(&server, Route::Any).unwrap_err(), DaemonError::Protocol { .. }));
}

#[test]
fn a_cut_direct_stream_names_the_failure_of_its_operation() {
    let asked = AtomicUsize::new(0);
    let operation = json!({"id": "d1", "description": "Backing up instance", "status_code": 400,
        "err": "missed writing",
        "resources": {"instances": ["/1.0/instances/web1"]}});
    let server = Server::start(move |seen| match seen {
        _ if seen.is("POST", BACKUPS) => chunked(&[b"hello"], ""),
        _ if seen.is("GET", "/1.0/operations") && asked.fetch_add(1, Ordering::SeqCst) == 1 => {
            sync(&json!({"running": [operation]}))
        }
        _ if seen.is("GET", "/1.0/operations/d1") => sync(&operation),
        _ => usual(seen, "incus", &["direct_backup"]),
    });
    let text = export(&server, Route::Any).unwrap_err().to_string();
    assert_eq!(text, "The stream of instance web1 was cut after 5 bytes: missed writing");
}

#[test]
fn a_clean_end_of_a_failed_operation_is_an_error() {
    let asked = AtomicUsize::new(0);
    let operation = json!({"id": "d1", "description": "Backing up instance", "status_code": 400,
        "err": "missed writing",
        "resources": {"instances": ["/1.0/instances/web1?project=default"]}});
    let server = Server::start(move |seen| match seen {
        _ if seen.is("POST", BACKUPS) => chunked(&[b"hello"], "0\r\n\r\n"),
        _ if seen.is("GET", "/1.0/operations") && asked.fetch_add(1, Ordering::SeqCst) == 1 => {
            sync(&json!({"failure": [operation], "running": null}))
        }
        _ if seen.is("GET", "/1.0/operations/d1/wait") => sync(&operation),
        _ => usual(seen, "incus", &["direct_backup"]),
    });
    assert!(matches!(export(&server, Route::Any).unwrap_err(), DaemonError::OperationFailed { .. }));
}

#[test]
fn a_stored_backup_instead_of_a_stream_is_deleted_and_the_staged_way_taken() {
    let server = Server::start(|seen| match seen {
        _ if seen.is("POST", BACKUPS) && seen.headers.contains_key("accept") => {
            started("unwanted", &json!({"backups": ["/1.0/instances/web1/backups/backup0"]}))
        }
        _ if seen.is("POST", BACKUPS) => started("op", &json!({})),
        _ if seen.is("GET", FILE) => octets(b"tar"),
        _ => usual(seen, "incus", &["direct_backup"]),
    });
    let (bytes, completion) = export(&server, Route::Any).unwrap();
    assert_eq!((bytes.as_slice(), completion.mode), (b"tar".as_slice(), Mode::Staged));
    let lines = server.lines();
    let unwanted = lines.iter().filter(|line| line.starts_with("DELETE /1.0/instances/web1/backups/backup0")).count();
    assert_eq!(unwanted, 2, "{lines:?}");
    assert!(matches!(export(&server, Route::Direct).unwrap_err(), DaemonError::NotOffered { .. }));
}

#[test]
fn a_staged_export_is_created_awaited_read_and_deleted() {
    let server = staging(ended(200, ""), octets(b"tar"));
    let (bytes, completion) = export(&server, Route::Any).unwrap();
    assert_eq!(bytes, b"tar");
    assert_eq!((completion.mode, completion.bytes, completion.operation), (Mode::Staged, 3, Verdict::Success));
    assert!(completion.leftover.is_none());
    let body = server.find("POST", BACKUPS).json();
    assert_eq!((&body["name"], &body["version"]), (&json!("holdall-1"), &json!(1)));
    assert_eq!(body["expires_at"], "2026-11-21T00:00:00Z");
    assert_eq!(server.lines().last().unwrap(), "DELETE /1.0/instances/web1/backups/holdall-1?project=default");
}

#[test]
fn a_file_shorter_than_announced_is_cut_and_its_backup_deleted() {
    let short = reply(200, "Content-Type: application/octet-stream\r\nContent-Length: 10\r\n", b"tar");
    let server = staging(ended(200, ""), short);
    assert!(matches!(export(&server, Route::Any).unwrap_err(), DaemonError::Cut { received: 3, .. }));
    server.find("DELETE", BACKUP);
}

#[test]
fn an_export_that_is_dropped_or_finished_early_deletes_its_backup() {
    let server = staging(ended(200, ""), octets(b"tar"));
    let unread = server.daemon().export(&request(Route::Staged), &mut |_| ()).unwrap();
    assert_eq!(unread.length(), Some(3));
    assert!(matches!(unread.finish().unwrap_err(), DaemonError::Cut { .. }));
    server.find("DELETE", BACKUP);
}

#[test]
fn the_backup_of_a_failed_operation_is_not_deleted() {
    // If its name was taken, it is somebody else's.
    let server = staging(ended(400, "Create backup: Backup \"web1/holdall-1\" already exists"), Vec::new());
    let error = export(&server, Route::Any).unwrap_err();
    assert!(error.to_string().starts_with("Backup holdall-1 of instance web1 exists already"), "{error}");
    assert!(server.lines().iter().all(|line| !line.starts_with("DELETE")));
}

#[test]
fn a_backup_of_unknown_outcome_is_deleted_and_never_read() {
    let server = Server::start(|seen| match seen {
        _ if seen.is("POST", BACKUPS) => started("op", &json!({})),
        _ if seen.line.contains("/operations/op") => refused(404, 404, "Operation not found"),
        _ => usual(seen, "lxd", &[]),
    });
    assert!(matches!(export(&server, Route::Any).unwrap_err(), DaemonError::OperationLost { .. }));
    server.find("DELETE", BACKUP);
    assert!(server.seen().iter().all(|seen| !seen.is("GET", FILE)));
}

/// An LXD whose `/wait` answers with an error, as after a time-out, and whose operation answers with one of `looks`
/// after the other.
fn error_style(looks: Vec<Vec<u8>>) -> Server {
    let looked = AtomicUsize::new(0);
    Server::start(move |seen| match seen {
        _ if seen.is("POST", BACKUPS) => started("op", &json!({})),
        _ if seen.line.contains("/operations/op/wait") => refused(200, 500, "context deadline exceeded"),
        _ if seen.line.contains("/operations/op") => looks[looked.fetch_add(1, Ordering::SeqCst)].clone(),
        _ if seen.is("GET", FILE) => octets(b"tar"),
        _ => usual(seen, "lxd", &[]),
    })
}

fn running(words: &str) -> Vec<u8> {
    let metadata = json!({"create_backup_progress": words});
    sync(&json!({"id": "op", "status": "Running", "status_code": 103, "metadata": metadata}))
}

#[test]
fn an_error_from_wait_is_decided_by_the_operation() {
    let server = error_style(vec![running("1MB"), running("1MB"), running("2MB"), ended(200, "")]);
    let mut said = Vec::new();
    let mut hear = |progress: Progress<'_>| said.push(format!("{progress:?}"));
    drain(server.daemon().export(&request(Route::Any), &mut hear).unwrap()).unwrap();
    assert_eq!(said, ["Waiting(\"1MB\")", "Waiting(\"2MB\")"]);
    let failed = error_style(vec![ended(400, "write /x: no space left on device")]);
    assert!(matches!(export(&failed, Route::Any).unwrap_err(), DaemonError::NoSpace { .. }));
}

#[test]
fn a_wait_that_breaks_is_decided_by_the_operation() {
    for (look, succeeds) in [(ended(200, ""), true), (refused(404, 404, "Operation not found"), false)] {
        let server = Server::start(move |seen| match seen {
            _ if seen.is("POST", BACKUPS) => started("op", &json!({})),
            _ if seen.line.contains("/operations/op/wait") => Vec::new(),
            _ if seen.line.contains("/operations/op") => look.clone(),
            _ if seen.is("GET", FILE) => octets(b"tar"),
            _ => usual(seen, "lxd", &[]),
        });
        assert_eq!(export(&server, Route::Any).is_ok(), succeeds);
        server.find("DELETE", BACKUP);
    }
}

#[test]
fn a_daemon_that_starts_up_is_asked_again() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |seen| match asked.fetch_add(1, Ordering::SeqCst) {
        0..3 => refused(503, 503, "Daemon is starting up"),
        _ => usual(seen, "lxd", &[]),
    });
    assert_eq!(server.daemon().server().unwrap().flavor, Flavor::Lxd);
    let never = Server::start(|_| refused(503, 503, "Daemon is starting up"));
    let error = never.daemon().server().unwrap_err();
    assert!(matches!(error, DaemonError::Refused { status: 503, .. }), "{error}");
    assert_eq!(never.seen().len(), DAEMON_STARTUP_ATTEMPTS_MAX);
}

#[test]
fn a_daemon_that_is_gone_is_looked_for_and_then_named() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = LocalDaemon::at(directory.path().join("unix.socket"), None).without_pauses();
    let error = daemon.server().unwrap_err().to_string();
    assert!(error.ends_with("/unix.socket (no such socket)"), "{error}");
}

#[test]
fn garbage_is_named_as_such() {
    for bytes in [&b"\x00\xff\x1b[31m"[..], b"", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}"] {
        let server = Server::start(move |_| bytes.to_vec());
        let error = server.daemon().server().unwrap_err();
        assert!(matches!(error, DaemonError::Io { .. } | DaemonError::Cut { .. }), "{error}");
    }
    for body in
        ["[]", "{\"type\":\"sync\"}", "{\"type\":\"x\\u001b\"}", "<html>\u{7}", "{\"type\":\"sync\",\"metadata\":1}"]
    {
        let server = Server::start(move |_| octets(body.as_bytes()));
        let error = server.daemon().server().unwrap_err();
        assert!(matches!(error, DaemonError::Protocol { .. }), "{error}");
        assert!(!error.to_string().chars().any(char::is_control));
    }
}

#[test]
fn an_answer_without_end_is_not_read_to_the_end() {
    let huge = vec![b' '; DAEMON_OBJECT_BYTES_MAX + 1];
    let server = Server::start(move |_| octets(&huge));
    let error = server.daemon().server().unwrap_err();
    assert!(matches!(error, DaemonError::TooLarge { limit_bytes: DAEMON_OBJECT_BYTES_MAX, .. }), "{error}");
}

#[test]
fn a_raised_stop_flag_ends_a_stalled_read() {
    // The reply promises more than comes, and the connection stays open until the server is dropped.
    let stop: StopFlag = Arc::default();
    let (hold, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let raise = Arc::clone(&stop);
    let server = Server::start(move |seen| {
        if seen.is("GET", "/1.0/certificates") {
            raise.store(true, Ordering::SeqCst);
            let _ = released.lock().unwrap().recv();
        }
        usual(seen, "lxd", &[])
    });
    let daemon = LocalDaemon::at(server.socket(), Some(stop));
    assert!(matches!(daemon.server().unwrap_err(), DaemonError::Stopped { .. }));
    drop(hold);
}

// -- instances

#[test]
fn an_instance_is_none_only_in_a_project_that_exists() {
    let server = Server::start(|seen| usual(seen, "lxd", &[]));
    assert_eq!(server.daemon().instance("default", "web1").unwrap(), None);
    let error = server.daemon().instance("lab", "web1").unwrap_err();
    assert_eq!(error.to_string(), "Not found: project lab");
}

#[test]
fn a_project_that_cannot_be_listed_is_reported_beside_the_others() {
    let server = Server::start(|seen| match seen.line.as_str() {
        "GET /1.0/projects?recursion=1" => sync(&json!([{"name": "default"}, {"name": "l b", "config": {"a": "b"}}])),
        "GET /1.0/instances?recursion=1&project=default" => sync(&json!([{"name": "web1", "status": "Stopped"}])),
        "GET /1.0/instances?recursion=1&project=l%20b" => refused(500, 500, "Certificate is restricted"),
        _ => usual(seen, "lxd", &[]),
    });
    let listing = server.daemon().instances().unwrap();
    assert_eq!(listing.instances.len(), 1);
    assert_eq!(listing.instances[0].name, "web1");
    assert_eq!(listing.problems.len(), 1);
    assert_eq!(listing.problems[0].0, "l b");
    assert!(matches!(listing.problems[0].1, DaemonError::Restricted { .. }));
}

#[test]
fn a_restricted_client_knows_that_it_is_one() {
    let server = Server::start(|seen| match seen {
        _ if seen.is("GET", "/1.0/certificates") => refused(403, 403, "Certificate is restricted"),
        _ => usual(seen, "incus", &[]),
    });
    assert_eq!(server.daemon().server().unwrap().access, Access::Restricted);
}

#[test]
fn a_change_keeps_what_others_wrote_and_is_tried_again() {
    let puts = AtomicUsize::new(0);
    let server = Server::start(move |seen| match seen {
        _ if seen.is("GET", "/1.0/instances/web1") => sync(&json!({"name": "web1", "status": "Stopped",
            "config": {"user.a": "1", "volatile.eth0.hwaddr": "x"}, "devices": {"d": {}}, "profiles": ["p"]})),
        _ if seen.is("PUT", "/1.0/instances/web1") && puts.fetch_add(1, Ordering::SeqCst) == 0 => {
            refused(412, 412, "ETag doesn't match")
        }
        _ if seen.is("PUT", "/1.0/instances/web1") => started("op", &json!({})),
        _ => usual(seen, "lxd", &[]),
    });
    let change = InstanceChange {
        set: BTreeMap::from([("user.b".to_owned(), "2".to_owned())]),
        remove: BTreeSet::from(["volatile.eth0.hwaddr".to_owned()]),
    };
    server.daemon().update_instance("default", "web1", &change).unwrap();
    let put = server.seen().into_iter().rfind(|seen| seen.is("PUT", "/1.0/instances/web1")).unwrap();
    assert_eq!(put.headers["if-match"], "tag1");
    assert_eq!(put.json(), json!({"config": {"user.a": "1", "user.b": "2"}, "devices": {"d": {}}, "profiles": ["p"]}));
}

// -- imports

fn importing(upload: Vec<u8>, end: Vec<u8>) -> Server {
    Server::start(move |seen| match seen {
        _ if seen.is("POST", "/1.0/instances") => upload.clone(),
        _ if seen.line.contains("/operations/op") => end.clone(),
        _ => usual(seen, "lxd", &[]),
    })
}

fn into_web2() -> ImportRequest {
    ImportRequest::of_export(Subject::instance("default", "web2"), None)
}

#[test]
fn an_import_is_uploaded_in_chunks_and_awaited() {
    let server = importing(started("op", &json!({})), ended(200, ""));
    let bytes: Vec<u8> = (0u32..300_000).flat_map(u32::to_le_bytes).collect();
    let mut sent = Vec::new();
    let mut hear = |progress: Progress<'_>| sent.push(progress == Progress::Sent(1_200_000));
    server.daemon().import(&into_web2(), &mut bytes.as_slice(), &mut hear).unwrap();
    assert_eq!((sent.len(), sent.last()), (bytes.len().div_ceil(UPLOAD_PIECE_BYTES), Some(&true)));
    let post = server.find("POST", "/1.0/instances");
    assert!(post.terminated && post.body == bytes);
    assert_eq!(post.headers["x-lxd-name"], "web2");
    assert_eq!(post.headers["content-type"], "application/octet-stream");
}

/// Gives `left` bytes and then an error.
struct Failing {
    left: usize,
}

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("the repository is damaged"));
        }
        let count = buffer.len().min(self.left);
        buffer[..count].fill(7);
        self.left -= count;
        Ok(count)
    }
}

#[test]
fn an_upload_whose_input_fails_is_never_terminated() {
    for left in [0, 1, UPLOAD_PIECE_BYTES, UPLOAD_PIECE_BYTES + 1, 9 * UPLOAD_PIECE_BYTES] {
        let server = importing(started("op", &json!({})), ended(200, ""));
        let error = server.daemon().import(&into_web2(), &mut Failing { left }, &mut |_| ()).unwrap_err();
        assert!(matches!(error, DaemonError::Input { .. }), "{error}");
        let socket = server.seen.clone();
        drop(server);
        let posts =
            socket.lock().unwrap().iter().filter(|seen| seen.line.starts_with("POST") && seen.terminated).count();
        assert_eq!(posts, 0, "{left}");
    }
}

#[test]
fn a_stopped_upload_is_never_terminated() {
    let server = importing(started("op", &json!({})), ended(200, ""));
    let stop: StopFlag = Arc::default();
    let daemon = LocalDaemon::at(server.socket(), Some(Arc::clone(&stop)));
    let mut body = Failing { left: 100 * UPLOAD_PIECE_BYTES };
    let mut hear = |_: Progress<'_>| stop.store(true, Ordering::SeqCst);
    let error = daemon.import(&into_web2(), &mut body, &mut hear).unwrap_err();
    assert!(matches!(error, DaemonError::Stopped { .. }), "{error}");
    let seen = server.seen.clone();
    drop(server);
    assert!(seen.lock().unwrap().iter().all(|seen| !seen.line.starts_with("POST") || !seen.terminated));
}

#[test]
fn a_taken_name_or_an_unknown_project_is_refused_before_the_upload() {
    let taken = Server::start(|seen| match seen {
        _ if seen.is("GET", "/1.0/instances/web2") => sync(&json!({"name": "web2"})),
        _ => usual(seen, "incus", &[]),
    });
    let error = taken.daemon().import(&into_web2(), &mut &b"tar"[..], &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "Instance web2 exists already");
    let unknown = ImportRequest { subject: Subject::instance("lab", "web2"), ..into_web2() };
    assert!(taken.daemon().import(&unknown, &mut &b"tar"[..], &mut |_| ()).is_err());
    let pool = ImportRequest { pool: Some("fast".to_owned()), ..into_web2() };
    let error = taken.daemon().import(&pool, &mut &b"tar"[..], &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "Not found: storage pool fast");
    for name in ["", "a b", "a_b", "-a", "a-", "ü", &"a".repeat(64)] {
        let request = ImportRequest { subject: Subject::instance("default", name), ..into_web2() };
        let error = taken.daemon().import(&request, &mut &b"tar"[..], &mut |_| ()).unwrap_err();
        assert!(matches!(error, DaemonError::BadName { .. }), "{error}");
    }
    assert!(taken.lines().iter().all(|line| !line.starts_with("POST")));
}

#[test]
fn a_failed_import_says_what_the_daemon_says() {
    let full = importing(refused(500, 500, "write /x: no space left on device"), Vec::new());
    let error = full.daemon().import(&into_web2(), &mut &b"tar"[..], &mut |_| ()).unwrap_err();
    assert!(matches!(error, DaemonError::NoSpace { .. }), "{error}");
    let failed = importing(started("op", &json!({})), ended(400, "Failed importing backup: Profile not found"));
    let error = failed.daemon().import(&into_web2(), &mut &b"tar"[..], &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "The daemon failed at instance web2: Failed importing backup: Profile not found");
}

#[test]
fn a_forgotten_import_succeeded_if_the_same_daemon_has_the_instance() {
    for (exists, pid, succeeded) in [(true, 7, true), (true, 8, false), (false, 7, false)] {
        let asked = AtomicUsize::new(0);
        let server = Server::start(move |seen| match seen {
            _ if seen.is("GET", "/1.0") && asked.fetch_add(1, Ordering::SeqCst) > 0 => {
                sync(&json!({"auth": "trusted", "environment": {"server": "lxd", "server_pid": pid}}))
            }
            _ if seen.is("POST", "/1.0/instances") => started("op", &json!({})),
            _ if seen.line.contains("/operations/op") => refused(404, 404, "Operation not found"),
            _ if seen.is("GET", "/1.0/instances/web2") && exists && asked.fetch_add(1, Ordering::SeqCst) > 1 => {
                sync(&json!({"name": "web2"}))
            }
            _ => usual(seen, "lxd", &[]),
        });
        let result = server.daemon().import(&into_web2(), &mut &b"tar"[..], &mut |_| ());
        assert_eq!(result.is_ok(), succeeded, "{exists} {pid} {result:?}");
    }
}

#[test]
fn a_disc_image_is_uploaded_as_one_and_only_where_such_volumes_are_known() {
    let server = |extensions: &'static [&'static str]| {
        Server::start(move |seen| match seen {
            _ if seen.is("POST", "/1.0/storage-pools/fast/volumes/custom") => started("op", &json!({})),
            _ if seen.is("GET", "/1.0/storage-pools/fast") => sync(&json!({"name": "fast"})),
            _ if seen.line.contains("/operations/op") => ended(200, ""),
            _ => usual(seen, "incus", extensions),
        })
    };
    let subject = Subject::volume("default", "fast", "disc");
    let request = ImportRequest { subject, pool: None, form: ImportForm::Disc };
    let able = server(&["custom_volume_iso"]);
    able.daemon().import(&request, &mut &b"bytes"[..], &mut |_| ()).unwrap();
    let post = able.find("POST", "/1.0/storage-pools/fast/volumes/custom");
    assert_eq!(
        (&*post.headers["x-incus-type"], &*post.headers["x-incus-name"], &*post.body),
        ("iso", "disc", &b"bytes"[..])
    );
    let unable = server(&[]);
    let error = unable.daemon().import(&request, &mut &b"bytes"[..], &mut |_| ()).unwrap_err();
    assert!(matches!(error, DaemonError::NotOffered { .. }), "{error}");
    assert!(unable.lines().iter().all(|line| !line.starts_with("POST")));
}
