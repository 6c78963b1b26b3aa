//! A snapshot as a file: header, rows, checksum. The same format serves transfer between nodes and the operator's backup.
//!
//! ```text
//! magic 8 | header length u32 | header (bincode) | zstd stream of rows | crc32 u32 | length u64 | magic 8
//! row: key length u32 | value length u32 | key | value        the last row has no key and no value
//! ```
//! Numbers are little-endian; the checksum is over everything before it. A file is verified whole before any of it is used.

use super::Config;
use super::store::{StorageError, Store};
use super::write_behind::disk_failed;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"CAMPSNP1";
const FOOTER_BYTES: u64 = 4 + 8 + 8;
/// A row's value; more is damage.
const VALUE_BYTES_MAX: u32 = 256 << 20;
const KEY_BYTES_MAX: u32 = 64 << 10;
const HEADER_BYTES_MAX: u32 = 1 << 20;
/// Rows restored per batch.
const RESTORE_ROWS: usize = 2_000;
const RESTORE_BYTES: usize = 4 << 20;

/// Whose rows a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// As the identity file has it.
    pub cluster: u128,
    /// The history that cursors and ids belong to; 0 while it has no name.
    pub epoch: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Stands first in every format.
    pub format: u16,
    pub origin: Origin,
    /// The log index that the rows stand at.
    pub applied: u64,
    /// What the batch at that index carried beside its rows: the log id and the membership, for whoever applies the log.
    pub meta: Bytes,
}

impl Header {
    /// A snapshot of another cluster is whole and well, and would replace everything.
    pub fn check_cluster(&self, path: &Path, cluster: u128) -> Result<(), StorageError> {
        if self.origin.cluster == cluster {
            return Ok(());
        }
        let detail = format!(
            "this snapshot is of cluster {:032x}, but this node belongs to {cluster:032x}: it is never used here; move it away",
            self.origin.cluster
        );
        Err(StorageError::damaged(path, detail))
    }
}

pub const FORMAT: u16 = 2;
/// How the name of a file ends that is not whole yet: one that is written here, one that is received, and one that was received
/// and waits for its installation.
const UNFINISHED: &str = "part";
const RECEIVING: &str = "receiving.part";
const RECEIVED: &str = "received.part";

/// Counts and checksums what goes through.
struct Summed<W> {
    inner: W,
    crc: crc32fast::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a snapshot under a temporary name; [`Writer::finish`] makes it durable and gives it its own.
pub struct Writer {
    stream: zstd::Encoder<'static, Summed<BufWriter<File>>>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Writer {
    pub fn create(folder: &Path, header: &Header) -> Result<Self, StorageError> {
        fs::create_dir_all(folder).map_err(StorageError::io(folder))?;
        let path = folder.join(format!("{:020}.snapshot", header.applied));
        let temporary = path.with_extension(UNFINISHED);
        let open = || {
            let file = BufWriter::with_capacity(1 << 16, File::create(&temporary)?);
            let mut summed = Summed {
                inner: file,
                crc: crc32fast::Hasher::new(),
                bytes: 0,
            };
            let encoded = bincode::serialize(header).map_err(io::Error::other)?;
            summed.write_all(MAGIC)?;
            summed.write_all(&(encoded.len() as u32).to_le_bytes())?;
            summed.write_all(&encoded)?;
            zstd::Encoder::new(summed, 1)
        };
        let stream = open().map_err(StorageError::io(&temporary))?;
        Ok(Self {
            stream,
            temporary,
            path,
        })
    }

    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        let mut write = || {
            self.stream.write_all(&(key.len() as u32).to_le_bytes())?;
            self.stream.write_all(&(value.len() as u32).to_le_bytes())?;
            self.stream.write_all(key)?;
            self.stream.write_all(value)
        };
        write().map_err(StorageError::io(&self.temporary))
    }

    /// Removes what has been written.
    pub fn abandon(self) {
        remove_unwritten(&self.temporary);
    }

    /// The file is durable under its own name when this returns; its length. What cannot be written is removed; a sync that fails
    /// ends the process.
    pub fn finish(mut self) -> Result<(PathBuf, u64), StorageError> {
        let ended = self.row(&[], &[]);
        let Self {
            stream,
            temporary,
            path,
        } = self;
        let written = ended.and_then(|()| write_end(stream).map_err(StorageError::io(&temporary)));
        let (file, bytes) = written.inspect_err(|_| remove_unwritten(&temporary))?;
        if let Err(error) = file.sync_all() {
            disk_failed("fsync of a snapshot", &error);
        }
        fs::rename(&temporary, &path)
            .and_then(|()| sync_folder(&path))
            .map_err(StorageError::io(&path))?;
        Ok((path, bytes))
    }
}

fn write_end(stream: zstd::Encoder<'static, Summed<BufWriter<File>>>) -> io::Result<(File, u64)> {
    let Summed { mut inner, crc, bytes } = stream.finish()?;
    inner.write_all(&crc.finalize().to_le_bytes())?;
    inner.write_all(&bytes.to_le_bytes())?;
    inner.write_all(MAGIC)?;
    let file = inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok((file, bytes + FOOTER_BYTES))
}

fn remove_unwritten(temporary: &Path) {
    if let Err(error) = fs::remove_file(temporary) {
        tracing::warn!(%error, path = %temporary.display(), "an unfinished snapshot cannot be removed");
    }
}

/// Makes a file's name durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Reads the whole file once and compares its checksum; the header of a good one.
pub fn verify(path: &Path) -> Result<Header, StorageError> {
    let damaged = |detail: &str| StorageError::damaged(path, detail);
    let mut file = File::open(path).map_err(StorageError::io(path))?;
    let length = file.metadata().map_err(StorageError::io(path))?.len();
    let body = length
        .checked_sub(FOOTER_BYTES)
        .ok_or_else(|| damaged("the file is too short"))?;
    let mut footer = [0; FOOTER_BYTES as usize];
    file.seek(SeekFrom::Start(body))
        .and_then(|_| file.read_exact(&mut footer))
        .map_err(StorageError::io(path))?;
    let (crc, rest) = footer.split_at(4);
    let (told, magic) = rest.split_at(8);
    if magic != MAGIC || told != body.to_le_bytes() {
        return Err(damaged("the end of the file is missing"));
    }
    file.rewind().map_err(StorageError::io(path))?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    let mut left = body;
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut buffer[..want]).map_err(StorageError::io(path))?;
        hasher.update(&buffer[..want]);
        left -= want as u64;
    }
    if hasher.finalize().to_le_bytes() != crc {
        return Err(damaged("the checksum does not match"));
    }
    let (header, _) = open(path)?;
    Ok(header)
}

type Rows = zstd::Decoder<'static, BufReader<io::Take<File>>>;

fn open(path: &Path) -> Result<(Header, Rows), StorageError> {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut start = [0; 12];
        file.read_exact(&mut start)?;
        let (magic, count) = start.split_at(8);
        let count = u32::from_le_bytes(count.try_into().map_err(io::Error::other)?);
        if magic != MAGIC || count > HEADER_BYTES_MAX {
            return Err(io::Error::other("this is not a snapshot"));
        }
        let mut encoded = vec![0; count as usize];
        file.read_exact(&mut encoded)?;
        let format = encoded.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
        if format != FORMAT {
            return Err(io::Error::other(format!("format {format} is not known here")));
        }
        let header = bincode::deserialize(&encoded).map_err(io::Error::other)?;
        let body = length.saturating_sub(12 + u64::from(count) + FOOTER_BYTES);
        Ok((header, zstd::Decoder::new(file.take(body))?))
    };
    read().map_err(StorageError::io(path))
}

/// All rows of a verified file, in order, as they stand on disk.
pub fn rows(
    path: &Path,
    mut each: impl FnMut(Vec<u8>, Vec<u8>) -> Result<(), StorageError>,
) -> Result<Header, StorageError> {
    let (header, mut stream) = open(path)?;
    loop {
        let mut lengths = [0; 8];
        stream.read_exact(&mut lengths).map_err(StorageError::io(path))?;
        let (key, value) = lengths.split_at(4);
        let length = |bytes: &[u8]| bytes.try_into().map_or(u32::MAX, u32::from_le_bytes);
        let (key, value) = (length(key), length(value));
        if key == 0 {
            return Ok(header);
        }
        if key > KEY_BYTES_MAX || value > VALUE_BYTES_MAX {
            return Err(StorageError::damaged(path, format!("a row of {key} and {value} bytes")));
        }
        let mut read = |count: u32| {
            let mut bytes = vec![0; count as usize];
            stream.read_exact(&mut bytes).map(|()| bytes)
        };
        let key = read(key).map_err(StorageError::io(path))?;
        let value = read(value).map_err(StorageError::io(path))?;
        each(key, value)?;
    }
}

/// Fills a fresh folder with a verified snapshot; durable when it returns.
pub fn restore(path: &Path, folder: &Path, config: &Config) -> Result<(Store, Header), StorageError> {
    verify(path)?;
    let store = Store::open(folder, config)?;
    let mut batch: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut bytes = 0;
    let header = rows(path, |key, value| {
        bytes += key.len() + value.len();
        batch.push((key, value));
        if batch.len() < RESTORE_ROWS && bytes < RESTORE_BYTES {
            return Ok(());
        }
        bytes = 0;
        let rows = std::mem::take(&mut batch);
        store.write_raw(rows.iter().map(|(key, value)| (key.as_slice(), value.as_slice())))
    })?;
    store.write_raw(batch.iter().map(|(key, value)| (key.as_slice(), value.as_slice())))?;
    store.sync()?;
    Ok((store, header))
}

/// The snapshots of a folder, newest first.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let mut found = with_end(folder, "snapshot")?;
    found.sort();
    found.reverse();
    Ok(found)
}

/// Where a snapshot is received, by the number of its transfer.
pub fn receiving(folder: &Path, transfer: u64) -> PathBuf {
    folder.join(format!("{transfer:016x}.{RECEIVING}"))
}

/// The name of a file that was received whole.
pub fn whole(receiving: &Path) -> PathBuf {
    let name = receiving.file_name().unwrap_or_default().to_string_lossy();
    let transfer = name.split('.').next().unwrap_or_default();
    receiving.with_file_name(format!("{transfer}.{RECEIVED}"))
}

/// Removes what was being received, but not what was received whole.
pub fn remove_received(folder: &Path) -> Result<(), StorageError> {
    remove(with_end(folder, RECEIVING)?)
}

/// Removes what was being written or received when the node stopped. Only while nothing of it is under way.
pub fn remove_unfinished(folder: &Path) -> Result<(), StorageError> {
    remove(with_end(folder, UNFINISHED)?)
}

fn remove(paths: Vec<PathBuf>) -> Result<(), StorageError> {
    for path in paths {
        fs::remove_file(&path).map_err(StorageError::io(&path))?;
    }
    Ok(())
}

fn with_end(folder: &Path, end: &str) -> Result<Vec<PathBuf>, StorageError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StorageError::io(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(StorageError::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.strip_suffix(end).is_some_and(|start| start.ends_with('.')) {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{FORMAT, Header, MAGIC, Origin, Writer, list, restore, rows, verify};
    use crate::state::RowKey;
    use crate::storage::{Config, schema};

    fn file(folder: &std::path::Path) -> std::path::PathBuf {
        let header = Header {
            format: FORMAT,
            origin: Origin { cluster: 7, epoch: 8 },
            applied: 42,
            meta: "meta".into(),
        };
        let mut writer = Writer::create(folder, &header).unwrap();
        writer.row(schema::META, b"meta").unwrap();
        for number in 0..50u32 {
            writer
                .row(
                    &schema::encode(&RowKey::User(number)),
                    &vec![number as u8; number as usize * 3],
                )
                .unwrap();
        }
        writer.finish().unwrap().0
    }

    #[test]
    fn what_is_written_is_restored() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        assert_eq!(list(folder.path()).unwrap(), vec![path.clone()]);
        let (store, header) = restore(&path, &folder.path().join("state"), &Config::default()).unwrap();
        assert_eq!(
            (header.applied, store.meta().unwrap().unwrap().as_ref()),
            (42, &b"meta"[..])
        );
        assert_eq!(store.get(&RowKey::User(49)).unwrap().unwrap(), vec![49; 147]);
        let mut count = 0;
        rows(&path, |_, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 51);
    }

    #[test]
    fn what_was_received_whole_stays_until_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let old = super::receiving(folder.path(), 1);
        let new = super::receiving(folder.path(), 2);
        let built = folder.path().join("00000000000000000042.part");
        let kept = file(folder.path());
        for path in [&old, &new, &built] {
            std::fs::write(path, "half").unwrap();
        }
        std::fs::rename(&new, super::whole(&new)).unwrap();
        super::remove_received(folder.path()).unwrap();
        let there = |path: &std::path::Path| path.exists();
        assert_eq!(
            [&old, &super::whole(&new), &built, &kept].map(|path| there(path)),
            [false, true, true, true]
        );
        super::remove_unfinished(folder.path()).unwrap();
        assert_eq!(
            [&super::whole(&new), &built, &kept].map(|path| there(path)),
            [false, false, true]
        );
        assert_eq!(list(folder.path()).unwrap(), [kept]);
    }

    #[test]
    fn damage_anywhere_is_found_before_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(verify(&path).is_err(), "cut at {at}");
            let mut flipped = good.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(&path, flipped).unwrap();
            assert!(verify(&path).is_err(), "flipped at {at}");
        }
        std::fs::write(&path, &good).unwrap();
        assert_eq!(verify(&path).unwrap().applied, 42);
    }

    #[test]
    fn the_header_says_whose_rows_these_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        let header = verify(&path).unwrap();
        assert_eq!(header.origin, Origin { cluster: 7, epoch: 8 });
        assert!(header.check_cluster(&path, 7).is_ok());
        for other in [0, 8] {
            let error = header.check_cluster(&path, other).unwrap_err().to_string();
            assert!(error.contains("of cluster 00000000000000000000000000000007"), "{error}");
            assert!(error.contains(&format!("belongs to {other:032x}")), "{error}");
        }
    }

    #[test]
    fn another_format_is_refused_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        let mut bytes = std::fs::read(&path).unwrap();
        let body = bytes.len() - super::FOOTER_BYTES as usize;
        bytes[12] = 1; // behind the magic and the header's length
        bytes.truncate(body);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend((body as u64).to_le_bytes());
        bytes.extend(MAGIC);
        std::fs::write(&path, bytes).unwrap();
        let error = verify(&path).unwrap_err().to_string();
        assert!(error.contains("format 1 is not known here"), "{error}");
    }
}
