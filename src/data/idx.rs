//! Reader of IDX files, the format of MNIST and its successors, gzipped or plain.
//!
//! A header of big-endian words (a magic number, the number of samples, and for images their rows
//! and columns), then one byte a pixel or a label. <http://yann.lecun.com/exdb/mnist/>
//!
//! A header is a claim: no memory is taken for what the file's own size cannot hold, and no byte is
//! read beyond what the header announces, so neither a lying header nor a gzip bomb does harm.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::large_pages::LargePages;
use crate::error::{Damage, Error, Result};

/// Classes of an IDX data set: labels are digits.
pub const CLASSES: usize = 10;

/// The most bytes of pixels or labels that one file may hold.
const LIMIT: u64 = 1 << 31;

/// Deflate codes at most 258 bytes in 2 bits, so it expands at most 1032 times.
const DEFLATE_EXPANSION: u64 = 1032;

const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;

/// Which of the two formats a file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sizes count x rows x columns, then a byte a pixel.
    Images,
    /// The count, then a byte a label, each below [`CLASSES`].
    Labels,
}

impl Kind {
    /// In words, for messages.
    fn name(self) -> &'static str {
        match self {
            Kind::Images => "images",
            Kind::Labels => "labels",
        }
    }
}

/// An open IDX file, whatever its coding, of which only the header was read.
///
/// What files announce can so be compared before one of them is unpacked.
pub struct IdxFile<'a> {
    path: &'a Path,
    kind: Kind,
    /// Samples, and for images their rows and columns; for labels these are 1.
    sizes: [u32; 3],
    reader: Coding,
    /// The most bytes that can come out of the file.
    capacity: u64,
    /// Bytes that came out so far.
    taken: u64,
}

enum Coding {
    Plain(BufReader<File>),
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
}

impl Read for Coding {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Coding::Plain(reader) => reader.read(buffer),
            Coding::Gzip(reader) => reader.read(buffer),
        }
    }
}

impl<'a> IdxFile<'a> {
    /// Opens a file and reads its header; the coding is told by its first bytes, not by its name.
    pub fn open(path: &'a Path, kind: Kind) -> Result<Self> {
        let damaged = |damage| Error::DataFile { path: path.to_path_buf(), damage };
        let reading = |error| Error::reading(path, &error);
        // Looked at before it is opened: to open a pipe would wait for its writer.
        let metadata = std::fs::metadata(path).map_err(reading)?;
        if metadata.is_dir() {
            return Err(damaged(Damage::Folder));
        }
        if !metadata.is_file() {
            return Err(damaged(Damage::NotAFile));
        }
        let mut reader = BufReader::with_capacity(1 << 17, File::open(path).map_err(reading)?);
        let first = reader.fill_buf().map_err(reading)?;
        if first.is_empty() {
            return Err(damaged(Damage::Empty));
        }
        let (reader, capacity) = if first.starts_with(&[0x1f, 0x8b]) {
            let expanded = metadata.len().saturating_mul(DEFLATE_EXPANSION);
            (Coding::Gzip(Box::new(MultiGzDecoder::new(reader))), expanded)
        } else {
            (Coding::Plain(reader), metadata.len())
        };
        let mut file = IdxFile { path, kind, sizes: [1; 3], reader, capacity, taken: 0 };
        match kind {
            Kind::Images => file.sizes = file.header(IMAGES)?,
            Kind::Labels => [file.sizes[0]] = file.header(LABELS)?,
        }
        Ok(file)
    }

    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// The number of images or labels that the header announces.
    pub fn count(&self) -> usize {
        self.sizes[0] as usize
    }

    /// Rows and columns of every image.
    pub fn image_size(&self) -> [usize; 2] {
        [self.sizes[1] as usize, self.sizes[2] as usize]
    }

    /// Reads what the header announces: `count x rows x columns` bytes.
    pub fn read(mut self) -> Result<LargePages> {
        let bytes = self.payload()?;
        let wrong = |&label: &u8| self.kind == Kind::Labels && usize::from(label) >= CLASSES;
        match bytes.iter().position(wrong) {
            None => Ok(bytes),
            Some(sample) => {
                let label = bytes[sample];
                Err(self.damaged(Damage::Label { label, sample, classes: CLASSES }))
            }
        }
    }

    /// Reads the magic number and the `N` sizes that follow it.
    fn header<const N: usize>(&mut self, magic: u32) -> Result<[u32; N]> {
        let mut bytes = vec![0; 4 + 4 * N];
        self.fill(&mut bytes, 4 + 4 * N as u64, "header")?;
        let mut words = bytes.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word));
        let found = words.next().unwrap_or_default();
        if found != magic {
            let what = self.kind.name();
            return Err(self.damaged(Damage::Magic { what, found, expected: magic }));
        }
        Ok(std::array::from_fn(|_| words.next().unwrap_or_default()))
    }

    /// Reads all the rest, and sees that the file ends there, its checksum right.
    fn payload(&mut self) -> Result<LargePages> {
        let [count, rows, cols] = self.sizes;
        let total = self.sizes.iter().try_fold(1u64, |total, &n| total.checked_mul(n.into()));
        let total = match total {
            Some(0) => return Err(self.damaged(Damage::NoSamples { count, rows, cols })),
            Some(total) if total <= LIMIT => total,
            _ => {
                return Err(self.damaged(Damage::TooLarge { count, rows, cols, limit: LIMIT }));
            }
        };
        let what = self.kind.name();
        // A gzip file of a megabyte may well hold the gigabyte that it announces.
        let Some(mut bytes) = LargePages::try_zeroed(total.min(self.capacity) as usize) else {
            return Err(self.damaged(Damage::NoMemory { what, bytes: total }));
        };
        self.fill(&mut bytes, total, what)?;
        let expected = self.taken;
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(bytes),
            Ok(_) => Err(self.damaged(Damage::TrailingBytes { expected })),
            Err(error) => Err(self.failed(error, "checksum", expected)),
        }
    }

    /// Reads the next `count` bytes of the decoded file straight into their place; it is smaller where the file is.
    fn fill(&mut self, mut place: &mut [u8], count: u64, what: &'static str) -> Result<()> {
        let expected = self.taken + count;
        while self.taken < expected {
            match self.reader.read(place) {
                Ok(0) => {
                    let found = self.taken;
                    return Err(self.damaged(Damage::CutOff { what, found, expected }));
                }
                Ok(read) => {
                    self.taken += read as u64;
                    place = &mut place[read..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error, what, expected)),
            }
        }
        Ok(())
    }

    /// Tells a damaged gzip stream from a disk that cannot be read.
    fn failed(&self, error: std::io::Error, what: &'static str, expected: u64) -> Error {
        let found = self.taken;
        match (&self.reader, error.kind()) {
            (Coding::Gzip(_), ErrorKind::UnexpectedEof) => {
                self.damaged(Damage::GzipCutOff { what, found, expected })
            }
            (Coding::Gzip(_), ErrorKind::InvalidInput | ErrorKind::InvalidData) => {
                self.damaged(Damage::Gzip { reason: error.to_string(), found })
            }
            _ => Error::reading(self.path, &error),
        }
    }

    fn damaged(&self, damage: Damage) -> Error {
        Error::DataFile { path: self.path.to_path_buf(), damage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    use std::path::PathBuf;
    use tempfile::TempDir;

    /// An IDX file: magic number, sizes, payload.
    fn idx(magic: u32, sizes: &[u32], payload: &[u8]) -> Vec<u8> {
        let words = [magic].into_iter().chain(sizes.iter().copied());
        words.flat_map(u32::to_be_bytes).chain(payload.iter().copied()).collect()
    }

    /// Three images of 2 x 2.
    fn images() -> Vec<u8> {
        idx(IMAGES, &[3, 2, 2], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255])
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn stored(bytes: &[u8]) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn read(path: &Path, kind: Kind) -> Result<Vec<u8>> {
        Ok(IdxFile::open(path, kind)?.read()?.to_vec())
    }

    /// What is wrong with a file of images; its message is one line that names the file.
    fn damage_of_images(bytes: &[u8]) -> Damage {
        let (_folder, path) = stored(bytes);
        damage(read(&path, Kind::Images).unwrap_err(), &path)
    }

    fn damage_of_labels(bytes: &[u8]) -> Damage {
        let (_folder, path) = stored(bytes);
        damage(read(&path, Kind::Labels).unwrap_err(), &path)
    }

    fn damage(error: Error, path: &Path) -> Damage {
        let message = error.to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        assert!(message.ends_with("put a good copy in its place"), "{message}");
        assert!(!message.contains('\n'), "{message}");
        assert_eq!(error.exit_code(), 2);
        match error {
            Error::DataFile { damage, .. } => damage,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn gzipped_and_plain_files_are_told_by_their_content_and_read_alike() {
        for bytes in [images(), gzip(&images())] {
            let (_folder, path) = stored(&bytes);
            let file = IdxFile::open(&path, Kind::Images).unwrap();
            assert_eq!((file.count(), file.image_size()), (3, [2, 2]));
            assert_eq!(*file.read().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]);
        }
        let labels = idx(LABELS, &[4], &[0, 9, 3, 1]);
        for bytes in [labels.clone(), gzip(&labels)] {
            let (_folder, path) = stored(&bytes);
            assert_eq!(read(&path, Kind::Labels).unwrap(), [0, 9, 3, 1]);
        }
    }

    #[test]
    fn a_gzip_file_of_several_members_is_one_file() {
        let bytes = images();
        let (first, second) = bytes.split_at(10);
        let (_folder, path) = stored(&[gzip(first), gzip(second)].concat());
        assert_eq!(read(&path, Kind::Images).unwrap().len(), 12);
    }

    #[test]
    fn a_truncated_file_is_refused_with_its_size() {
        let bytes = images();
        for length in 1..bytes.len() {
            let (what, expected) = if length < 16 { ("header", 16) } else { ("images", 28) };
            let found = length as u64;
            assert_eq!(
                damage_of_images(&bytes[..length]),
                Damage::CutOff { what, found, expected },
                "cut off after {length} bytes"
            );
        }
    }

    #[test]
    fn a_truncated_gzip_file_is_refused_wherever_it_is_cut() {
        let bytes = gzip(&images());
        for length in 2..bytes.len() {
            let damage = damage_of_images(&bytes[..length]);
            assert!(
                matches!(damage, Damage::GzipCutOff { .. } | Damage::CutOff { .. }),
                "cut off after {length} of {} bytes: {damage:?}",
                bytes.len()
            );
        }
    }

    #[test]
    fn a_gzip_file_with_a_wrong_checksum_or_length_is_refused() {
        let bytes = gzip(&images());
        for from_end in 1..=8 {
            let mut bytes = bytes.clone();
            let at = bytes.len() - from_end;
            bytes[at] ^= 1;
            let damage = damage_of_images(&bytes);
            assert!(matches!(damage, Damage::Gzip { found: 28, .. }), "{damage:?}");
        }
    }

    #[test]
    fn no_single_flipped_bit_of_a_gzip_file_gives_other_pixels() {
        let bytes = gzip(&images());
        let (_folder, path) = stored(&bytes);
        let good = read(&path, Kind::Images).unwrap();
        for bit in 0..8 * bytes.len() {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (_folder, path) = stored(&bytes);
            if let Ok(pixels) = read(&path, Kind::Images) {
                assert_eq!(pixels, good, "bit {bit}"); // the header's time stamp, say
            }
        }
    }

    #[test]
    fn a_wrong_magic_number_is_shown_beside_the_right_one() {
        let expected = Damage::Magic { what: "images", found: LABELS, expected: IMAGES };
        assert_eq!(damage_of_images(&idx(LABELS, &[3, 2, 2], &[0; 12])), expected);
        let expected = Damage::Magic { what: "labels", found: IMAGES, expected: LABELS };
        assert_eq!(damage_of_labels(&images()), expected);
        assert!(matches!(damage_of_images(b"<!DOCTYPE html><html>"), Damage::Magic { .. }));
    }

    #[test]
    fn counts_that_disagree_with_the_payload_are_refused() {
        let announced = |count| idx(IMAGES, &[count, 2, 2], &[7; 12]);
        for coded in [announced(4), gzip(&announced(4))] {
            let expected = Damage::CutOff { what: "images", found: 28, expected: 32 };
            assert_eq!(damage_of_images(&coded), expected);
        }
        for coded in [announced(2), gzip(&announced(2))] {
            assert_eq!(damage_of_images(&coded), Damage::TrailingBytes { expected: 24 });
        }
    }

    #[test]
    fn bytes_after_the_end_of_a_gzip_file_are_refused() {
        let mut bytes = gzip(&images());
        bytes.extend(b"trailing");
        let damage = damage_of_images(&bytes);
        assert!(matches!(damage, Damage::Gzip { .. } | Damage::GzipCutOff { .. }), "{damage:?}");
        let twice = [gzip(&images()), gzip(b"more")].concat();
        assert_eq!(damage_of_images(&twice), Damage::TrailingBytes { expected: 28 });
    }

    #[test]
    fn a_file_without_samples_or_pixels_is_refused() {
        for sizes in [[0, 28, 28], [3, 0, 28], [3, 28, 0]] {
            let [count, rows, cols] = sizes;
            let expected = Damage::NoSamples { count, rows, cols };
            assert_eq!(damage_of_images(&idx(IMAGES, &sizes, &[])), expected);
        }
        let expected = Damage::NoSamples { count: 0, rows: 1, cols: 1 };
        assert_eq!(damage_of_labels(&idx(LABELS, &[0], &[])), expected);
    }

    #[test]
    fn a_label_above_nine_is_refused_with_its_place() {
        let expected = Damage::Label { label: 10, sample: 2, classes: 10 };
        assert_eq!(damage_of_labels(&idx(LABELS, &[4], &[9, 0, 10, 255])), expected);
    }

    #[test]
    fn an_absurd_header_is_refused_before_any_memory_is_taken() {
        let max = u32::MAX;
        for sizes in [[max, max, max], [1, 65_536, 65_536], [(1 << 31) + 1, 1, 1]] {
            let damage = damage_of_images(&idx(IMAGES, &sizes, &[0; 10]));
            assert!(matches!(damage, Damage::TooLarge { .. }), "{damage:?}");
        }
        // The largest that is allowed: the file is too small to hold it, so little is reserved.
        let bytes = gzip(&idx(IMAGES, &[1 << 31, 1, 1], &[0; 10]));
        let (_folder, path) = stored(&bytes);
        let file = IdxFile::open(&path, Kind::Images).unwrap();
        assert!(file.capacity < 100_000, "{} bytes would be reserved", file.capacity);
        assert!(matches!(damage_of_images(&bytes), Damage::CutOff { found: 26, .. }));
    }

    #[test]
    fn a_gzip_bomb_is_read_only_as_far_as_its_header_announces() {
        let bomb = gzip(&[images(), vec![0; 8 << 20]].concat());
        assert!(bomb.len() < 16 << 10, "{} bytes", bomb.len());
        assert_eq!(damage_of_images(&bomb), Damage::TrailingBytes { expected: 28 });
    }

    #[test]
    fn an_empty_file_a_folder_and_a_missing_file_are_told_apart() {
        assert_eq!(damage_of_images(&[]), Damage::Empty);
        let expected = Damage::CutOff { what: "header", found: 0, expected: 16 };
        assert_eq!(damage_of_images(&gzip(&[])), expected);

        let folder = TempDir::new().unwrap();
        let error = read(folder.path(), Kind::Images).unwrap_err();
        assert_eq!(damage(error, folder.path()), Damage::Folder);

        let error = read(&folder.path().join("none"), Kind::Labels).unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_in_the_place_of_a_file_is_refused_without_waiting_for_it() {
        let path = Path::new("/dev/zero");
        assert_eq!(damage(read(path, Kind::Images).unwrap_err(), path), Damage::NotAFile);
    }

    #[test]
    fn a_file_without_permission_is_refused_with_what_to_do() {
        let denied = std::io::Error::from(ErrorKind::PermissionDenied);
        let message = Error::reading(Path::new("some/file"), &denied).to_string();
        assert!(message.contains("some/file: permission denied; give yourself"), "{message}");
    }
}
