//! An export with another description, and with the trees of it that are wanted.
//!
//! A push machine over a stream of an instance, a volume or a bucket: the index and the description of the main volume
//! are replaced, snapshots are left out or one of them takes the main volume's place (`reference/daemon-api.md` 5.5).
//! Where a member stays under its name, its headers and its content go by as they are; a renamed one gets headers of
//! its own. It holds the headers of one member and what nobody has taken yet. Content may go by unseen, as a reference.

use crate::recipe::ChunkRef;
use crate::rewrite::description::{DescriptionError, Index, Kind, Selection};
use crate::tar::{self, BLOCK_BYTES, Ending, Event, Member, MemberKind, Splitter};

/// Path of the index inside every export.
pub(crate) const INDEX_PATH: &[u8] = b"backup/index.yaml";

/// Takes a stream step by step.
pub(crate) trait Machine {
    /// Bytes that are known.
    fn push(&mut self, bytes: &[u8]) -> Result<(), RewriteError>;

    /// Content that need not be known. `false` if it has to be: then it comes again as bytes.
    fn pass_chunk(&mut self, chunk: ChunkRef) -> Result<bool, RewriteError>;

    /// How many zeros may come as a number.
    fn skippable(&self) -> u64;

    /// So many zeros, at most [`Self::skippable`].
    fn pass_zeros(&mut self, len: u64) -> Result<(), RewriteError>;
}

/// Why a stream cannot be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// It is no complete archive.
    #[error("The stream that was backed up is not a complete archive")]
    Incomplete,
    /// The main volume, or the snapshot that should become it, is not in it.
    #[error("The stream that was backed up holds no {path}")]
    NoTree {
        /// Where it should be.
        path: String,
    },
    /// A member's headers cannot be made anew.
    #[error("The member {path} cannot be rewritten")]
    Member {
        /// Its path.
        path: String,
    },
}

/// What is to come of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Rewrite {
    pub kind: Kind,
    pub selection: Selection,
    /// The new `backup/index.yaml`.
    pub index: String,
    /// The new `backup.yaml` of the main volume; only instances have one.
    pub description: Option<String>,
    /// What the new members say of their time.
    pub mtime_seconds: i64,
}

impl Rewrite {
    /// Makes a stream say this of itself.
    pub(crate) fn new(
        kind: Kind,
        selection: Selection,
        index: &Index,
        mtime_seconds: i64,
    ) -> Result<Self, DescriptionError> {
        let description = match kind {
            Kind::Volume | Kind::Bucket => None,
            Kind::Container | Kind::VirtualMachine => Some(index.description()?),
        };
        Ok(Self { kind, selection, index: index.to_yaml()?, description, mtime_seconds })
    }
}

/// A piece of the new stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Bytes(Vec<u8>),
    Chunk(ChunkRef),
    Zeros(u64),
}

/// Rewrites one stream. After an error it has lost its place and must be dropped.
pub(crate) struct Rewriter {
    splitter: Splitter,
    editor: Editor,
}

struct Editor {
    kind: Kind,
    selection: Selection,
    mtime_seconds: i64,
    /// The new description, until it is written.
    description: Option<String>,
    /// Headers of a member that are not complete yet.
    headers: Option<Vec<u8>>,
    /// Whether the present member is written.
    kept: bool,
    /// Bytes of its content, and of what fills the last block, that are still to come.
    content_left: u64,
    padding_left: u64,
    main_seen: bool,
    out: Vec<Output>,
}

/// What becomes of a member.
enum Fate {
    Leave,
    Keep,
    Rename { path: Vec<u8>, link: Vec<u8> },
}

impl Rewriter {
    pub(crate) fn new(rewrite: Rewrite) -> Result<Self, RewriteError> {
        let Rewrite { kind, selection, index, description, mtime_seconds } = rewrite;
        let mut editor = Editor {
            kind,
            selection,
            mtime_seconds,
            description,
            headers: None,
            kept: false,
            content_left: 0,
            padding_left: 0,
            main_seen: false,
            out: Vec::new(),
        };
        editor.new_member(INDEX_PATH, 0o644, &index)?;
        Ok(Self { splitter: Splitter::new(), editor })
    }

    /// What is ready to be written.
    pub(crate) fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.editor.out)
    }

    /// The stream is over: what remains of the new one, if the old one was whole.
    pub(crate) fn finish(self) -> Result<Vec<Output>, RewriteError> {
        let Self { splitter, mut editor } = self;
        let ending = splitter.finish(&mut |event| editor.event(event))?;
        if !matches!(ending, Ending::Complete { .. }) {
            return Err(RewriteError::Incomplete);
        }
        let may_be_empty = editor.kind == Kind::Bucket;
        if !editor.main_seen && !may_be_empty || editor.description.is_some() {
            let path = match &editor.selection {
                Selection::Snapshot(name) | Selection::Promoted(name) => {
                    format!("{}{name}", editor.kind.snapshots())
                }
                Selection::Whole | Selection::NoSnapshots => editor.kind.main().to_owned(),
            };
            return Err(RewriteError::NoTree { path: tar::display(path.as_bytes()).to_string() });
        }
        editor.write(&[0; 2 * BLOCK_BYTES]);
        Ok(editor.out)
    }
}

impl Machine for Rewriter {
    fn push(&mut self, bytes: &[u8]) -> Result<(), RewriteError> {
        let Self { splitter, editor } = self;
        splitter.push(bytes, &mut |event| editor.event(event))
    }

    fn pass_chunk(&mut self, chunk: ChunkRef) -> Result<bool, RewriteError> {
        let passes = self.skippable() >= chunk.len.into();
        if passes {
            self.skip(chunk.len.into(), Output::Chunk(chunk))?;
        }
        Ok(passes)
    }

    fn skippable(&self) -> u64 {
        self.splitter.skippable().min(self.editor.content_left)
    }

    fn pass_zeros(&mut self, len: u64) -> Result<(), RewriteError> {
        self.skip(len, Output::Zeros(len))
    }
}

impl Rewriter {
    fn skip(&mut self, len: u64, output: Output) -> Result<(), RewriteError> {
        let Self { splitter, editor } = self;
        // Zeros that the splitter held back come out first.
        splitter.skip(len, &mut |event| editor.event(event))?;
        editor.content(len, |_| output);
        Ok(())
    }
}

impl Editor {
    fn event(&mut self, event: Event<'_>) -> Result<(), RewriteError> {
        match event {
            Event::Boundary => {
                // What stands here without a member speaks about all that follow.
                if let Some(headers) = self.headers.replace(Vec::new()) {
                    self.write(&headers);
                }
            }
            Event::Envelope(bytes) => match &mut self.headers {
                Some(headers) => headers.extend_from_slice(bytes),
                None => self.padding(bytes),
            },
            Event::Member(member) => self.member(member)?,
            Event::Inline(bytes) | Event::Payload(bytes) => {
                self.content(bytes.len() as u64, |len| {
                    Output::Bytes(bytes.get(..usize::try_from(len).unwrap_or(0)).unwrap_or_default().to_vec())
                });
            }
            Event::Zeros(len) => self.content(len, Output::Zeros),
            Event::PayloadStart { .. } | Event::PayloadEnd => {}
        }
        Ok(())
    }

    fn member(&mut self, member: &Member) -> Result<(), RewriteError> {
        let headers = self.headers.take().unwrap_or_default();
        self.content_left = member.size;
        self.padding_left = member.size.next_multiple_of(BLOCK_BYTES as u64) - member.size;
        let bad = || RewriteError::Member { path: tar::display(&member.path).to_string() };
        let path = trimmed(&member.path);
        let (new_path, headers) = match self.fate(path, member).ok_or_else(bad)? {
            Fate::Leave => {
                self.kept = false;
                return Ok(());
            }
            Fate::Keep => (path.to_vec(), headers),
            Fate::Rename { path, link } => {
                let headers = tar::rename_member(&headers, &path, &link).ok_or_else(bad)?;
                (path, headers)
            }
        };
        self.kept = true;
        let in_main = new_path.strip_prefix(self.kind.main().as_bytes());
        self.main_seen |= in_main.is_some_and(|rest| matches!(rest, b"" | b".img"));
        let below_main = in_main.is_some_and(|rest| rest.first() == Some(&b'/'));
        if below_main {
            // The directory itself should have come before; the daemons do without.
            self.write_description()?;
            self.main_seen = true;
        }
        self.write(&headers);
        if in_main == Some(b"") && member.kind == MemberKind::Directory {
            self.write_description()?;
        }
        Ok(())
    }

    /// `None` if nobody can say.
    fn fate(&self, path: &[u8], member: &Member) -> Option<Fate> {
        if path == INDEX_PATH {
            return Some(Fate::Leave);
        }
        let main = self.kind.main().as_bytes();
        let is_main = in_tree(path, main, member.kind).is_some();
        let is_snapshot = path.starts_with(self.kind.snapshots().as_bytes());
        let has_description = matches!(self.kind, Kind::Container | Kind::VirtualMachine);
        let is_description = |path: &[u8]| has_description && path == [main, b"/backup.yaml"].concat();
        match &self.selection {
            _ if is_main && is_description(path) => Some(Fate::Leave),
            Selection::NoSnapshots if is_snapshot => Some(Fate::Leave),
            Selection::Whole | Selection::NoSnapshots => Some(Fate::Keep),
            Selection::Snapshot(name) | Selection::Promoted(name) => {
                let from = [self.kind.snapshots().as_bytes(), name.as_bytes()].concat();
                let Some(rest) = in_tree(path, &from, member.kind) else {
                    let stays = matches!(self.selection, Selection::Promoted(_)) && !is_main;
                    return Some(if stays { Fate::Keep } else { Fate::Leave });
                };
                let new_path = [main, rest].concat();
                if is_description(&new_path) {
                    return Some(Fate::Leave);
                }
                let link = match member.kind {
                    MemberKind::HardLink => {
                        // Links never leave their tree.
                        let rest = trimmed(&member.link).strip_prefix(&*from).filter(|rest| rest.starts_with(b"/"))?;
                        [main, rest].concat()
                    }
                    _ => member.link.clone(),
                };
                Some(Fate::Rename { path: new_path, link })
            }
        }
    }

    fn padding(&mut self, bytes: &[u8]) {
        // What comes behind the padding is the end of the archive; the new one gets an end of its own.
        let len = self.padding_left.min(bytes.len() as u64);
        self.padding_left -= len;
        if self.kept {
            self.write(bytes.get(..usize::try_from(len).unwrap_or(0)).unwrap_or_default());
        }
    }

    /// What belongs to no member is no part of the archive.
    fn content(&mut self, len: u64, output: impl FnOnce(u64) -> Output) {
        let len = len.min(self.content_left);
        self.content_left -= len;
        if self.kept && len > 0 {
            self.out.push(output(len));
        }
    }

    fn write_description(&mut self) -> Result<(), RewriteError> {
        match self.description.take() {
            Some(description) => {
                let path = [self.kind.main().as_bytes(), b"/backup.yaml"].concat();
                self.new_member(&path, 0o400, &description)
            }
            None => Ok(()),
        }
    }

    fn new_member(&mut self, path: &[u8], mode: u32, content: &str) -> Result<(), RewriteError> {
        let header = tar::new_file_header(path, mode, self.mtime_seconds, content.len() as u64)
            .ok_or_else(|| RewriteError::Member { path: tar::display(path).to_string() })?;
        let mut bytes = [&header[..], content.as_bytes()].concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        self.write(&bytes);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) {
        match self.out.last_mut() {
            Some(Output::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.out.push(Output::Bytes(bytes.to_vec())),
        }
    }
}

/// A directory's path may end with a slash.
fn trimmed(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

/// What follows the name of a tree in a path: nothing, `/...`, or `.img` for the image beside it.
fn in_tree<'p>(path: &'p [u8], tree: &[u8], kind: MemberKind) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(tree)?;
    let is_image = rest == b".img" && kind != MemberKind::Directory;
    (rest.is_empty() || rest.starts_with(b"/") || is_image).then_some(rest)
}
