//! `export`: the bytes of a point, verified, into a file or a pipe.

use std::io::{self, BufWriter, IsTerminal, Write};

use holdall::monitor::{Event, Monitor};
use holdall::repo::{Catalog, Repository};
use holdall::restore::{self, Digest, Exported, Lost};

use crate::args::Export;
use crate::config::Settings;
use crate::error::{CliError, Code};
use crate::interrupt;
use crate::json::{self, hex};
use crate::newfile::{Existing, NewFile};
use crate::open::{open, tell_mended};
use crate::output::{Output, is_standard, plain};
use crate::progress::{Problems, Progress};
use crate::table::{count, size};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

pub fn run(args: &Export, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let to_standard = is_standard(&args.file);
    if to_standard && io::stdout().is_terminal() {
        return Err(CliError::new(Code::Usage, "Standard output is a terminal").hint("name a file, or redirect it"));
    }
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    let (id, point) = catalog.find(&args.point)?;
    let label = format!("{} ({})", point.source, id.short());
    progress.event(Event::Started { object: label.clone(), bytes: Some(point.content.stream_len) });

    let working = interrupt::working();
    let export = |out: &mut dyn Write| export(&repository, &label, point, out, args, &progress);
    let exported = if to_standard {
        export(&mut io::stdout().lock())?
    } else {
        let mut file = NewFile::create(&args.file, existing)?;
        let exported = export(&mut file)?;
        file.publish()?;
        exported
    };
    drop(working);
    progress.clear();
    tell_mended(&repository, output);

    let object = json::Exported {
        point: id.to_string(),
        source: point.source.to_string(),
        file: args.file.display().to_string(),
        bytes: exported.bytes,
        blake3: exported.digest.map(|digest| hex(&digest)),
        holes: exported.holes,
    };
    output.result(&object, || {
        let to = if to_standard { "standard output".to_owned() } else { args.file.display().to_string() };
        let digest = exported.digest.map_or_else(String::new, |digest| format!("\nBLAKE3 {}", hex(&digest)));
        let verified = verified(exported.holes);
        format!("Wrote {} to {}: {}, {verified}{digest}", plain(&label), plain(&to), size(exported.bytes))
    })?;
    holes(exported.holes)
}

/// What can be said of something with so many holes.
pub fn verified(holes: u64) -> String {
    match holes {
        0 => "verified".to_owned(),
        holes => format!("with {}", count(holes, "hole")),
    }
}

/// It is not what was backed up, and the exit code says so.
pub fn holes(holes: u64) -> Result<(), CliError> {
    match holes {
        0 => Ok(()),
        holes => {
            let message = format!("{} where content of the point is lost", count(holes, "hole"));
            Err(CliError::new(Code::Damage, message)
                .hint("each is named above; another point of the source may have what is missing"))
        }
    }
}

fn export(
    repository: &Repository,
    label: &str,
    point: &holdall::point::Point,
    out: &mut dyn Write,
    args: &Export,
    progress: &Progress<'_>,
) -> Result<Exported, CliError> {
    let digest = if args.digest { Digest::Blake3 } else { Digest::None };
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, out);
    let lost = if args.around_holes { Lost::GoAround } else { Lost::Refuse };
    Ok(restore::export_around(repository, label, point, &mut buffered, (digest, lost), progress)?)
}
