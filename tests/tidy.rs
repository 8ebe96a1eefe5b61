//! The house rules that neither the compiler nor clippy nor rustfmt holds, as tests.
//!
//! A rule is a function from files to findings; it is run on the checkout and, to show that it can fail, on bad texts.
//! Rules about code see it without comments, strings and unit tests. Words that this file must not hold itself stand
//! here in two halves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Columns of a line, as in `rustfmt.toml`; rustfmt itself leaves comments and strings alone.
const COLUMNS_MAX: usize = 120;
/// Lines of a file without its unit tests, above which a room wants to be two.
const FILE_LINES_MAX: usize = 700;
/// Lines of the header of a file.
const HEADER_LINES_MAX: usize = 12;
/// Packages that the program and its tests may be built from, a small slack included. Whoever raises it says what the
/// new ones give: 24 came with the checker of the protocol (`src/protocol/tests/`), and 7 with FUSE (`tests/remote/`),
/// which only tests use.
const PACKAGES_MAX: usize = 245;

/// The modules that do no IO and that every module may use.
const WORDS: &[&str] = &["clock", "codec", "id", "limits", "monitor", "source"];
/// Bytes in, bytes out: no files, sockets, threads or clock.
const FORMATS: &[&str] =
    &["chunk", "compress", "crypto", "multipart", "pack", "point", "protocol", "recipe", "retention", "tar"];
/// One directory per verb; they never import each other.
const OPERATIONS: &[&str] = &["backup", "browse", "check", "entities", "forget", "prune", "restore", "status"];

/// Which module may use which, besides [`WORDS`]. A module without a row may not exist; a row may wait for its module.
const LAYERS: &[(&str, &[&[&str]])] = &[
    ("id", &[]),
    ("limits", &[]),
    ("codec", &[]),
    ("clock", &[]),
    ("source", &[]),
    ("monitor", &[]),
    ("tar", &[]),
    ("chunk", &[]),
    ("multipart", &[]),
    ("compress", &[]),
    ("crypto", &[]),
    ("pack", &[&["compress", "crypto"]]),
    ("recipe", &[&["tar"]]),
    // A point lists the chunks of its table of parts, and how a recipe refers to a chunk is said in `recipe`.
    ("point", &[&["recipe", "tar"]]),
    ("retention", &[&["point"]]),
    ("protocol", &[&["point"]]),
    ("store", &[]),
    ("index", &[&["pack"]]),
    ("daemon", &[&["multipart"]]),
    ("repo", &[&["chunk", "compress", "crypto", "index", "pack", "point", "protocol", "recipe", "store"]]),
    // Which keys a daemon takes and what its exports are is its own affair, but no call to it is made.
    ("rewrite", &[&["daemon", "recipe", "tar"]]),
    ("backup", &[FORMATS, &["daemon", "repo", "rewrite"]]),
    ("restore", &[&["daemon", "point", "recipe", "repo", "rewrite", "tar"]]),
    ("entities", &[&["daemon", "point", "recipe", "repo", "tar"]]),
    ("browse", &[&["point", "recipe", "repo", "tar"]]),
    ("forget", &[&["point", "repo", "retention"]]),
    ("prune", &[&["pack", "point", "protocol", "recipe", "repo"]]),
    ("status", &[&["point", "repo"]]),
    // Which files of a point lose content.
    ("check", &[&["browse", "pack", "point", "protocol", "recipe", "repo"]]),
    // What it is given to open key slots with.
    ("repair", &[&["crypto", "point", "protocol", "repo"], OPERATIONS]),
    ("recover", &[&["daemon", "repo"], OPERATIONS]),
    ("drill", &[&["daemon", "repo"], OPERATIONS]),
];

/// The files in which async types may occur: HTTP over the daemon's socket. Object storage will be the second.
const ASYNC_FILES: &[&str] = &["src/daemon/http.rs"];

/// The files that may delete objects of a repository, besides the store itself. What an index or a daemon forgets is no
/// object.
const DELETING_FILES: &[&str] =
    &["src/repo/beat.rs", "src/repo/catalog.rs", "src/repo/keyring.rs", "src/repo/session.rs", "src/repo/sweep.rs"];

/// What would tie the project to one machine or one network.
const PLACES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("deb.", "debian.org"),
    concat!("ftp.", "debian.org"),
    concat!("security.", "debian.org"),
    concat!("snapshot.", "debian.org"),
    concat!("py", "pi."),
    concat!("registry.", "npmjs"),
    concat!("proxy.", "golang"),
    concat!("docker", ".io"),
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
];
/// Where one of [`PLACES`] is meant: the example of the tour, and what cargo itself writes into every lock file.
const PLACES_MEANT: &[&str] =
    &[concat!("/ro", "ot/holdall.key"), concat!("registry+https://github.com/rust-lang/crates", ".io-index")];

/// What nobody leaves behind.
const LEFTOVERS: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X"), concat!("HA", "CK")];
/// The same in code.
const LEFTOVERS_IN_CODE: &[&str] = &[concat!("db", "g!"), "todo!", "unimplemented!"];

// -- the checkout

/// A file of the checkout.
struct File {
    /// Relative to the checkout.
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// Whether nothing but tests is in it.
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// A file of the library, which the binary beside it is not.
    fn is_library(&self) -> bool {
        self.path.starts_with("src/") && !self.path.starts_with("src/bin/") && self.is_rust() && !self.is_test()
    }

    /// The module of the library directly below its root that the file belongs to; empty for `lib.rs`.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or_default();
        let first = inside.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first).trim_start_matches("lib")
    }

    /// Its code without comments, contents of strings and unit tests.
    fn code(&self) -> String {
        bare_code(without_tests(&self.text))
    }

    fn finding(&self, what: impl std::fmt::Display) -> String {
        format!("{}: {what}", self.path)
    }
}

/// Every file of the checkout that could be committed, in the order of paths. What is no text is left out.
fn checkout() -> Vec<File> {
    fn walk(dir: &Path, root: &Path, files: &mut Vec<File>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                // Besides git's own: what is built or found, and inputs of fuzz targets, which are anything.
                if ![".git", "target", "corpus", "artifacts"].iter().any(|other| name == *other) {
                    walk(&path, root, files);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push(File { path, text });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(root, root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 80, "the checkout was not found");
    files
}

// -- reading code

/// What stands before the unit tests, which come last in a file.
fn without_tests(text: &str) -> &str {
    let tests = text.match_indices("\n#[cfg(test)]\n").find(|(at, attribute)| {
        let next = text[at + attribute.len()..].lines().next().unwrap_or_default();
        next.contains("mod ") && next.ends_with('{')
    });
    tests.map_or(text, |(at, _)| &text[..at])
}

/// Code without comments and without what strings and character literals hold. Lines stay lines.
fn bare_code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (skipped, kept) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), ""),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |at| at + 2), " "),
            'r' if is_raw_string(rest, &code) => (raw_string_len(rest), "\"\""),
            '"' => (string_len(rest), "\"\""),
            '\'' if char_len(rest).is_some() => (char_len(rest).unwrap_or(1), "' '"),
            _ => {
                code.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        code.push_str(kept);
        code.extend(rest[..skipped].matches('\n'));
        rest = &rest[skipped..];
    }
    code
}

fn is_raw_string(rest: &str, before: &str) -> bool {
    let in_word = before.ends_with(|c: char| (c.is_alphanumeric() || c == '_') && c != 'b');
    !in_word && rest[1..].trim_start_matches('#').starts_with('"')
}

fn raw_string_len(rest: &str) -> usize {
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    let end = format!("\"{}", "#".repeat(hashes));
    let start = hashes + 2;
    rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len())
}

fn string_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of the character literal that begins here; `None` for a lifetime.
fn char_len(rest: &str) -> Option<usize> {
    let inside = &rest[1..];
    if inside.starts_with('\\') {
        return inside[2..].find('\'').map(|at| at + 4);
    }
    let first = inside.chars().next()?;
    inside[first.len_utf8()..].starts_with('\'').then_some(first.len_utf8() + 2)
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The names that follow `crate::`, those of a group in braces one by one.
fn crate_names(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            None => names.extend(words(rest).next().map(str::to_owned)),
            Some(group) => {
                let (mut depth, mut name) = (0, String::new());
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.extend(words(&std::mem::take(&mut name)).next().map(str::to_owned)),
                        _ if depth == 0 => name.push(c),
                        _ => {}
                    }
                }
                names.extend(words(&name).next().map(str::to_owned));
            }
        }
    }
    names
}

/// The modules that a file declares in files of their own, as paths that may be meant.
fn declared(file: &File, is_root: bool) -> Vec<[String; 2]> {
    let (dir, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let stem = name.trim_end_matches(".rs");
    let below = if is_root || stem == "mod" { dir.to_owned() } else { format!("{dir}/{stem}") };
    let text = bare_code(&file.text);
    let mut modules = Vec::new();
    let mut path = None;
    for (line, written) in text.lines().zip(file.text.lines()) {
        if line.trim_start().starts_with("#[path") {
            path = written.split('"').nth(1).map(|path| resolve(dir, path));
            continue;
        }
        let Some(name) = line.trim().strip_suffix(';').and_then(|line| line.split("mod ").nth(1)) else { continue };
        let name = name.trim();
        modules.push(match path.take() {
            Some(path) => [path.clone(), path],
            None => [format!("{below}/{name}.rs"), format!("{below}/{name}/mod.rs")],
        });
    }
    modules
}

fn resolve(dir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').collect();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

// -- rules about modules

/// The edges between the library's modules.
fn edges(files: &[File]) -> BTreeMap<&str, BTreeMap<String, &File>> {
    let mut edges: BTreeMap<&str, BTreeMap<String, &File>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_library() && !file.module().is_empty()) {
        let from = edges.entry(file.module()).or_default();
        from.extend(crate_names(&file.code()).into_iter().filter(|to| to != file.module()).map(|to| (to, file)));
    }
    edges
}

fn layers(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for (from, uses) in edges(files) {
        let Some((_, allowed)) = LAYERS.iter().find(|(module, _)| *module == from) else {
            findings.push(format!("src/{from} has no row in the table of layers"));
            continue;
        };
        for (to, file) in uses {
            if !WORDS.contains(&to.as_str()) && !allowed.iter().any(|group| group.contains(&to.as_str())) {
                findings.push(file.finding(format!("{from} may not use {to}")));
            }
        }
    }
    findings
}

/// Takes away modules that use no other until none is left; what remains is a ring, or uses one.
fn rings(files: &[File]) -> Vec<String> {
    let mut left: BTreeMap<&str, BTreeSet<String>> =
        edges(files).into_iter().map(|(from, uses)| (from, uses.into_keys().collect())).collect();
    loop {
        let before = left.len();
        let present: BTreeSet<String> = left.keys().map(|name| (*name).to_owned()).collect();
        left.retain(|_, uses| uses.iter().any(|to| present.contains(to)));
        if left.len() == before {
            return left.keys().map(|name| format!("src/{name} is part of a ring of modules or uses one")).collect();
        }
    }
}

fn imports(files: &[File]) -> Vec<String> {
    let library = files.iter().filter(|file| file.path.starts_with("src/") && file.is_rust());
    let mut findings = Vec::new();
    for file in library {
        let code = file.code();
        if code.contains("crate::*") {
            findings.push(file.finding("imports everything of the crate"));
        }
        // From a file directly below src/ one `super` is the root of the crate, which the table would not see.
        let depth = file.path.matches('/').count() - usize::from(file.path.ends_with("/mod.rs"));
        if file.is_library() && !file.module().is_empty() && code.contains(&"super::".repeat(depth)) {
            findings.push(file.finding("reaches the root of the crate by super; say crate"));
        }
    }
    findings
}

fn rooms_without_a_name(files: &[File]) -> Vec<String> {
    let is_nameless = |file: &&File| {
        file.path
            .split('/')
            .any(|part| ["utils", "util", "common", "helpers", "misc"].contains(&part.trim_end_matches(".rs")))
    };
    files.iter().filter(|file| file.is_rust()).filter(is_nameless).map(|file| file.finding("says nothing")).collect()
}

/// Files that no `mod` reaches are not compiled, and so neither checked nor tested.
fn forgotten(files: &[File]) -> Vec<String> {
    let by_path: BTreeMap<&str, &File> = files.iter().map(|file| (file.path.as_str(), file)).collect();
    let is_root = |path: &str| {
        let depth = path.matches('/').count();
        let names_itself = |manifest: &str, path: &str| {
            by_path.get(manifest).is_some_and(|manifest| manifest.text.contains(&format!("\"{path}\"")))
        };
        matches!(path, "src/lib.rs" | "fuzz/src/lib.rs" | "build.rs")
            || path.starts_with("src/bin/") && path.ends_with("/main.rs")
            || path.starts_with("tests/") && (depth == 1 || depth == 2 && path.ends_with("/main.rs"))
            || path.starts_with("benches/") && names_itself("Cargo.toml", path)
            || path.strip_prefix("fuzz/").is_some_and(|inside| names_itself("fuzz/Cargo.toml", inside))
    };
    let rust = || files.iter().filter(|file| file.is_rust()).map(|file| file.path.as_str());
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut next: Vec<String> = rust().filter(|path| is_root(path)).map(str::to_owned).collect();
    while let Some(path) = next.pop() {
        if let Some(file) = by_path.get(path.as_str()).filter(|_| reached.insert(path.clone())) {
            next.extend(declared(file, is_root(&path)).into_iter().flatten());
        }
    }
    rust().filter(|path| !reached.contains(*path)).map(|path| format!("{path}: nothing reaches it")).collect()
}

// -- rules about files

fn headers(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    // A file of one line is a placeholder.
    for file in files.iter().filter(|file| file.is_rust() && file.text.lines().count() > 1) {
        match file.text.lines().take_while(|line| line.starts_with("//!")).count() {
            0 => findings.push(file.finding("does not begin with what it is (`//!`)")),
            // The crate's own header is the description of the house.
            lines if lines > HEADER_LINES_MAX && file.path != "src/lib.rs" => {
                findings
                    .push(file.finding(format!("says in {lines} lines what it is; {HEADER_LINES_MAX} are the most")));
            }
            _ => {}
        }
    }
    findings
}

fn lengths(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        // Tables of Markdown cannot be broken; lock files, snapshots and vectors are made by programs.
        let is_written = file.is_rust()
            || file.path.starts_with("scripts/")
            || ["Makefile", "Cargo.toml", "clippy.toml", "rustfmt.toml", "fuzz/Cargo.toml"].contains(&&*file.path);
        for (number, line) in (1..).zip(file.text.lines()).filter(|_| is_written) {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                findings.push(format!("{}:{number}: has {columns} columns", file.path));
            }
        }
        let lines = without_tests(&file.text).lines().count();
        if file.is_rust() && !file.is_test() && lines > FILE_LINES_MAX {
            findings.push(file.finding(format!("has {lines} lines; it wants to be two")));
        }
    }
    findings
}

fn leftovers(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let is_data = |file: &&File| [".lock", ".json"].iter().any(|ending| file.path.ends_with(*ending));
    for file in files.iter().filter(|file| !is_data(file)) {
        for (number, line) in (1..).zip(file.text.lines()) {
            let line = line.trim();
            let left = words(line).any(|word| LEFTOVERS.contains(&word));
            let comment = line.strip_prefix("//").map(str::trim).unwrap_or_default();
            let module = comment.strip_prefix("pub ").unwrap_or(comment);
            if left || file.is_rust() && module.starts_with("mod ") && module.ends_with(';') {
                findings.push(format!("{}:{number}: is left over: {line}", file.path));
            }
        }
        let code = if file.is_rust() { bare_code(&file.text) } else { String::new() };
        for word in LEFTOVERS_IN_CODE.iter().filter(|word| code.contains(**word)) {
            findings.push(file.finding(format!("holds {word}")));
        }
    }
    findings
}

fn places(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            let line = PLACES_MEANT.iter().fold(line.to_owned(), |line, meant| line.replace(meant, ""));
            for place in PLACES.iter().filter(|place| line.contains(**place)) {
                findings.push(format!("{}:{number}: names {place}", file.path));
            }
        }
    }
    findings
}

fn packages(lock: &str) -> Vec<String> {
    let count = lock.lines().filter(|line| *line == "[[package]]").count();
    if count > PACKAGES_MAX { vec![format!("{count} packages; {PACKAGES_MAX} are the budget")] } else { Vec::new() }
}

// -- rules about code

/// Findings about library files outside of `allowed` whose code holds one of `patterns`.
fn code_with(files: &[File], allowed: &[&str], patterns: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_library() && !allowed.contains(&file.path.as_str())) {
        let code = file.code();
        for pattern in patterns.iter().filter(|pattern| code.contains(**pattern)) {
            findings.push(file.finding(format!("holds {pattern}")));
        }
    }
    findings
}

fn asynchrony(files: &[File]) -> Vec<String> {
    code_with(files, ASYNC_FILES, &["async ", ".await", "tokio::", "hyper::", "hyper_util::", "impl Future"])
}

/// What a library does not do: its caller has the terminal, the environment and the last word.
fn manners(files: &[File]) -> Vec<String> {
    let talk = ["print!", "println!", "io::stdout", "io::stderr", "io::stdin"];
    let leave = ["process::exit", "process::abort", "panic::set_hook"];
    let surroundings = ["std::env", "env::var", "env::args", "env::current_dir", "env::temp_dir"];
    code_with(files, &[], &[&talk[..], &leave[..], &surroundings[..]].concat())
}

fn purity(files: &[File]) -> Vec<String> {
    // The clock is a port; its adapter stands beside it.
    let pure: Vec<File> = files
        .iter()
        .filter(|file| FORMATS.contains(&file.module()) || WORDS.contains(&file.module()) && file.module() != "clock")
        .map(|file| File::new(&file.path, &file.text))
        .collect();
    code_with(&pure, &[], &["std::fs", "std::net", "std::thread", "std::time", "std::process", "rustix::", "rayon::"])
}

fn deletions(files: &[File]) -> Vec<String> {
    let outside: Vec<File> = files
        .iter()
        .filter(|file| !["daemon", "index", "store"].contains(&file.module()))
        .map(|file| File::new(&file.path, &file.text))
        .collect();
    code_with(&outside, DELETING_FILES, &[".delete(", "remove_file", "remove_dir"])
}

/// Tests that kill and delete at random moments, and the laboratory that asks a daemon again and again.
const SLEEPING_FILES: [&str; 6] = [
    "tests/cli/kill.rs",
    "tests/cli/siege.rs",
    "tests/daemon/anywhere.rs",
    "tests/daemon/lab.rs",
    "tests/daemon/product.rs",
    "tests/remote/hosts.rs",
];

fn sleeps(files: &[File]) -> Vec<String> {
    let tests_of = |file: &File| {
        if file.is_test() { bare_code(&file.text) } else { bare_code(&file.text[without_tests(&file.text).len()..]) }
    };
    let bound = |file: &&File| file.is_rust() && !SLEEPING_FILES.contains(&file.path.as_str());
    let sleeping = files.iter().filter(bound).filter(|file| tests_of(file).contains("thread::sleep"));
    sleeping.map(|file| file.finding("sleeps in a test; wait for what is meant")).collect()
}

// -- the rules hold, and can fail

#[track_caller]
fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// A file of the library that holds this line.
fn one(path: &str, line: &str) -> [File; 1] {
    [File::new(path, &format!("//! A file.\n\n{line}\n"))]
}

#[test]
fn modules_use_what_the_table_of_layers_allows() {
    assert_none(&layers(&checkout()));
    assert_eq!(layers(&one("src/store/x.rs", "use crate::crypto::Keys;")).len(), 1);
    assert_eq!(layers(&one("src/tar/x.rs", "use crate::{id::A, store::{B, C}, limits};")).len(), 1);
    assert_eq!(layers(&one("src/store.rs", "fn a() -> crate::repo::B {}")).len(), 1);
    assert_eq!(layers(&one("src/novelty.rs", "")).len(), 1);
    assert_none(&layers(&one("src/store.rs", "/// See [`crate::repo`]. // crate::repo\nuse crate::id::A;")));
    assert_none(&layers(&one("src/store.rs", "\n#[cfg(test)]\nmod tests {\nuse crate::repo;\n}")));
}

#[test]
fn the_table_of_layers_has_no_ring() {
    let table: Vec<File> = LAYERS
        .iter()
        .map(|(module, allowed)| {
            let uses: Vec<String> = allowed.concat().iter().map(|to| format!("crate::{to};")).collect();
            File::new(&format!("src/{module}.rs"), &uses.concat())
        })
        .collect();
    let by_itself = "src/repo.rs";
    assert!(table.iter().any(|file| file.path == by_itself));
    assert_none(&rings(&table));
}

#[test]
fn no_modules_import_each_other_in_rings() {
    assert_none(&rings(&checkout()));
    let file = |name: &str, to: &str| File::new(&format!("src/{name}.rs"), &format!("use crate::{to}::X;"));
    assert_eq!(rings(&[file("id", "codec"), file("codec", "limits"), file("limits", "id")]).len(), 3);
    assert_none(&rings(&[file("id", "codec"), file("codec", "limits"), File::new("src/limits.rs", "")]));
}

#[test]
fn imports_say_what_they_import() {
    assert_none(&imports(&checkout()));
    assert_eq!(imports(&one("src/id.rs", "use crate::*;")).len(), 1);
    assert_eq!(imports(&one("src/id.rs", "use super::codec;")).len(), 1);
    assert_eq!(imports(&one("src/tar/header.rs", "use super::super::codec;")).len(), 1);
    assert_none(&imports(&one("src/tar/header.rs", "use super::pax;")));
}

#[test]
fn rooms_are_called_by_what_is_in_them() {
    assert_none(&rooms_without_a_name(&checkout()));
    assert_eq!(rooms_without_a_name(&one("src/utils.rs", "")).len(), 1);
    assert_eq!(rooms_without_a_name(&one("tests/common/mod.rs", "")).len(), 1);
}

#[test]
fn every_file_is_reached() {
    assert_none(&forgotten(&checkout()));
    let root = File::new("src/lib.rs", "pub mod a;\n// mod c;\n");
    let inner = File::new("src/a.rs", "#[cfg(test)]\nmod b;\n");
    let found = forgotten(&[root, inner, File::new("src/a/b.rs", ""), File::new("src/c.rs", "")]);
    assert_eq!(found, ["src/c.rs: nothing reaches it"]);
    let main = File::new("tests/it/main.rs", "mod a;\n#[path = \"../../fuzz/src/x.rs\"]\nmod b;\n");
    let found = forgotten(&[
        main,
        File::new("tests/it/a.rs", ""),
        File::new("tests/it/forgotten.rs", ""),
        File::new("fuzz/src/x.rs", ""),
        File::new("Cargo.toml", "path = \"benches/z.rs\""),
        File::new("benches/y.rs", ""),
        File::new("benches/z.rs", "mod meter;"),
        File::new("benches/meter.rs", ""),
    ]);
    assert_eq!(found, ["tests/it/forgotten.rs: nothing reaches it", "benches/y.rs: nothing reaches it"]);
}

#[test]
fn every_file_begins_with_what_it_is() {
    assert_none(&headers(&checkout()));
    assert_eq!(headers(&[File::new("src/a.rs", "use std::fs;\n\nfn a() {}\n")]).len(), 1);
    assert_eq!(headers(&[File::new("src/a.rs", &"//! Many words.\n".repeat(13))]).len(), 1);
}

#[test]
fn lines_and_files_are_no_longer_than_can_be_read() {
    assert_none(&lengths(&checkout()));
    assert_eq!(lengths(&one("src/a.rs", &"ä".repeat(121))).len(), 1);
    assert_none(&lengths(&one("src/a.rs", &"ä".repeat(120))));
    assert_eq!(lengths(&one("src/a.rs", &"//\n".repeat(700))).len(), 1);
    assert_none(&lengths(&one("src/a/tests.rs", &"//\n".repeat(700))));
}

#[test]
fn nothing_is_left_over() {
    assert_none(&leftovers(&checkout()));
    for left in ["// mod old;", "// pub mod old;", concat!("// TO", "DO: later"), concat!("    db", "g!(x);")] {
        assert_eq!(leftovers(&one("src/a.rs", left)).len(), 1, "{left}");
    }
    assert_none(&leftovers(&one("src/a.rs", "// A mod and its file.")));
}

#[test]
fn no_file_names_a_registry_or_a_place_on_one_machine() {
    assert_none(&places(&checkout()));
    for place in PLACES {
        assert_eq!(places(&one("scripts/setup", &format!("fetch {place}x"))).len(), 1, "{place}");
    }
    assert_none(&places(&one("README.md", PLACES_MEANT[0])));
}

#[test]
fn packages_keep_within_their_budget() {
    let lock = checkout().into_iter().find(|file| file.path == "Cargo.lock").unwrap();
    assert_none(&packages(&lock.text));
    assert_eq!(packages(&"[[package]]\n".repeat(PACKAGES_MAX + 1)).len(), 1);
}

#[test]
fn async_types_keep_to_their_files() {
    assert_none(&asynchrony(&checkout()));
    for line in ["async fn a() {}", "let a = b.await;", "use tokio::net::UnixStream;"] {
        assert_eq!(asynchrony(&one("src/daemon/mod.rs", line)).len(), 1, "{line}");
    }
    assert_none(&asynchrony(&one(ASYNC_FILES[0], "async fn a() {}")));
}

#[test]
fn the_library_neither_prints_nor_exits_nor_reads_the_environment() {
    assert_none(&manners(&checkout()));
    for line in ["println!();", "eprint!();", "std::process::exit(1);", "use std::env;", "io::stdout().flush();"] {
        assert!(!manners(&one("src/repo/mod.rs", line)).is_empty(), "{line}");
    }
    assert_none(&manners(&one("src/bin/holdall/main.rs", "println!();")));
    assert_none(&manners(&one("src/repo/mod.rs", "let a = \"println!\";")));
}

#[test]
fn words_and_formats_do_no_io() {
    assert_none(&purity(&checkout()));
    assert_eq!(purity(&one("src/pack/mod.rs", "use std::fs::File;")).len(), 1);
    assert_eq!(purity(&one("src/codec.rs", "std::thread::spawn(a);")).len(), 1);
    assert_none(&purity(&one("src/store/mod.rs", "use std::fs::File;")));
}

#[test]
fn few_files_delete() {
    assert_none(&deletions(&checkout()));
    assert_eq!(deletions(&one("src/backup/mod.rs", "store.delete(&name)?;")).len(), 1);
    assert_none(&deletions(&one(DELETING_FILES[0], "store.delete(&name)?;")));
}

#[test]
fn no_test_sleeps() {
    assert_none(&sleeps(&checkout()));
    assert_eq!(sleeps(&one("tests/it/a.rs", "std::thread::sleep(A_SECOND);")).len(), 1);
    assert_eq!(sleeps(&one("src/a.rs", "\n#[cfg(test)]\nmod tests {\nthread::sleep(A_SECOND);\n}")).len(), 1);
    assert_none(&sleeps(&one("src/a.rs", "thread::sleep(A_SECOND);")));
}

#[test]
fn code_is_read_without_comments_strings_and_tests() {
    let text = "a(\"// no \\\" comment\"); // b\nc('\"', '\\'', r#\"d\"e\"#, f::<'g>()); /* h */ i\n";
    assert_eq!(bare_code(text), "a(\"\"); \nc(' ', ' ', \"\", f::<'g>());   i\n");
    assert_eq!(without_tests("a\n#[cfg(test)]\nb\n#[cfg(test)]\nmod tests {\n"), "a\n#[cfg(test)]\nb");
    assert_eq!(crate_names("crate::a::B crate::{c, d::{e, f}, g as h}"), ["a", "c", "d", "g"]);
}
