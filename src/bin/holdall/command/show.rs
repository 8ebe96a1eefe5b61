//! `show`: everything that is known of one point.

use holdall::clock::Timestamp;
use holdall::id::PointId;
use holdall::point::{Point, StreamForm};
use holdall::repo::Catalog;
use holdall::source::Source;

use crate::args::Show;
use crate::config::Settings;
use crate::error::CliError;
use crate::json::{self, hex};
use crate::open::open;
use crate::output::Output;
use crate::progress::{Problems, Progress};
use crate::table::{Sheet, count, second, size};

pub fn run(args: &Show, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    drop(progress);
    let (id, point) = catalog.find(&args.point)?;
    let (snapshots, set) = (snapshots(&point.description), set(point, &catalog));
    let history = repository.history()?;
    let (tags, pinned) = (history.tags().remove(id).unwrap_or_default(), history.pinned().contains(id));
    let lost_chunks = history.lacking().remove(id).unwrap_or(0);
    let text = || {
        let mut sheet = sheet(*id, point, (&snapshots, &set), output.is_verbose());
        if lost_chunks > 0 {
            let lost = count(lost_chunks, "chunk");
            sheet.field("Incomplete", format!("{lost} lost; restore and export get what is left with --around-holes"));
        }
        if pinned {
            sheet.field("Pinned", "nothing forgets it until it is unpinned");
        }
        if !tags.is_empty() {
            sheet.field("Tags", tags.iter().copied().collect::<Vec<_>>().join(", "));
        }
        sheet.text()
    };
    let summary = json::Point::new(*id, point, &tags, pinned, lost_chunks);
    output.result(&details(summary, point, &snapshots, set.iter().map(SetMember::object).collect()), text)
}

/// Another member of the point's set, and what the same run made of it.
struct SetMember {
    source: String,
    point: Option<PointId>,
}

impl SetMember {
    fn object(&self) -> json::SetMember {
        json::SetMember { source: self.source.clone(), point: self.point.map(|id| id.to_string()) }
    }
}

/// The other members of the set; a member without a point of the same run is missing.
fn set(point: &Point, catalog: &Catalog) -> Vec<SetMember> {
    let of_run = |source: &Source| {
        let mut points = catalog.points().iter();
        points.find(|(_, other)| other.run == point.run && other.source == *source).map(|(id, _)| *id)
    };
    let members = point.set.iter();
    members.map(|source| SetMember { source: source.to_string(), point: of_run(source) }).collect()
}

/// A snapshot of the daemon's in the point.
struct Snapshot {
    name: String,
    created: Option<Timestamp>,
    expires: Option<Timestamp>,
}

/// The snapshots that the daemon's description names. Daemons differ in its details, so what is missing is left out.
fn snapshots(description: &str) -> Vec<Snapshot> {
    let description: serde_json::Value = serde_json::from_str(description).unwrap_or_default();
    let listed = description.get("snapshots").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let moment = |snapshot: &serde_json::Value, field: &str| snapshot.get(field)?.as_str().and_then(moment);
    let read = |snapshot: &serde_json::Value| {
        let name = snapshot.as_str().or_else(|| snapshot.get("name")?.as_str())?;
        Some(Snapshot {
            // Snapshots of volumes carry the volume's name.
            name: name.rsplit('/').next().unwrap_or(name).to_owned(),
            created: moment(snapshot, "created_at"),
            expires: moment(snapshot, "expires_at"),
        })
    };
    listed.iter().filter_map(read).collect()
}

/// A moment in a daemon's words: it writes the year 1 for "never".
fn moment(text: &str) -> Option<Timestamp> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    Timestamp::from_micros(u64::try_from(moment.as_microsecond()).ok()?)
}

fn sheet(id: PointId, point: &Point, (snapshots, set): (&[Snapshot], &[SetMember]), verbose: bool) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.field("Point", id.to_string());
    sheet.field("Source", format!("{} ({})", point.source, json::kind(&point.source.kind)));
    if let Some(server) = &point.server {
        sheet.field("Server", format!("{} {}, certificate {}", server.flavor, server.version, server.fingerprint));
    }
    sheet.field("Time", second(point.started));
    let seconds = point.ended.as_micros().saturating_sub(point.started.as_micros()) / 1_000_000;
    sheet.field("Made", format!("by host {} in {seconds} s, run {}", point.host, point.run.short()));
    sheet.field("Consistency", point.consistency.word());
    sheet.field(
        "Form",
        match point.form {
            StreamForm::Export { optimized: false } => "export: can be imported into any pool",
            StreamForm::Export { optimized: true } => {
                "optimized export: can be imported into a pool of the same driver only"
            }
            StreamForm::File => "file: as it was given; export gets it back, restore does not take it",
            StreamForm::Disc => "disc image: the bytes of the volume, as they are",
            StreamForm::Image => "image in one file, as it is",
            StreamForm::SplitImage => "image in several files: a multipart body, as the daemon sent it",
        },
    );
    if let Some(original) = &point.original {
        let digest = hex(&original.digest);
        sheet.field("Arrived as", format!("{}, {}, BLAKE3 {digest}", original.codec, size(original.len)));
    }
    let numbers = &point.statistics;
    let members = if numbers.members > 0 { format!(" in {}", count(numbers.members, "member")) } else { String::new() };
    sheet.field("Size", format!("{}{members}, {}", size(point.content.stream_len), count(numbers.chunks, "chunk")));
    sheet.field("New", format!("{}, {}", size(numbers.new_bytes), count(numbers.new_chunks, "chunk")));
    sheet.field("Added", format!("{} to the repository", size(numbers.stored_bytes)));
    sheet.fields(
        "Snapshots",
        snapshots.iter().map(|snapshot| {
            let created = snapshot.created.map_or_else(String::new, |moment| format!("  made {}", second(moment)));
            let expires = snapshot.expires.map_or_else(String::new, |moment| format!("  expires {}", second(moment)));
            format!("{}{created}{expires}", snapshot.name)
        }),
    );
    sheet.fields(
        "Set",
        set.iter().map(|member| match member.point {
            Some(id) => format!("with {}, point {}", member.source, id.short()),
            None => format!("without {}: the run made no point of it, or it was forgotten", member.source),
        }),
    );
    sheet.fields("Remarks", point.remarks.iter().cloned());
    sheet.field("Stream", format!("XXH3-128 {:032x}", point.content.stream_xxh3));
    sheet.field("Recipe", format!("BLAKE3 {}", hex(&point.content.recipe_digest)));
    if verbose {
        sheet.fields("Packs", point.content.packs.iter().map(ToString::to_string));
    } else {
        sheet.field("Packs", point.content.packs.len().to_string());
    }
    sheet
}

fn details(
    summary: json::Point,
    point: &Point,
    snapshots: &[Snapshot],
    set: Vec<json::SetMember>,
) -> json::PointDetails {
    let text = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
    json::PointDetails {
        point: summary,
        run: point.run.to_string(),
        host: point.host.clone(),
        daemon: point.server.as_ref().map(|server| json::Daemon {
            id: server.id.to_string(),
            flavor: server.flavor.clone(),
            version: server.version.clone(),
            certificate: server.fingerprint.clone(),
        }),
        original: point.original.as_ref().map(|original| json::Original {
            codec: original.codec.clone(),
            bytes: original.len,
            blake3: hex(&original.digest),
        }),
        remarks: point.remarks.clone(),
        set,
        snapshots: snapshots
            .iter()
            .map(|snapshot| json::Snapshot {
                name: snapshot.name.clone(),
                created: text(snapshot.created),
                expires: text(snapshot.expires),
            })
            .collect(),
        description: serde_json::from_str(&point.description).ok(),
        members: point.statistics.members,
        chunks: point.statistics.chunks,
        new_chunks: point.statistics.new_chunks,
        recipe_blake3: hex(&point.content.recipe_digest),
        stream_xxh3_128: format!("{:032x}", point.content.stream_xxh3),
        packs: point.content.packs.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_read_from_what_a_daemon_says() {
        let text = concat!(
            r#"{"snapshots":[{"name":"a","created_at":"2026-11-20T03:00:00Z","#,
            r#""expires_at":"0001-01-01T00:00:00Z"},"b",3]}"#
        );
        let found = snapshots(text);
        assert_eq!(found.iter().map(|snapshot| snapshot.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(found[0].created.is_some() && found[0].expires.is_none());
        assert!(snapshots("").is_empty() && snapshots("[]").is_empty() && snapshots("{").is_empty());
    }
}
