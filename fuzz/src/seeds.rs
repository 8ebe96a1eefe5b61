//! What fuzzing starts from: one valid form of everything, from the vectors of the specification and made here.

use std::fs;
use std::path::Path;

use holdall::clock::Timestamp;
use holdall::codec::Encoder;
use holdall::compress::{Level, compress};
use holdall::crypto::KeyFile;
use holdall::daemon::answers::Question;
use holdall::id::{ChunkId, NoteId, PackId, PointId, RepositoryId, RunId, ServerId};
use holdall::index::rows::{Statement, encode_mark, head_bytes, place};
use holdall::pack::{Directory, Frame, PackKind, PackedChunk, Segment, SegmentPack, Trailer, make_parity};
use holdall::point::{Consistency, Content, Original, Point, ServerRecord, Statistics, StreamForm};
use holdall::recipe::{ChunkRef, Part, Step, TableRow};
use holdall::repo::{Condemned, Config, Note, NoteFact, Parity, RunRecord, SessionRecord, encode_point_body};
use holdall::source::{Selector, Source};

/// Inputs by target. The vectors are the directory `format-spec/vectors`.
pub fn seeds(vectors: &Path) -> Seeds {
    let mut seeds = Vec::new();
    tars(&mut seeds);
    records(&mut seeds);
    sealed(&mut seeds, vectors);
    texts(&mut seeds);
    exports(&mut seeds);
    answers(&mut seeds);
    codecs(&mut seeds);
    rows(&mut seeds);
    rebuilds(&mut seeds);
    seeds
}

/// Targets and inputs.
pub type Seeds = Vec<(&'static str, Vec<u8>)>;

fn with(chosen: u8, bytes: &[u8]) -> Vec<u8> {
    [&[chosen], bytes].concat()
}

fn header(kind: u8, path: &str, size: usize) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size as u64);
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.as_mut_bytes()[156] = kind;
    header.set_mode(0o644);
    header.set_cksum();
    header
}

fn member(kind: u8, path: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, path, content.len()).as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let len =
        (1..=20).map(|digits| rest + digits).find(|len| len.to_string().len() + rest == *len).expect("there is one");
    [format!("{len} {key}=").as_bytes(), value, b"\n"].concat()
}

fn tars(seeds: &mut Seeds) {
    let pax = [
        record("path", b"a/long/path"),
        record("size", b"700"),
        record("mtime", b"-12.75"),
        record("uid", b"4294967296"),
        record("linkpath", b"to"),
        record("SCHILY.xattr.security.capability", b"\x01\n\x00="),
        record("SCHILY.devmajor", b"8"),
    ];
    for records in &pax {
        seeds.push(("pax", with(0, records)));
    }
    seeds.push(("pax", with(0, &pax.concat())));
    seeds.push(("pax", with(1, &pax[1..3].concat())));
    seeds.push(("pax", with(2, b"a/very/long/name\0")));
    seeds.push(("pax", with(3, b"a/link")));
    seeds.push(("pax", with(0, b"12 a=b\n6 c=d\n")));
    let sparse = [record("GNU.sparse.major", b"1"), record("GNU.sparse.name", b"real")].concat();
    seeds.push(("pax", with(0, &sparse)));

    let end = vec![0; 1024];
    let content = |len| vec![b'x'; len];
    let long = [member(b'x', "pax", &pax.concat()), member(b'0', "file", &content(700))].concat();
    let links =
        [member(b'5', "dir/", b""), member(b'1', "hard", b""), member(b'2', "soft", b""), member(b'3', "dev", b"")];
    let gnu = [member(b'L', "long", b"name\0"), member(b'K', "link", b"to\0"), member(b'2', "l", b"")].concat();
    let mut map = member(b'S', "old-sparse", b"");
    map[482] = 1;
    for chosen in [1, 3, 0x45] {
        seeds.push(("splitter", with(chosen, &[member(b'0', "small", b"text"), end.clone()].concat())));
        seeds.push(("splitter", with(chosen, &[member(b'0', "large", &content(600)), end.clone()].concat())));
        seeds.push(("splitter", with(chosen, &[long.clone(), end.clone()].concat())));
        seeds.push(("splitter", with(chosen, &[links.concat(), end.clone()].concat())));
    }
    seeds.push(("splitter", with(1, &[gnu, end.clone()].concat())));
    seeds.push(("splitter", with(1, &[member(b'g', "global", &pax[1]), member(b'0', "f", &content(700))].concat())));
    seeds.push(("splitter", with(1, &[map, vec![0; 512], member(b'0', "next", b"x"), end.clone()].concat())));
    seeds.push(("splitter", with(1, &[member(b'0', "a", b"b"), end.clone(), content(600)].concat())));
    seeds.push(("splitter", with(3, &[member(b'0', "holes", &[content(10), vec![0; 600]].concat()), end].concat())));
    seeds.push(("splitter", with(0, &content(2000))));

    for (kind, path) in [(b'0', "file"), (b'5', "dir/"), (b'x', "pax"), (b'S', "sparse"), (b'3', "dev"), (0, "v7/")] {
        seeds.push(("header", with(1, header(kind, path, 700).as_bytes())));
    }
    let mut large = header(b'0', "large", 0);
    large.set_size(1 << 40);
    large.set_mtime(u64::MAX >> 8);
    large.set_uid(1 << 40);
    seeds.push(("header", with(1, large.as_bytes())));
    seeds.push(("header", with(0, header(b'0', "checksum", 1).as_bytes())));
}

fn time(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros).expect("it is in range")
}

fn directory() -> Directory {
    let chunk = |n: u8, len| PackedChunk { id: ChunkId::from_bytes([n; 32]), len };
    let frames = vec![
        Frame { sealed_len: 5000, chunks: vec![chunk(1, 1000), chunk(2, 100_000)] },
        Frame { sealed_len: 17, chunks: vec![chunk(3, 1)] },
    ];
    Directory { kind: PackKind::Data, run: RunId::from_bytes([4; 32]), frames_offset: 144, frames }
}

fn points() -> Vec<Point> {
    let point = Point {
        run: RunId::from_bytes([1; 32]),
        source: Source::instance("host", "lab", "web1"),
        server: Some(ServerRecord {
            id: ServerId::from_bytes([2; 32]),
            flavor: "lxd".into(),
            version: "5.0.2".into(),
            fingerprint: "ab".into(),
        }),
        host: "backup-host".into(),
        started: time(5),
        ended: time(6),
        form: StreamForm::Export { optimized: false },
        original: Some(Original { codec: "gzip".into(), len: 9, digest: [3; 32] }),
        consistency: Consistency::CrashConsistent,
        remarks: vec!["A snapshot appeared".into()],
        set: vec![Source::volume("host", "lab", "default", "data")],
        description: "{}".into(),
        content: Content {
            stream_len: 1 << 40,
            stream_xxh3: 7,
            recipe_digest: [4; 32],
            table: vec![ChunkRef { id: ChunkId::from_bytes([5; 32]), len: 100 }],
            packs: [6, 7, 8].map(|n| PackId::from_bytes([n; 32])).to_vec(),
        },
        statistics: Statistics { members: 1, chunks: 2, new_chunks: 3, new_bytes: 4, stored_bytes: 5 },
    };
    let mut file = point.clone();
    file.source = Source::file("name");
    (file.server, file.original, file.form) = (None, None, StreamForm::File);
    (file.remarks, file.content.table, file.content.packs) = (Vec::new(), Vec::new(), Vec::new());
    vec![point, file]
}

fn records(seeds: &mut Seeds) {
    let encoded = |encode: &dyn Fn(&mut Encoder)| {
        let mut out = Encoder::new();
        encode(&mut out);
        out.finish()
    };
    let bytes = encoded(&|out| directory().encode(out));
    seeds.push(("directory", with(0, &bytes)));
    seeds.push(("directory", with(0, &[&bytes[..], &[0; 100]].concat())));
    let pack = SegmentPack { id: PackId::from_bytes([1; 32]), bytes: 70_000, directory: directory() };
    seeds.push(("directory", with(1, &Segment { packs: vec![pack.clone(), pack] }.encode())));
    seeds.push(("directory", with(1, &Segment::default().encode())));

    let chunk = |n: u8, len| ChunkRef { id: ChunkId::from_bytes([n; 32]), len };
    let steps = vec![Step::Envelope(512), Step::Chunk(chunk(1, 70_000)), Step::Zeros(1 << 30), Step::Envelope(1024)];
    let part = Part { lead: 0, envelope: vec![chunk(2, 1000), chunk(3, 536)], steps };
    seeds.push(("recipe", with(0, &part.encode())));
    seeds.push(("recipe", with(0, &Part { lead: 5, envelope: vec![], steps: vec![Step::Zeros(7)] }.encode())));
    let row = TableRow { part: chunk(4, 4096), stream_len: 1 << 33, envelope_len: 9000, first_path: b"etc/".to_vec() };
    seeds.push(("recipe", with(1, &encoded(&|out| (0..3).for_each(|_| row.encode(out))))));
    seeds.push(("recipe", with(2, &(0..=255).collect::<Vec<u8>>())));
    seeds.push(("recipe", with(2, &[0, 0, 2, 9, 3, 200, 6, 1, 6, 2, 5, 5, 3, 1].repeat(40))));

    for point in points() {
        seeds.push(("point", with(0, &point.encode())));
        seeds.push(("point", with(0, &encode_point_body(&point).expect("it can be stored"))));
        seeds.push(("point", with(1, &encoded(&|out| point.source.encode(out)))));
    }
    for text in ["volume:lab/fast/data", "bucket:fast/data", "image:abcdef", "directory:", "server:"] {
        let source = text.parse::<Selector>().expect("it names a source").on("host");
        seeds.push(("point", with(1, &encoded(&|out| source.encode(out)))));
    }

    seeds.push(("record", with(0, &Config::new(time(1), 60, Parity::ReedSolomon).encode())));
    let session = SessionRecord {
        run: RunId::from_bytes([5; 32]),
        host: "host".into(),
        boot: "0a0b".into(),
        process: 4711,
        process_start: 1 << 20,
        started: time(3),
    };
    seeds.push(("record", with(1, &session.encode())));
    seeds.push(("record", with(2, &Condemned { packs: vec![PackId::from_bytes([6; 32]); 3] }.encode())));
    let web1 = Source::instance("host", "lab", "web1");
    let run = RunRecord {
        run: RunId::from_bytes([2; 32]),
        server: "host".into(),
        whole: true,
        started: time(1),
        succeeded: 3,
        failed: vec![(web1.clone(), "It vanished".to_owned())],
        left_out: vec![Source::volume("host", "lab", "default", "scratch")],
    };
    for fact in [
        NoteFact::Server { name: "host".into(), id: ServerId::from_bytes([1; 32]), fingerprint: "ab".into() },
        NoteFact::Run(run),
        NoteFact::DamagedPack { pack: PackId::from_bytes([3; 32]) },
        NoteFact::Retired { source: web1.clone(), retired: true },
        NoteFact::Renamed { from: web1.clone(), to: web1, points: vec![PointId::from_bytes([7; 32])] },
    ] {
        let note = Note { supersedes: vec![NoteId::from_bytes([4; 32])], written: time(9), fact };
        seeds.push(("record", with(3, &note.encode())));
    }

    for plain in [&b""[..], b"a", &[7; 300], b"All that glitters is not gold. ".repeat(20).as_slice()] {
        let len = u16::try_from(plain.len()).expect("it is short").to_be_bytes();
        let packed = compress(plain.to_vec(), Level::DEFAULT).expect("there is memory");
        seeds.push(("frame", [&len[..], &packed].concat()));
        seeds.push(("frame", [&len[..], plain, &[0]].concat()));
    }
}

/// Every object of the vectors as it is, and recipes for changes to objects that the target makes itself.
fn sealed(seeds: &mut Seeds, vectors: &Path) {
    const AS_IT_IS: u8 = 0x80;
    for (file, target, most) in [("objects", "object", 20), ("packs", "pack", 8), ("slots", "keyslot", 12)] {
        let text = fs::read_to_string(vectors.join(format!("keys/{file}.json"))).expect("the vectors are there");
        let hex =
            ["\"stored\": \"", "\"header\": \""].map(|field| text.split(field).skip(1).collect::<Vec<_>>()).concat();
        let step = hex.len().div_ceil(most).max(1);
        for digits in hex.iter().step_by(step) {
            let digits = digits.split('"').next().unwrap_or_default().as_bytes();
            let byte = |pair: &[u8; 2]| str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
            let bytes: Vec<u8> = digits.as_chunks::<2>().0.iter().map_while(byte).collect();
            let unchanged: &[u8] = if target == "keyslot" { &[0] } else { &[] };
            seeds.push((target, with(AS_IT_IS, &[unchanged, &bytes].concat())));
        }
    }
    let change = |kind: u8, at: u16, value: u8| {
        let [high, low] = at.to_be_bytes();
        [kind, high, low, value]
    };
    let none = [0].to_vec();
    let flip = [&[1][..], &change(0, 100, 1)].concat();
    let cut = [&[1][..], &change(2, 120, 0)].concat();
    let longer = [&[1][..], &change(3, 50, 0)].concat();
    let both = [&[2][..], &change(0, 20, 1), &change(0, 130, 1)].concat();
    for chosen in 0..14 {
        let changes = [&none, &flip, &cut, &longer, &both][usize::from(chosen) % 5];
        seeds.push(("object", with(chosen, &[&changes[..], b"what a writer has to say"].concat())));
    }
    for (chosen, changes) in (0..).zip([&none, &flip, &cut, &longer, &both, &none]) {
        seeds.push(("pack", with(chosen, &[&changes[..], b"contents of a frame"].concat())));
        seeds.push(("keyslot", with(chosen, &[&changes[..], b"label"].concat())));
    }
    for (chosen, changes) in (0..).step_by(9).zip([&none, &flip, &cut, &longer, &both]) {
        seeds.push(("parity", with(chosen, &[&changes[..], &(0..=255).collect::<Vec<u8>>()].concat())));
    }
    for protected in [1, 300, 5000] {
        let trailer = Trailer { directory_offset: protected - 1, directory_len: 1, parity_len: 0 };
        let body = vec![7; protected as usize];
        let parity = make_parity(&[&body], &trailer).expect("it can be made");
        seeds.push(("parity", with(AS_IT_IS, &[&body[..], &parity].concat())));
        seeds.push(("parity", with(AS_IT_IS, &parity)));
    }
    let trailer = Trailer { directory_offset: 1000, directory_len: 50, parity_len: 7 };
    seeds.push(("pack", [&[AS_IT_IS, 0, 0, 4, 53][..], &trailer.encode()].concat()));
}

fn texts(seeds: &mut Seeds) {
    for text in [
        "web1",
        "lab/web1",
        "host//lab/web1",
        "volume:lab/fast/data",
        "bucket:fast/data",
        "image:abcdef",
        "file:some//odd: name",
        "directory:",
        "server:@latest",
        "web1@latest",
        "web1@2026-11-20",
        "web1@2026-11-20T03:00",
        "web1@2026-11-20T03:00:00Z",
        "0123456789abcdef",
        "packs/0/00",
        "points",
    ] {
        seeds.push(("name", text.into()));
    }
    let id = PackId::from_bytes([0xab; 32]).to_string();
    seeds.push(("name", format!("packs/a/{id}").into()));
    seeds.push(("name", id.into()));
    for secret in [[7; 32], [0; 32], [0xff; 32]] {
        let key = KeyFile::fixed(secret);
        seeds.push(("key_file", key.to_text().as_bytes().to_vec()));
        seeds.push(("key_file", key.to_words().as_bytes().to_vec()));
        seeds.push(("key_file", key.to_words().replace(' ', "-\n").into()));
    }
    seeds.push(("key_file", b"holdall-key-2 00\n".to_vec()));
}

fn exports(seeds: &mut Seeds) {
    let container = "name: web1\nbackend: dir\npool: default\noptimized: false\nsnapshots:\n- s0\ntype: container\n\
                     config:\n  container:\n    project: lab\n";
    let volume = "name: data\npool: fast\ntype: custom\nconfig:\n  volume:\n    content_type: block\n";
    let optimized = "name: web1\npool: p\noptimized: true\noptimized_header: true\nsnapshots: [s0]\ntype: container\n";
    let streams = "subvolumes:\n- path: /\n  snapshot: s0\n- path: /a-b/c\n  snapshot: \"\"\n";
    for (index, header, paths) in [
        (container, "", "backup/container\nbackup/container/rootfs/etc\nbackup/snapshots/s0"),
        (container, "", "backup/container"),
        ("name: vm\ntype: virtual-machine\n", "", "backup/virtual-machine\nbackup/virtual-machine.img"),
        (volume, "", "backup/volume.img"),
        ("name: b\ntype: bucket\nsnapshots: ~\n", "", "backup/bucket/x"),
        (optimized, streams, "backup/container.bin\nbackup/snapshots/s0.bin\nbackup/container_a--b-c.bin"),
        ("name: [1, &a 2, *a]\n", "", ""),
        ("{name: x, type: odd}", "", ""),
    ] {
        seeds.push(("accept", [index.as_bytes(), header.as_bytes(), paths.as_bytes()].join(&0xff)));
    }
    rewrites(seeds);
    let export = [
        member(b'0', "backup/index.yaml", container.as_bytes()),
        member(b'5', "backup/container/", b""),
        member(b'5', "backup/snapshots/s0/", b""),
        vec![0; 1024],
    ]
    .concat();
    seeds.push(("import", export.clone()));
    seeds.push(("import", Vec::new()));
    seeds.push(("import", b"any bytes".to_vec()));
    seeds.push(("import", [b"\x1f\x8b\x08\0\0\0\0\0\0\0".to_vec(), export.clone()].concat()));
    seeds.push(("import", b"\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00".to_vec()));
    seeds.push(("import", b"\xfd7zXZ\0\0\x04".to_vec()));
    seeds.push(("import", [export, vec![0; 9000]].concat()));
}

/// Exports that are rewritten: every choice of what is made of them.
fn rewrites(seeds: &mut Seeds) {
    let container = "name: web1\npool: fast\nsnapshots:\n- s0\n- s1\nconfig:\n  container:\n    config:\n      \
                     volatile.uuid: u\n      volatile.eth0.hwaddr: m\n      oci.cwd: \"0\"\n      user.a: 'no'\n    \
                     devices:\n      data: {type: disk, pool: p, source: v}\n      eth0: {type: nic, network: \
                     br0}\n    profiles:\n    - default\n  snapshots:\n  - name: s0\n    config: {user.a: \
                     then}\n  - {name: s1}\n";
    let version_2 = "name: web1\ntype: virtual-machine\nsnapshots: [s0]\nconfig:\n  version: 2\n  instance: {config: \
                     {}}\n  pools: [{name: p}]\n  volumes: [{name: web1, snapshots: [{name: s0}]}]\n";
    let volume = "{name: v, type: custom, snapshots: [s0], config: {volume: {config: {}}, volume_snapshots: [{name: \
                  v/s0, config: {size: 1GiB}}]}}";
    let trees = [
        (container, "backup/snapshots/s0\nbackup/snapshots/s0/rootfs/a:\nbackup/container\nbackup/container/b:"),
        (version_2, "backup/virtual-machine-snapshots/s0.img:\nbackup/virtual-machine\nbackup/virtual-machine.img:"),
        (volume, "backup/volume-snapshots/s0/f:\nbackup/volume.img:"),
    ];
    for (index, paths) in trees {
        for chosen in [0x10, 0x02, 0x08, 0x1e] {
            let made = [index.as_bytes(), paths.as_bytes()].join(&0xff);
            seeds.push(("rewrite", with(chosen, &made)));
        }
    }
    let archive = [
        member(b'0', "backup/index.yaml", container.as_bytes()),
        member(b'5', "backup/snapshots/s0", b""),
        member(b'x', "PaxHeaders.0/x", &record("path", b"backup/snapshots/s0/\xff")),
        member(b'0', "x", b"content"),
        member(b'1', "backup/snapshots/s0/hard", b""),
        member(b'5', "backup/container", b""),
        vec![0; 1024],
    ]
    .concat();
    for chosen in [0x01, 0x09, 0x0d] {
        seeds.push(("rewrite", with(chosen, &archive)));
    }
}

/// One answer to each question, as daemons give them, and what else may stand in its place.
fn answers(seeds: &mut Seeds) {
    let instance = r#"{"name":"web1","type":"container","status":"Running","profiles":["default"],
        "created_at":"2026-11-20T08:53:37Z","config":{"volatile.uuid":"u","volatile.eth0.hwaddr":"00:16"},
        "devices":null,"ephemeral":false,"expanded_devices":{"root":{"type":"disk","path":"/","pool":"default"},
        "eth0":{"type":"nic","parent":"br0"}},
        "snapshots":[{"name":"web1/s0","expires_at":"0001-01-01T00:00:00Z","stateful":true}]}"#;
    let operation = r#"{"id":"a-1","description":"Backing up instance","status":"Running","status_code":103,"err":"",
        "metadata":{"create_backup_progress":"1%"},"resources":{"backups":["/1.0/backups/b"],
        "instances":["/1.0/instances/web1?project=lab"]}}"#;
    for (number, question) in (0..).zip(Question::ALL) {
        let metadata = match question {
            Question::Server => {
                "{\"api_extensions\":[\"direct_backup\"],\"auth\":\"trusted\",\"config\":{\"a\":1.5},\"environment\":\
                 {\"server\":\"incus\",\"server_version\":\"7.0\",\"server_name\":\"lab\",\"server_clustered\":false,\
                 \"server_pid\":7,\"certificate_fingerprint\":\"ab\"}}"
                    .to_owned()
            }
            Question::Projects => "[{\"name\":\"default\",\"config\":{\"features.images\":\"true\"}}]".to_owned(),
            Question::Instances => format!("[{instance},{instance}]"),
            Question::Instance | Question::Change => instance.to_owned(),
            Question::Snapshots | Question::Backups => "[{\"name\":\"web1/s0\",\"created_at\":\"x\"}]".to_owned(),
            Question::Pools => "[{\"name\":\"default\",\"driver\":\"zfs\"}]".to_owned(),
            Question::Profiles => "[{\"name\":\"p\",\"devices\":{\"root\":{\"path\":\"/\"}}}]".to_owned(),
            Question::Networks => "[{\"name\":\"br0\",\"type\":\"bridge\",\"managed\":true}]".to_owned(),
            Question::Operation => operation.to_owned(),
            Question::Operations => format!("{{\"running\":[{operation}],\"success\":null}}"),
            Question::Resources => "{\"space\":{\"used\":5,\"total\":9}}".to_owned(),
            Question::Start => "null".to_owned(),
        };
        let sync = format!("{{\"type\":\"sync\",\"status_code\":200,\"metadata\":{metadata}}}");
        seeds.push(("answer", with(number, sync.as_bytes())));
        let started = format!("{{\"type\":\"async\",\"operation\":\"/1.0/operations/a-1\",\"metadata\":{metadata}}}");
        seeds.push(("answer", with(0x20 | number, started.as_bytes())));
    }
    let refused = b"{\"type\":\"error\",\"error\":\"No space left\\n\\u001b[0m\",\"error_code\":507}";
    seeds.push(("answer", with(0x80, refused)));
    seeds.push(("answer", with(0x40, b"<html>Not Found</html>")));
    let failed = b"{\"type\":\"sync\",\"metadata\":{\"status\":\"Failure\",\"status_code\":400,\"err\":\"It failed\"}}";
    seeds.push(("answer", with(9, failed)));
}

fn codecs(seeds: &mut Seeds) {
    let text = b"All that glitters is not gold. ".repeat(8);
    for chosen in [1, 2, 3, 0x81, 0x82, 0x83] {
        seeds.push(("codec", with(chosen, &text)));
    }
    seeds.push(("codec", with(0, &text)));
    seeds.push(("codec", with(0, b"\x1f\x8b\x08\x1f\0\0\0\0\0\x03\x02\0ab")));
    seeds.push(("codec", with(0, &zstd_of(&text))));
    // A frame that asks for a window of two gigabytes, and a block header of xz for a dictionary of four.
    seeds.push(("codec", with(0, b"\x28\xb5\x2f\xfd\0\xa8\x01\0\0")));
    seeds.push(("codec", with(0, b"\xfd7zXZ\0\0\x01\x69\x22\xde\x36\x02\0\x21\x01\x28\0\0\0\xe6\xa0\x11\xb3")));
}

fn zstd_of(plain: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(plain, 1).expect("there is memory")
}

fn rows(seeds: &mut Seeds) {
    let pack = SegmentPack { id: PackId::from_bytes([1; 32]), bytes: 70_000, directory: directory() };
    let statement = Statement::of(&pack);
    seeds.push(("index_row", with(0, &encode_mark(&[(1, statement), (7, statement)]))));
    seeds.push(("index_row", with(0, &encode_mark(&[]))));
    for chosen in [1, 4] {
        seeds.push(("index_row", with(chosen, &head_bytes(RepositoryId::from_bytes([chosen; 32])))));
    }
    let places: Vec<_> = (0..).zip(directory().locations()).map(|(number, (_, at))| place(number, &at)).collect();
    for chosen in [2, 2 + 3 * 7, 2 + 3 * 14, 2 + 3 * 5] {
        seeds.push(("index_row", with(chosen, &places.concat())));
    }
}

/// Recipes of a few parts: honest ones, and one of each lie.
fn rebuilds(seeds: &mut Seeds) {
    // Two parts: chunks, envelope, zeros, and the first chunk again.
    let part = [&[5, 0, 200, 9, 4, 65, 12, 0, 0, 3, 6, 255, 0, 1, 201, 99][..], &[100, 0]].concat();
    let honest = [&[2][..], &part, &part, &[0, 0, 10]].concat();
    seeds.push(("rebuild", honest.clone()));
    seeds.push(("rebuild", vec![0]));
    for lie in 251..=255 {
        seeds.push(("rebuild", [&[1][..], &part[..part.len() - 1], &[lie, 3, 0, 0, 10]].concat()));
    }
    for kind in 0..4 {
        let step = [&[1, 2, 0, 200, 9, 7, 0, 0][..], &[kind, 5, 1, 0, 0, 0, 0, 10]].concat();
        seeds.push(("rebuild", step));
    }
    for (lie, amount) in [(254, 7), (255, 7), (253, 0), (253, 1), (253, 2), (253, 3)] {
        seeds.push(("rebuild", [&[1][..], &part, &[lie, amount, 10]].concat()));
    }
}
