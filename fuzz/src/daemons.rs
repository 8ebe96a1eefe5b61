//! Answers of a daemon: whatever it says, what is read of it is bounded, shows on one line and means what stands there.

use holdall::daemon::answers::{CHANGEABLE, Question, Said, change, read};
use holdall::limits::DAEMON_WORDS_BYTES_MAX;
use serde_json::Value;

use super::choice;

/// Longest message about an answer: what is said around the daemon's own words is short.
const MESSAGE_BYTES_MAX: usize = DAEMON_WORDS_BYTES_MAX + 200;

/// One answer to the question that the first byte chooses, with the status that its upper bits do.
pub fn answer(data: &[u8]) {
    let (chosen, body) = choice(data);
    let question = Question::ALL[usize::from(chosen & 15) % Question::ALL.len()];
    let status = [200, 202, 404, 412, 500, 503, 403, 0][usize::from(chosen >> 5)];
    let said = match read(question, status, body) {
        Ok(said) => said,
        Err(error) => {
            let message = error.to_string();
            assert!(message.len() <= MESSAGE_BYTES_MAX, "a message of {} bytes", message.len());
            assert!(!message.chars().any(char::is_control), "a message steers a terminal: {message:?}");
            return;
        }
    };
    match said {
        Said::Server(server) => {
            let again = reread(Question::Server, &server.json);
            assert!(matches!(again, Said::Server(other) if without_json(&server) == without_json(&other)));
        }
        Said::Projects(projects) => {
            for project in projects {
                let again = reread(Question::Projects, &format!("[{}]", project.json));
                assert!(
                    matches!(again, Said::Projects(other) if other.len() == 1 && other[0].config == project.config)
                );
            }
        }
        Said::Instance(instance) => {
            let again = reread(Question::Instance, &instance.json);
            assert!(matches!(again, Said::Instance(other)
                if other.summary == instance.summary && other.snapshots == instance.snapshots));
        }
        Said::Change(put) => changes_nothing_else(body, &put),
        Said::Running(words) | Said::Ended(Err(words)) => {
            assert!(words.len() <= DAEMON_WORDS_BYTES_MAX + 8 && !words.chars().any(char::is_control));
        }
        Said::Operations(ids) => ids.iter().for_each(|id| is_one_segment(id)),
        Said::Started(id) => id.iter().for_each(|id| is_one_segment(id)),
        Said::Instances(_)
        | Said::Snapshots(_)
        | Said::Backups(_)
        | Said::Pools(_)
        | Said::Profiles(_)
        | Said::Networks(_)
        | Said::Ended(Ok(()))
        | Said::Free(_) => {}
    }
}

/// What a point keeps as a description is read as what it was made of.
fn reread(question: Question, json: &str) -> Said {
    let answer = format!("{{\"type\":\"sync\",\"metadata\":{json}}}");
    read(question, 200, answer.as_bytes()).unwrap_or_else(|error| panic!("{json} is not read again: {error}"))
}

fn without_json(server: &holdall::daemon::Server) -> holdall::daemon::Server {
    holdall::daemon::Server { json: String::new(), ..server.clone() }
}

/// An id goes into the address of further requests, which it must not lead elsewhere.
fn is_one_segment(id: &str) {
    assert!(!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{id:?}");
}

/// What of an answer is read at all: the rest may even be no text.
#[derive(serde::Deserialize)]
struct Answer {
    metadata: Value,
}

fn changes_nothing_else(body: &[u8], put: &Value) {
    let Answer { metadata: before } = serde_json::from_slice(body).expect("it was read");
    let put = put.as_object().expect("a change is an object");
    assert!(put.keys().all(|key| CHANGEABLE.contains(&key.as_str())), "{put:?}");
    assert!(put.iter().all(|(key, value)| key == "config" || *value == before[key]), "{put:?}");
    let config = put["config"].as_object().expect("a configuration is an object");
    let change = change();
    let was = before.get("config").and_then(Value::as_object);
    let kept = |key: &String| !change.set.contains_key(key) && !change.remove.contains(key);
    assert!(config.iter().filter(|(key, _)| kept(key)).eq(was.into_iter().flatten().filter(|(key, _)| kept(key))));
    assert!(change.set.iter().all(|(key, value)| config.get(key).and_then(Value::as_str) == Some(value)));
    assert!(!change.remove.iter().any(|key| config.contains_key(key)));
}
