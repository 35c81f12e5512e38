//! onehop's own image: this very program, and the libraries that it has loaded. There is nothing to
//! build and nothing to pull.
//!
//! A static program is alone in it. Any other is found again with its loader and its libraries, as
//! they are on this machine, so that the image runs wherever the kernel does.

#![expect(
    unsafe_code,
    reason = "the loader's list of libraries is read through a C callback"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Where the program is in the image.
pub const PROGRAM: &str = "/onehop";
/// Where its libraries are in the image.
pub const LIBRARIES: &str = "/lib";

/// The repository of the image.
const REPOSITORY: &str = "onehop";

/// This program as the files of an image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The files by their path, without the leading slash.
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Image {
    /// The image of the running program.
    ///
    /// # Errors
    /// When the program or a library cannot be read, or the program is no ELF file of 64 bits.
    pub fn of_this_program() -> io::Result<Self> {
        let program = fs::read("/proc/self/exe")?;
        let elf = Elf::parse(&program)?;
        let mut files = BTreeMap::new();
        if let Some(loader) = elf.loader() {
            // The kernel looks for the loader by this path and no other.
            files.insert(inside(&loader), fs::read(&loader)?);
            for library in loaded_libraries() {
                let name = library.file_name().unwrap_or(library.as_os_str());
                let path = inside(&Path::new(LIBRARIES).join(name));
                files.insert(path, fs::read(&library)?);
            }
        }
        files.insert(inside(Path::new(PROGRAM)), elf.without_debug_information());
        Ok(Self { files })
    }

    /// A name for the image that changes with its content.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for (path, content) in &self.files {
            hasher.update(path.as_os_str().as_bytes());
            hasher.update((content.len() as u64).to_be_bytes());
            hasher.update(content);
        }
        let octets = hasher.finalize();
        octets[..8]
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect()
    }

    /// The name by which engines and nodes have it.
    pub fn name(&self) -> String {
        format!("{REPOSITORY}:{}", self.digest())
    }

    /// The files as a tar archive.
    ///
    /// # Errors
    /// When `to` cannot be written.
    pub fn write(&self, to: impl io::Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(to);
        for (path, content) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            header.set_mtime(0);
            archive.append_data(&mut header, path, content.as_slice())?;
        }
        archive.finish()
    }
}

fn inside(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// The libraries that the loader has found for this program, by the names under which it knows them.
fn loaded_libraries() -> Vec<PathBuf> {
    unsafe extern "C" fn note(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the loader passes a valid entry, and `found` is the vector below, which nobody
        // else uses meanwhile.
        unsafe {
            let found = &mut *found.cast::<Vec<PathBuf>>();
            let name = CStr::from_ptr((*info).dlpi_name);
            let path = Path::new(OsStr::from_bytes(name.to_bytes()));
            // The program itself has no name, and the kernel's own library is no file.
            if path.is_absolute() {
                found.push(path.to_owned());
            }
        }
        0
    }
    let mut found = Vec::<PathBuf>::new();
    // SAFETY: the callback has the type that is asked for, and the vector outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut found).cast()) };
    found
}

/// An ELF file of 64 bits, little endian.
struct Elf<'a> {
    octets: &'a [u8],
    /// Type, offset in the file, and length there of each segment.
    segments: Vec<(u32, usize, usize)>,
}

/// The segment that names the loader.
const PT_INTERP: u32 = 3;

impl<'a> Elf<'a> {
    fn parse(octets: &'a [u8]) -> io::Result<Self> {
        let bad = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "this program is no 64-bit ELF file",
            )
        };
        if octets.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err(bad());
        }
        let short = |at: usize| -> Option<usize> {
            let octets = octets.get(at..at + 2)?;
            Some(usize::from(u16::from_le_bytes(octets.try_into().ok()?)))
        };
        let long = |at: usize| -> Option<usize> {
            let octets = octets.get(at..at + 8)?;
            usize::try_from(u64::from_le_bytes(octets.try_into().ok()?)).ok()
        };
        let segment = |at: usize| {
            let kind = octets.get(at..at + 4)?;
            let kind = u32::from_le_bytes(kind.try_into().ok()?);
            let (offset, length) = (long(at + 0x08)?, long(at + 0x20)?);
            octets.get(offset..offset.checked_add(length)?)?;
            Some((kind, offset, length))
        };
        let segments = || {
            let (table, size, count) = (long(0x20)?, short(0x36)?, short(0x38)?);
            let all = (0..count).map(|index| segment(table + index * size));
            all.collect::<Option<Vec<_>>>()
        };
        let segments = segments().ok_or_else(bad)?;
        Ok(Self { octets, segments })
    }

    /// The loader that the kernel starts the program with; none of a static one.
    fn loader(&self) -> Option<PathBuf> {
        let (_, offset, length) = self.segments.iter().find(|(kind, ..)| *kind == PT_INTERP)?;
        let name = CStr::from_bytes_until_nul(&self.octets[*offset..offset + length]).ok()?;
        Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
    }

    /// What is loaded of the program. Sections, most of which are for debuggers, are left out: they
    /// are four fifths of a debug build.
    fn without_debug_information(&self) -> Vec<u8> {
        let ends = self
            .segments
            .iter()
            .map(|(_, offset, length)| offset + length);
        let end = ends.max().unwrap_or(self.octets.len());
        let mut kept = self.octets[..end].to_vec();
        // No section table, and no sections in it.
        for range in [0x28..0x30, 0x3c..0x40] {
            kept[range].fill(0);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_kept_of_a_program_still_runs() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let program = folder.path().join("program");
        let image = Image::of_this_program().expect("the image of this test");
        let content = &image.files[Path::new("onehop")];
        let own = fs::metadata("/proc/self/exe").expect("it runs").len();
        assert!(content.len() as u64 <= own);
        fs::write(&program, content).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
        let listed = Command::new(&program)
            .arg("--list")
            .output()
            .expect("it runs");
        assert!(listed.status.success(), "{listed:?}");
    }

    #[test]
    fn an_image_has_the_loader_and_every_library_of_the_program() {
        let image = Image::of_this_program().expect("the image of this test");
        let program = fs::read("/proc/self/exe").expect("it runs");
        let loader = Elf::parse(&program).expect("an ELF file").loader();
        assert_eq!(loader.is_some(), image.files.len() > 1);
        if let Some(loader) = loader {
            assert!(image.files.contains_key(&inside(&loader)));
            let libc = image.files.keys().any(|path| path.starts_with("lib"));
            assert!(libc, "{:?}", image.files.keys());
        }
    }

    #[test]
    fn a_digest_follows_the_content() {
        let mut image = Image::of_this_program().expect("the image of this test");
        let before = image.digest();
        assert_eq!(before, image.digest());
        image.files.insert(PathBuf::from("more"), vec![1]);
        assert_ne!(before, image.digest());
        let mut archive = Vec::new();
        image.write(&mut archive).expect("written to memory");
        let mut archive = tar::Archive::new(archive.as_slice());
        assert_eq!(
            archive.entries().expect("an archive").count(),
            image.files.len()
        );
    }

    #[test]
    fn no_program_is_an_error() {
        for octets in [&b"#!/bin/sh"[..], b"\x7fELF\x02\x01", b""] {
            assert!(Elf::parse(octets).is_err());
        }
    }
}
