//! What `import` and `backup` tell of the points that they made.

use holdall::backup::Made;
use holdall::clock::{Clock, SystemClock};
use holdall::repo::{History, Repository};

use crate::error::{CliError, Code};
use crate::json;
use crate::output::{Output, plain};
use crate::table::{count, size};

/// Tells of a point that was made.
pub fn tell(made: &Made, output: &Output) -> Result<(), CliError> {
    let numbers = &made.statistics;
    let object = json::Made {
        point: made.point.to_string(),
        source: made.source.to_string(),
        stream_bytes: made.stream_len,
        new_bytes: numbers.new_bytes,
        stored_bytes: numbers.stored_bytes,
    };
    output.result(&object, || {
        let (length, new, stored) = (size(made.stream_len), size(numbers.new_bytes), size(numbers.stored_bytes));
        let source = made.source.to_string();
        let source = plain(&source).into_owned();
        format!("Made point {} of {source}: {length}, {new} of it new, {stored} added", made.point.short())
    })
}

/// Gives points that were made just now their tags.
pub fn tag(made: &[Made], tags: &[String], repository: &Repository) -> Result<(), CliError> {
    for made in made {
        for tag in tags {
            let tagged = repository.tag(&History::default(), made.point, tag, true, SystemClock.now());
            tagged.map_err(|error| {
                let what = format!("The points stand, but {} has no tag {tag}", made.point.short());
                CliError::from(error).because(&what)
            })?;
        }
    }
    Ok(())
}

/// A backup that succeeded in a repository that is not sound is told apart from one where all is well.
pub fn in_a_sound_repository(output: &Output) -> Result<(), CliError> {
    match output.problems() {
        0 => Ok(()),
        problems => Err(CliError::new(Code::Problems, format!("Finished, but with {}", count(problems, "problem")))
            .hint("`holdall check` tells more")),
    }
}
