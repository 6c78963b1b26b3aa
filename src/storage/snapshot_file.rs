//! A snapshot as a file: header, rows, checksum. The same format serves transfer between nodes and the operator's backup.
//!
//! ```text
//! magic 8 | header length u32 | header (bincode) | zstd stream of rows | crc32 u32 | length u64 | magic 8
//! row: key length u32 | value length u32 | key | value        the last row has no key and no value
//! ```
//! Numbers are little-endian; the checksum is over everything before it. A file is verified whole before any of it is used.

use super::Config;
use super::store::{StorageError, Store};
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: u16,
    /// The log index that the rows stand at.
    pub applied: u64,
    /// What the batch at that index carried beside its rows.
    pub meta: Bytes,
}

pub const FORMAT: u16 = 1;
/// How the name of a file ends that is not whole yet.
const UNFINISHED: &str = "part";

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
        if let Err(error) = fs::remove_file(&self.temporary) {
            tracing::warn!(%error, path = %self.temporary.display(), "an unfinished snapshot cannot be removed");
        }
    }

    /// The file is durable under its own name when this returns; its length.
    pub fn finish(mut self) -> Result<(PathBuf, u64), StorageError> {
        self.row(&[], &[])?;
        let Self {
            stream,
            temporary,
            path,
        } = self;
        let finish = || {
            let Summed { mut inner, crc, bytes } = stream.finish()?;
            inner.write_all(&crc.finalize().to_le_bytes())?;
            inner.write_all(&bytes.to_le_bytes())?;
            inner.write_all(MAGIC)?;
            let file = inner.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            sync_folder(&path)?;
            Ok(bytes + FOOTER_BYTES)
        };
        let bytes = finish().map_err(StorageError::io(&path))?;
        Ok((path, bytes))
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
    if header.format != FORMAT {
        return Err(damaged(&format!("format {} is not known here", header.format)));
    }
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

/// Removes what was being written or received when the node stopped. Only while nothing of it is under way.
pub fn remove_unfinished(folder: &Path) -> Result<(), StorageError> {
    for path in with_end(folder, UNFINISHED)? {
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
        if path.extension().is_some_and(|known| known == end) {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{FORMAT, Header, Writer, list, restore, rows, verify};
    use crate::state::RowKey;
    use crate::storage::{Config, schema};

    fn file(folder: &std::path::Path) -> std::path::PathBuf {
        let header = Header {
            format: FORMAT,
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
}
