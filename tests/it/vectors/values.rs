//! What decoded structures look like in the vectors: the field names of the specification.

use holdall::chunk::ChunkParams;
use holdall::clock::Timestamp;
use holdall::id::PackId;
use holdall::pack::{Directory, PackKind, Segment, Trailer};
use holdall::point::{Consistency, Point, StreamForm};
use holdall::recipe::{ChunkRef, Part, Step, TableRow};
use holdall::repo::{Condemned, Config, Note, NoteFact, Parity, SessionRecord};
use holdall::source::{Source, SourceKind};
use serde_json::{Value, json};

use super::hex;

pub fn chunk(chunk: &ChunkRef) -> Value {
    json!({ "len": chunk.len, "id": chunk.id.to_string() })
}

pub fn part(part: &Part) -> Value {
    let step = |step: &Step| match step {
        Step::Envelope(len) => json!({ "envelope": len }),
        Step::Zeros(len) => json!({ "zeros": len }),
        Step::Chunk(of) => json!({ "chunk": chunk(of) }),
    };
    json!({
        "lead": part.lead,
        "envelope": part.envelope.iter().map(chunk).collect::<Vec<_>>(),
        "steps": part.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

pub fn row(row: &TableRow) -> Value {
    json!({ "part": chunk(&row.part), "stream_len": row.stream_len, "envelope_len": row.envelope_len,
            "first_path": hex(&row.first_path) })
}

pub fn directory(directory: &Directory) -> Value {
    let kind = match directory.kind {
        PackKind::Data => "data",
        PackKind::Meta => "meta",
    };
    let frames = directory.frames.iter().map(|frame| {
        let chunks = frame.chunks.iter().map(|chunk| json!({ "len": chunk.len, "id": chunk.id.to_string() }));
        json!({ "sealed_len": frame.sealed_len, "chunks": chunks.collect::<Vec<_>>() })
    });
    json!({ "kind": kind, "run": directory.run.to_string(), "frames_offset": directory.frames_offset,
            "frames": frames.collect::<Vec<_>>() })
}

pub fn trailer(trailer: &Trailer) -> Value {
    json!({ "directory_offset": trailer.directory_offset, "directory_len": trailer.directory_len,
            "parity_len": trailer.parity_len })
}

pub fn segment(segment: &Segment) -> Value {
    let packs = segment
        .packs
        .iter()
        .map(|pack| json!({ "id": pack.id.to_string(), "bytes": pack.bytes, "directory": directory(&pack.directory) }));
    json!({ "packs": packs.collect::<Vec<_>>() })
}

pub fn source(source: &Source) -> Value {
    let kind = match &source.kind {
        SourceKind::Instance { project } => json!({ "instance": { "project": project } }),
        SourceKind::Volume { project, pool, member } => {
            json!({ "volume": { "project": project, "pool": pool, "member": member } })
        }
        SourceKind::Bucket { project, pool, member } => {
            json!({ "bucket": { "project": project, "pool": pool, "member": member } })
        }
        SourceKind::Image { project } => json!({ "image": { "project": project } }),
        SourceKind::File => json!("file"),
        SourceKind::Directory => json!("directory"),
        SourceKind::Server => json!("server"),
    };
    json!({ "kind": kind, "server": source.server, "name": source.name })
}

pub fn point(point: &Point) -> Value {
    let server = point.server.as_ref().map(|server| {
        json!({ "id": server.id.to_string(), "flavor": server.flavor, "version": server.version,
                "fingerprint": server.fingerprint })
    });
    let form = match point.form {
        StreamForm::Export { optimized: false } => "export",
        StreamForm::Export { optimized: true } => "optimized export",
        StreamForm::File => "file",
        StreamForm::Disc => "disc image",
        StreamForm::Image => "image",
        StreamForm::SplitImage => "split image",
    };
    let original = point
        .original
        .as_ref()
        .map(|original| json!({ "codec": original.codec, "len": original.len, "digest": hex(&original.digest) }));
    let (content, numbers) = (&point.content, &point.statistics);
    json!({
        "run": point.run.to_string(),
        "source": source(&point.source),
        "server": server,
        "host": point.host,
        "started": point.started.as_micros(),
        "ended": point.ended.as_micros(),
        "form": form,
        "original": original,
        "consistency": consistency(point.consistency),
        "remarks": point.remarks,
        "set": point.set.iter().map(source).collect::<Vec<_>>(),
        "description": point.description,
        "content": {
            "stream_len": content.stream_len,
            "stream_xxh3": hex(&content.stream_xxh3.to_le_bytes()),
            "recipe_digest": hex(&content.recipe_digest),
            "table": content.table.iter().map(chunk).collect::<Vec<_>>(),
            "packs": content.packs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "statistics": { "members": numbers.members, "chunks": numbers.chunks, "new_chunks": numbers.new_chunks,
                        "new_bytes": numbers.new_bytes, "stored_bytes": numbers.stored_bytes },
    })
}

fn consistency(consistency: Consistency) -> &'static str {
    consistency.word()
}

pub fn config(config: &Config) -> Value {
    let params = |params: ChunkParams| json!({ "min": params.min(), "avg": params.avg(), "max": params.max() });
    json!({ "created": config.created.as_micros(), "payload": params(config.payload),
            "envelope": params(config.envelope), "level": config.level.get(),
            "settle_seconds": config.settle_seconds,
            "parity": if config.parity == Parity::None { "none" } else { "Reed-Solomon" } })
}

pub fn session(session: &SessionRecord) -> Value {
    json!({ "run": session.run.to_string(), "host": session.host, "boot": session.boot, "process": session.process,
            "process_start": session.process_start, "started": session.started.as_micros() })
}

pub fn condemned(condemned: &Condemned) -> Value {
    json!({ "packs": condemned.packs.iter().map(ToString::to_string).collect::<Vec<_>>() })
}

pub fn note(note: &Note) -> Value {
    let fact = match &note.fact {
        NoteFact::Server { name, id, fingerprint } => {
            json!({ "server": { "name": name, "id": id.to_string(), "fingerprint": fingerprint } })
        }
        NoteFact::Run(run) => {
            let failed = run.failed.iter().map(|(of, reason)| json!({ "source": source(of), "reason": reason }));
            json!({ "run": { "run": run.run.to_string(), "server": run.server, "whole": run.whole,
                             "started": run.started.as_micros(), "succeeded": run.succeeded,
                             "failed": failed.collect::<Vec<_>>(),
                             "left_out": run.left_out.iter().map(source).collect::<Vec<_>>() } })
        }
        NoteFact::Retired { source: of, retired } => {
            json!({ "retired": { "source": source(of), "retired": retired } })
        }
        NoteFact::Renamed { from, to, points } => {
            let points: Vec<String> = points.iter().map(ToString::to_string).collect();
            json!({ "renamed": { "from": source(from), "to": source(to), "points": points } })
        }
        NoteFact::Tagged { point, tag, tagged } => {
            json!({ "tagged": { "point": point.to_string(), "tag": tag, "tagged": tagged } })
        }
        NoteFact::Read { rounds } => {
            let round = |(when, packs): &(Timestamp, Vec<PackId>)| {
                let packs: Vec<String> = packs.iter().map(ToString::to_string).collect();
                json!({ "when": when.as_micros(), "packs": packs })
            };
            json!({ "read": rounds.iter().map(round).collect::<Vec<_>>() })
        }
        NoteFact::Lacks { point, chunks } => json!({ "lacks": { "point": point.to_string(), "chunks": chunks } }),
        NoteFact::GivenUp { pieces } => {
            json!({ "given up": pieces.iter().map(ToString::to_string).collect::<Vec<_>>() })
        }
        NoteFact::Pinned { point, pinned } => json!({ "pinned": { "point": point.to_string(), "pinned": pinned } }),
        NoteFact::DamagedPack { pack } => json!({ "damaged pack": { "pack": pack.to_string() } }),
    };
    json!({ "supersedes": note.supersedes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "written": note.written.as_micros(), "fact": fact })
}
