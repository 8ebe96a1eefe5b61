//! Exports that are rewritten on their way to another place: what comes out is a whole export, whatever went in.

use holdall::backup::{Acceptor, Padding};
use holdall::daemon::Flavor;
use holdall::restore::{Maps, Selection, Trial, rewritten};
use holdall::tar::Splitter;

use super::choice;
use super::streams::{SEPARATOR, add};
use super::tars::mend_checksums;

/// Rewrites an export. The first byte chooses what is made of it, and whether the rest is an archive or, as for
/// [`super::accept`], an index and paths; a path that is followed by a colon is that of a file with something in it.
pub fn rewrite(data: &[u8]) {
    let (chosen, data) = choice(data);
    let stream = if chosen & 1 == 0 { made(data) } else { mended(data) };
    let flavor = if chosen & 2 == 0 { Flavor::Lxd } else { Flavor::Incus };
    let mut trial = Trial {
        selection: match chosen >> 2 & 3 {
            0 => Selection::Whole,
            1 => Selection::Promoted("s0".to_owned()),
            2 => Selection::NoSnapshots,
            _ => Selection::Snapshot("s0".to_owned()),
        },
        maps: Maps { networks: [("br0".to_owned(), "lxdbr0".to_owned())].into(), ..Maps::default() },
        without_devices: ["data".to_owned()].into(),
        fresh_identity: chosen & 16 != 0,
        pieces: Vec::new(),
    };
    let Ok(whole) = rewritten(&stream, flavor, &trial) else { return };
    for pieces in [vec![511, 1], vec![4096 + usize::from(chosen), 5]] {
        trial.pieces = pieces;
        assert!(rewritten(&stream, flavor, &trial).as_ref() == Ok(&whole), "pieces matter");
    }
    let (mut splitter, mut acceptor) = (Splitter::new(), Acceptor::new());
    let mut sink = |event: holdall::tar::Event<'_>| {
        acceptor.event(&event);
        Ok::<(), ()>(())
    };
    splitter.push(&whole, &mut sink).expect("the sink takes everything");
    let ending = splitter.finish(&mut sink).expect("the sink takes everything");
    assert!(matches!(ending, holdall::tar::Ending::Complete { trailing_zeros: 0, .. }), "it ends with {ending:?}");
    // What its members should be is for the daemon to say; that it has an index is not.
    let verdict = acceptor.verdict(&ending, Padding::Forbidden);
    assert!(!matches!(verdict, Err(holdall::backup::Rejection::NoIndex)));
    trial.selection = Selection::Whole;
    trial.fresh_identity = false;
    trial.pieces = Vec::new();
    assert!(rewritten(&whole, flavor, &trial).as_ref() == Ok(&whole), "what was rewritten is rewritten again");
}

fn made(data: &[u8]) -> Vec<u8> {
    let mut parts = data.splitn(2, |byte| *byte == SEPARATOR);
    let mut stream = Vec::new();
    add(&mut stream, b"backup/index.yaml", parts.next().unwrap_or_default());
    for path in parts.next().unwrap_or_default().split(|byte| *byte == b'\n').filter(|path| !path.is_empty()) {
        match path.strip_suffix(b":") {
            Some(path) => add(&mut stream, path, &path.repeat(1 + 5000 / path.len().max(1) * (path.len() & 1))),
            None => add(&mut stream, path, b""),
        }
    }
    stream.resize(stream.len() + 1024, 0);
    stream
}

fn mended(data: &[u8]) -> Vec<u8> {
    let mut stream = data.to_vec();
    mend_checksums(&mut stream);
    stream
}
