//! Looking into points without a daemon: listing and extracting files, comparing points, and counting what is stored.
//!
//! A person names files by the paths that they have inside of what was backed up; a [`Region`] says where in the stream
//! those stand. What is read is the table of parts, the parts that may hold what is wanted, and the chunks of that.

mod diff;
mod extract;
mod list;
mod lost;
mod order;
mod plan;
mod region;
mod stats;
mod tree;
mod walk;

pub use diff::{Change, Compared, ConfigChange, DiffError, Difference, diff, diff_descriptions};
pub use extract::{ExtractError, ExtractOptions, Extracted, Overwrite, Owners, extract};
pub use list::{Depth, Entry, list};
pub use lost::lost_files;
pub use region::{BrowseError, Region};
pub use stats::{Stats, stats};
