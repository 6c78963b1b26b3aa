//! The sled folder of one node: rows by key.

use super::Config;
use crate::model::{Number, Position, Priority};
use crate::state::RowKey;
use bytes::Bytes;
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("the store in {path} is damaged: {detail}")]
    Damaged { path: String, detail: String },
    #[error("{0}")]
    Sled(#[from] sled::Error),
}

/// An open sled folder; clones share it.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens or creates the folder; gives up after `config.open_deadline`.
    pub fn open(_folder: &Path, _config: &Config) -> Result<Self, StorageError> {
        Ok(Self {})
    }

    /// What the last batch carried beside its rows.
    pub fn meta(&self) -> Result<Option<Bytes>, StorageError> {
        Ok(None)
    }

    /// All rows in the order of their keys.
    pub fn scan(&self, _each: impl FnMut(RowKey, Bytes) -> Result<(), StorageError>) -> Result<(), StorageError> {
        Ok(())
    }

    pub fn get(&self, _key: &RowKey) -> Result<Option<Bytes>, StorageError> {
        Ok(None)
    }

    /// Journal rows of one priority in order: the one that may hold `position` and those after it, `rows_max` at most.
    pub fn journal(
        &self,
        _priority: Priority,
        _position: Position,
        _rows_max: usize,
    ) -> Result<Vec<(Position, Bytes)>, StorageError> {
        Ok(Vec::new())
    }

    /// The last journal rows of one priority, in order, until their values exceed `bytes_max`.
    pub fn journal_tail(&self, _priority: Priority, _bytes_max: usize) -> Result<Vec<(Position, Bytes)>, StorageError> {
        Ok(Vec::new())
    }

    /// Late receipts of one broadcast, oldest first.
    pub fn ledger_late(&self, _number: Number) -> Result<Vec<(RowKey, Bytes)>, StorageError> {
        Ok(Vec::new())
    }
}
