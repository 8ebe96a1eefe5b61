//! `restore`: a point goes back into the daemon.

use holdall::repo::Catalog;
use holdall::restore::{self, RestoreTarget};

use crate::args::Restore;
use crate::config::Settings;
use crate::daemon::connect;
use crate::error::CliError;
use crate::json;
use crate::open::open;
use crate::output::{Output, plain};
use crate::progress::{Problems, Progress};
use crate::table::size;

pub fn run(args: Restore, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    let (id, point) = catalog.find(&args.point)?;
    let label = format!("{} ({})", point.source, id.short());
    let daemon = connect(settings)?;
    let target = RestoreTarget { name: args.name, project: args.project, pool: args.pool };
    let restored = restore::restore(&repository, &daemon, &label, point, &target, &progress)?;
    progress.clear();

    let object = json::Restored {
        point: id.to_string(),
        source: point.source.to_string(),
        project: &restored.project,
        name: &restored.name,
        bytes: restored.bytes,
        remarks: &restored.remarks,
    };
    output.result(&object, || {
        let mut text = format!(
            "Restored {} as {} in project {}: {}, verified; it is stopped",
            plain(&label),
            plain(&restored.name),
            plain(&restored.project),
            size(restored.bytes)
        );
        for remark in &restored.remarks {
            text.push_str("\n  ");
            text.push_str(&plain(remark));
        }
        text
    })
}
