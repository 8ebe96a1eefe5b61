//! Streams that are long or strange go in and come out byte for byte.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use crate::bench::{Bench, noise};

/// Hands bytes on and keeps their digest.
struct Digest<W> {
    inner: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Digest<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: blake3::Hasher::new() }
    }
}

impl<W: Write> Write for Digest<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Streams an archive that is made on the fly through the program, in and out again.
#[track_caller]
fn comes_back(make: impl FnOnce(&mut tar::Builder<&mut dyn Write>)) {
    let bench = Bench::new();
    let mut import = bench.command(&["import", "-", "--as", "file:stream"]);
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut given = Digest::new(import.stdin.take().unwrap());
    make(&mut tar::Builder::new(&mut given));
    drop(given.inner);
    assert!(import.wait().unwrap().success());
    let mut export = bench.command(&["export", "file:stream", "-"]);
    let mut export = export.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut taken = Digest::new(io::sink());
    io::copy(&mut export.stdout.take().unwrap(), &mut taken).unwrap();
    assert!(export.wait().unwrap().success());
    assert_eq!(given.hasher.finalize(), taken.hasher.finalize());
}

#[test]
fn a_million_empty_files_come_back() {
    comes_back(|archive| {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        for number in 0..1_000_000_u64 {
            header.set_mtime(1_700_000_000 + number);
            header.set_path(format!("directory{}/file{number}", number / 1000)).unwrap();
            header.set_cksum();
            archive.append(&header, io::empty()).unwrap();
        }
        archive.finish().unwrap();
    });
}

#[test]
fn a_member_of_nine_gibibytes_comes_back() {
    const GIB: u64 = 1 << 30;
    comes_back(|archive| {
        let (one, other) = (noise(1, 3_000_000), noise(2, 77));
        let content = io::repeat(0).take(5 * GIB).chain(&one[..]).chain(io::repeat(0).take(4 * GIB)).chain(&other[..]);
        // As the daemons do: the size is in a record, and 0 in the header.
        let size = (9 * GIB + 3_000_077).to_string();
        archive.append_pax_extensions([("size", size.as_bytes())]).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_path("backup/virtual-machine.img").unwrap();
        header.set_size(0);
        header.set_cksum();
        archive.append(&header, content).unwrap();
        header.set_path("behind").unwrap();
        header.set_size(5);
        header.set_cksum();
        archive.append(&header, &b"hello"[..]).unwrap();
        archive.finish().unwrap();
    });
}

#[test]
fn archives_of_gnu_tar_come_back() {
    let bench = Bench::new();
    let script = "
        mkdir -p tree/$(printf 'd%.0s' $(seq 90))/$(printf 'e%.0s' $(seq 90))
        cd tree/d*/e*
        printf hello >$(printf 'n%.0s' $(seq 200)) && ln n* hard && mkfifo pipe
        ln -s $(printf 'l%.0s' $(seq 250)) soft
        cd ../..
        truncate -s 40M sparse && printf x | dd of=sparse bs=1 seek=20000000 conv=notrunc status=none
        truncate -s 60M holes
        for at in $(seq 60); do printf $at | dd of=holes bs=1 seek=$((at * 900000)) conv=notrunc status=none; done
        cd ..
        for form in gnu oldgnu 'pax --sparse-version=1.0' 'pax --sparse-version=0.1' 'pax --sparse-version=0.0'; do
            tar -C tree --sparse --format=$form -cf \"of $form.tar\" .
        done
        tar -C tree --format=ustar --exclude 'd*' -b 1 -cf 'of ustar.tar' .
        cat 'of gnu.tar' 'of oldgnu.tar' >'of two.tar'
        head -c 1000001 'of gnu.tar' >'of a cut one.tar'";
    let made = Command::new("bash").args(["-euc", script]).current_dir(bench.path("")).status();
    assert!(made.unwrap().success());
    let archives: Vec<String> = bench.names("").into_iter().filter(|name| name.starts_with("of ")).collect();
    assert_eq!(archives.len(), 8, "{archives:?}");
    for name in archives {
        bench.run(&["import", &name, "--as", &format!("file:{name}")]).succeeds();
        bench.run(&["export", &format!("file:{name}"), "out", "--force"]).succeeds();
        assert!(bench.read(&name) == bench.read("out"), "{name}");
    }
}
