//! How rows get into sled: large values packed and in parts, batches that are bounded, and nothing kept that a batch has replaced.

use super::schema;
use super::store::{PACKED, PACKED_PARTS, PART_BYTES, PARTS, StorageError, Store, WHOLE};
use crate::state::Row;

/// Rows of one of sled's batches: it holds every page that a batch replaces until the end of it, 2.6 GB for 400,000 rows.
const BATCH_ROWS_MAX: usize = 8_000;
/// Shorter values are not worth packing. sled writes each page several times over, so that a byte less in a row is some six less on
/// disk.
const PACK_BYTES_MIN: usize = 1 << 10;
/// zstd's fastest that still finds what texts repeat.
const PACK_LEVEL: i32 = 1;
/// Reads that follow a written row: see [`Store::let_go`].
const READS_PER_ROW: usize = 2;

impl Store {
    /// Writes rows and what goes with them: all of it or nothing survives a crash.
    ///
    /// What is too much for one of sled's batches goes in several, between a mark that comes first and goes with the last. A crash
    /// in between leaves the mark, and the store is rebuilt from snapshot and log: rare, and in the log's order, so no sync is
    /// needed here.
    pub(super) fn write(&self, rows: &[Row], meta: &[u8]) -> Result<(), StorageError> {
        let keys: Vec<Vec<u8>> = rows.iter().map(|row| schema::encode(&row.key)).collect();
        let rows = keys
            .iter()
            .zip(rows)
            .map(|(key, row)| (key.as_slice(), row.value.as_deref()));
        let mut rows: Vec<(&[u8], Option<&[u8]>)> = rows.collect();
        let mut last = vec![(schema::META, Some(meta))];
        if rows.iter().map(weight).sum::<usize>() > BATCH_ROWS_MAX {
            self.apply([(schema::TORN, Some(&[][..]))].into_iter())?;
            for rows in batches(&rows) {
                self.apply(rows.iter().copied())?;
            }
            rows.clear();
            last.push((schema::TORN, None));
        }
        self.apply(rows.into_iter().chain(last))
    }

    /// Restored rows: their keys as the snapshot has them.
    pub(super) fn write_raw<'a>(&self, rows: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), StorageError> {
        self.apply(rows.map(|(key, value)| (key, Some(value))))
    }

    fn apply<'a>(&self, rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Result<(), StorageError> {
        let mut batch = sled::Batch::default();
        let mut written = 0;
        let mut packer = Packer::new().map_err(StorageError::io(self.folder()))?;
        for (key, value) in rows {
            written += self.put(&mut batch, key, value.map(|value| packer.pack(value)))?;
        }
        self.tree.apply_batch(batch)?;
        self.let_go(written)
    }

    /// sled frees the pages that a batch has replaced only while others are read: without these, an import in large batches
    /// grew the process by gigabytes.
    fn let_go(&self, written: usize) -> Result<(), StorageError> {
        for _ in 0..written * READS_PER_ROW {
            self.tree.contains_key(schema::META)?;
        }
        Ok(())
    }

    /// Adds a row to a batch; how many rows of sled that makes.
    fn put(&self, batch: &mut sled::Batch, key: &[u8], value: Option<Value<'_>>) -> Result<usize, StorageError> {
        let length = value.as_ref().map_or(0, |value| value.bytes().len());
        let parts = if length > PART_BYTES {
            length.div_ceil(PART_BYTES)
        } else {
            0
        };
        self.remove_parts(batch, key, parts)?;
        let Some(value) = value else {
            batch.remove(key);
            return Ok(1);
        };
        let mut head = value.head(parts);
        if parts == 0 {
            head.extend_from_slice(value.bytes());
        }
        batch.insert(key, head);
        for (part, bytes) in value.bytes().chunks(PART_BYTES).enumerate().take(parts) {
            batch.insert(schema::part(key, part as u32), bytes);
        }
        Ok(parts + 1)
    }

    /// Parts of the value before that the new one does not overwrite.
    fn remove_parts(&self, batch: &mut sled::Batch, key: &[u8], from: usize) -> Result<(), StorageError> {
        let Some(known) = self.tree.get(key)? else {
            return Ok(());
        };
        if let Some((&(PARTS | PACKED_PARTS), rest)) = known.split_first()
            && let Some(count) = rest.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
        {
            (from as u32..count).for_each(|part| batch.remove(schema::part(key, part)));
        }
        Ok(())
    }
}

/// A value as it is stored.
enum Value<'a> {
    Plain(&'a [u8]),
    /// And how long it is unpacked.
    Packed(Vec<u8>, u32),
}

impl Value<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Packed(bytes, _) => bytes,
        }
    }

    /// What stands before the bytes, or alone when they are in `parts`.
    fn head(&self, parts: usize) -> Vec<u8> {
        let count = (parts as u32).to_be_bytes();
        match (self, parts) {
            (Self::Plain(bytes), 0) => {
                let mut head = Vec::with_capacity(1 + bytes.len());
                head.push(WHOLE);
                head
            }
            (Self::Plain(_), _) => [&[PARTS][..], &count].concat(),
            (Self::Packed(_, length), 0) => [&[PACKED][..], &length.to_be_bytes()].concat(),
            (Self::Packed(_, length), _) => [&[PACKED_PARTS][..], &count, &length.to_be_bytes()].concat(),
        }
    }
}

struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    fn new() -> std::io::Result<Self> {
        zstd::bulk::Compressor::new(PACK_LEVEL).map(Self)
    }

    /// Packed, if that is shorter.
    fn pack<'a>(&mut self, value: &'a [u8]) -> Value<'a> {
        if value.len() < PACK_BYTES_MIN {
            return Value::Plain(value);
        }
        match (self.0.compress(value), u32::try_from(value.len())) {
            (Ok(packed), Ok(length)) if packed.len() < value.len() => Value::Packed(packed, length),
            _ => Value::Plain(value),
        }
    }
}

/// About how many of sled's rows a row makes.
fn weight((_, value): &(&[u8], Option<&[u8]>)) -> usize {
    1 + value.map_or(0, |value| value.len() / PART_BYTES)
}

/// Splits rows into batches of bounded weight; a single row may weigh more.
fn batches<'a>(rows: &'a [(&'a [u8], Option<&'a [u8]>)]) -> impl Iterator<Item = &'a [(&'a [u8], Option<&'a [u8]>)]> {
    let mut weighs = 0;
    rows.chunk_by(move |row, _| {
        weighs += weight(row);
        let fits = weighs < BATCH_ROWS_MAX;
        weighs *= usize::from(fits);
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::{BATCH_ROWS_MAX, PART_BYTES};
    use crate::model::Priority;
    use crate::state::{Row, RowKey};
    use crate::storage::{Config, Store, schema};
    use bytes::Bytes;

    fn row(key: RowKey, bytes: usize) -> Row {
        Row {
            key,
            value: Some(crate::storage::store::tests::noise(bytes)),
        }
    }

    #[test]
    fn a_large_batch_is_whole_or_known_to_be_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let store = Store::open(&path, &Config::default()).unwrap();
        let mut rows: Vec<Row> = (0..2 * BATCH_ROWS_MAX as u32)
            .map(|number| row(RowKey::User(number), number as usize % 50))
            .collect();
        rows.push(row(RowKey::Presence(1), 9 * PART_BYTES));
        store.write(&rows, b"meta").unwrap();
        drop(store);
        let store = Store::open(&path, &Config::default()).unwrap();
        let mut found = Vec::new();
        let scan = store.scan(|key, value| {
            let value = Some(value);
            found.push(Row { key, value });
            Ok(())
        });
        scan.unwrap();
        rows.rotate_right(1);
        assert!(found == rows);
        assert_eq!(store.meta().unwrap().unwrap(), "meta");
        // What a crash leaves.
        store.apply([(schema::TORN, Some(&[][..]))].into_iter()).unwrap();
        drop(store);
        let error = Store::open(&path, &Config::default()).err().unwrap().to_string();
        assert!(error.contains("within a large batch"), "{error}");
    }

    #[test]
    fn batches_are_bounded_and_complete() {
        let large = vec![0; 7 * PART_BYTES];
        let rows: Vec<(&[u8], Option<&[u8]>)> = (0..3 * BATCH_ROWS_MAX)
            .map(|number| (&b"key"[..], (number % 3 > 0).then_some(large.as_slice())))
            .collect();
        let mut count = 0;
        for batch in super::batches(&rows) {
            assert!(batch.iter().map(super::weight).sum::<usize>() < BATCH_ROWS_MAX + 8);
            count += batch.len();
        }
        assert_eq!(count, rows.len());
    }

    #[test]
    fn rows_that_are_written_once_go_with_all_their_parts() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s"), &Config::default()).unwrap();
        let keys = [
            RowKey::Journal(Priority::Low, 3),
            RowKey::Keys(9),
            RowKey::LedgerLate(4, 1),
        ];
        let write = |value: Option<Bytes>| {
            let row = |key: &RowKey| Row {
                key: key.clone(),
                value: value.clone(),
            };
            store.write(&keys.each_ref().map(row), b"").unwrap();
        };
        write(Some(vec![1; 3 * PART_BYTES].into()));
        assert_eq!(store.ledger_late(4).unwrap().len(), 1);
        assert!(store.ledger_late(5).unwrap().is_empty());
        write(None);
        assert_eq!(store.tree.len(), 1);
    }

    #[test]
    fn no_page_is_so_large_that_it_leaves_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s"), &Config::default()).unwrap();
        for round in 0..20 {
            let rows: Vec<Row> = (0..8)
                .map(|number| row(RowKey::Journal(Priority::Low, round * 8 + number), 400_000))
                .collect();
            store.write(&rows, b"").unwrap();
        }
        store.sync().unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("s/blobs")).unwrap().count(), 0);
    }
}
