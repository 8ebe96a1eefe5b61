//! `restore`: a point goes back into the daemon.

use std::collections::BTreeMap;

use holdall::clock::{Clock, SystemClock};
use holdall::repo::Catalog;
use holdall::restore::{self, Conflict, IdentityChoice, Lost, Maps, RestoreTarget, Selection};
use holdall::source::SourceKind;

use crate::args::{Renaming, Restore};
use crate::command::export::{holes, verified};
use crate::config::Settings;
use crate::daemon::connect;
use crate::error::{CliError, Code};
use crate::interrupt;
use crate::json;
use crate::open::{open, tell_mended};
use crate::output::{Output, plain};
use crate::progress::{Problems, Progress};
use crate::table::size;

pub fn run(args: Restore, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let spec = args.point.clone();
    let target = target(args)?;
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    let (id, point) = catalog.find(&spec)?;
    let label = format!("{} ({})", point.source, id.short());
    let daemon = connect(settings)?;
    let working = interrupt::working();
    let restored = restore::restore(&repository, &daemon, &label, point, &target, &progress)?;
    drop(working);
    progress.clear();
    tell_mended(&repository, output);

    let object = json::Restored {
        point: id.to_string(),
        source: point.source.to_string(),
        project: &restored.project,
        name: &restored.name,
        bytes: restored.bytes,
        replaced: restored.replaced,
        remarks: &restored.remarks,
        holes: restored.holes,
    };
    let outcome = match (&point.source.kind, restored.replaced) {
        (_, true) => "; it replaced the old one and is stopped",
        (SourceKind::Instance { .. }, false) => "; it is stopped",
        _ => "",
    };
    output.result(&object, || {
        let mut text = format!(
            "Restored {} as {} in project {}: {}, {}{}",
            plain(&label),
            plain(&restored.name),
            plain(&restored.project),
            size(restored.bytes),
            verified(restored.holes),
            outcome
        );
        for remark in &restored.remarks {
            text.push_str("\n  ");
            text.push_str(&plain(remark));
        }
        text
    })?;
    holes(restored.holes)
}

/// What was asked for.
fn target(args: Restore) -> Result<RestoreTarget, CliError> {
    let maps = Maps {
        networks: map("--map-network", args.map_network)?,
        profiles: map("--map-profile", args.map_profile)?,
        pools: map("--map-pool", args.map_pool)?,
    };
    Ok(RestoreTarget {
        now: Some(SystemClock.now()),
        name: args.name,
        project: args.project,
        pool: args.pool,
        member: args.member,
        selection: match args.snapshot {
            Some(snapshot) => Selection::Snapshot(snapshot),
            None if args.no_snapshots => Selection::NoSnapshots,
            None => Selection::Whole,
        },
        maps,
        without_devices: args.without_device.into_iter().collect(),
        identity: if args.fresh_identity { IdentityChoice::Fresh } else { IdentityChoice::AsNeeded },
        lost: if args.around_holes { Lost::GoAround } else { Lost::Refuse },
        conflict: if args.replace { Conflict::Replace } else { Conflict::Refuse },
    })
}

fn map(option: &str, renamings: Vec<Renaming>) -> Result<BTreeMap<String, String>, CliError> {
    let mut map = BTreeMap::new();
    for Renaming { from, to } in renamings {
        if let Some(other) = map.insert(from.clone(), to.clone())
            && other != to
        {
            let line = format!("{option} says that {from} is {other}, and that it is {to}");
            return Err(CliError::new(Code::Usage, line).hint("say one of them"));
        }
    }
    Ok(map)
}
