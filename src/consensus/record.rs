//! How entries, log ids and votes look in the log's files. `raft-log` adds the checksum of each record.

use super::types::{LogEntry, LogId, Packed, RaftVote};
use crate::model::NodeId;
use bytes::Bytes;
use openraft::EntryPayload;
use openraft::vote::{RaftLeaderId, RaftVote as _};
use raft_log::codeq::{Decode, Encode};
use std::io::{self, Read, Write};

/// The layout of a record's payload. A change of layout takes a new number and keeps reading the old.
const VERSION: u8 = 1;
/// No record is larger; a damaged length is refused before memory is asked for.
const RECORD_BYTES_MAX: u32 = 256 << 20;

/// The types of the log: see [`raft_log::Types`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTypes;

impl raft_log::Types for LogTypes {
    type LogId = Key;
    type LogPayload = Payload;
    type Vote = VoteRecord;
    type Callback = super::log_sync::Synced;
    type UserData = u64;

    fn log_index(key: &Key) -> u64 {
        key.index
    }

    fn payload_size(payload: &Payload) -> u64 {
        payload.data.len() as u64 + 64
    }
}

/// A log id: with one leader per term, the term names the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub term: u64,
    pub index: u64,
}

impl From<&LogId> for Key {
    fn from(id: &LogId) -> Self {
        Self {
            term: id.leader_id.term,
            index: id.index,
        }
    }
}

impl From<&Key> for LogId {
    fn from(key: &Key) -> Self {
        Self::new(committed_leader(key.term), key.index)
    }
}

type LeaderId = <super::types::Types as openraft::RaftTypeConfig>::LeaderId;

fn committed_leader(term: u64) -> <LeaderId as RaftLeaderId>::Committed {
    LeaderId::new(term, 0).to_committed()
}

/// Ordered as openraft orders votes of one node: a leader's vote overrides a candidate's of the same term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VoteRecord {
    term: u64,
    committed: bool,
    node: NodeId,
}

impl From<&RaftVote> for VoteRecord {
    fn from(vote: &RaftVote) -> Self {
        Self {
            term: vote.leader_id.term,
            committed: vote.committed,
            node: vote.leader_id.voted_for,
        }
    }
}

impl From<&VoteRecord> for RaftVote {
    fn from(record: &VoteRecord) -> Self {
        Self::from_leader_id(LeaderId::new(record.term, record.node), record.committed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Blank = 0,
    Pack = 1,
    Members = 2,
}

/// What an entry carries, as bytes; a clone shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    kind: Kind,
    data: Bytes,
}

impl Payload {
    pub fn new(entry: LogEntry) -> io::Result<(Key, Self)> {
        let key = Key::from(&entry.log_id);
        let (kind, data) = match entry.payload {
            EntryPayload::Blank => (Kind::Blank, Bytes::new()),
            EntryPayload::Normal(Packed(bytes)) => (Kind::Pack, bytes),
            EntryPayload::Membership(members) => (Kind::Members, bincode::serialize(&members).map_err(invalid)?.into()),
        };
        Ok((key, Self { kind, data }))
    }

    pub fn into_entry(self, key: &Key) -> io::Result<LogEntry> {
        let payload = match self.kind {
            Kind::Blank => EntryPayload::Blank,
            Kind::Pack => EntryPayload::Normal(Packed(self.data)),
            Kind::Members => EntryPayload::Membership(bincode::deserialize(&self.data).map_err(invalid)?),
        };
        Ok(LogEntry {
            log_id: key.into(),
            payload,
        })
    }

    pub fn len(&self) -> usize {
        self.data.len()
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Encode for Key {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        Ok(self.term.encode(&mut w)? + self.index.encode(&mut w)?)
    }
}

impl Decode for Key {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let term = u64::decode(&mut r)?;
        let index = u64::decode(&mut r)?;
        Ok(Self { term, index })
    }
}

impl Encode for VoteRecord {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        Ok(self.term.encode(&mut w)? + self.committed.encode(&mut w)? + self.node.encode(&mut w)?)
    }
}

impl Decode for VoteRecord {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let term = u64::decode(&mut r)?;
        let committed = bool::decode(&mut r)?;
        let node = u64::decode(&mut r)?;
        Ok(Self { term, committed, node })
    }
}

impl Encode for Payload {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let length = u32::try_from(self.data.len()).map_err(invalid)?;
        w.write_all(&[VERSION, self.kind as u8])?;
        w.write_all(&length.to_be_bytes())?;
        w.write_all(&self.data)?;
        Ok(6 + self.data.len())
    }
}

impl Decode for Payload {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let mut head = [0; 6];
        r.read_exact(&mut head)?;
        let [version, kind, length @ ..] = head;
        if version != VERSION {
            return Err(invalid(format!(
                "log record of version {version}; this program reads {VERSION}"
            )));
        }
        let kind = match kind {
            0 => Kind::Blank,
            1 => Kind::Pack,
            2 => Kind::Members,
            other => return Err(invalid(format!("log record of unknown kind {other}"))),
        };
        let length = u32::from_be_bytes(length);
        if length > RECORD_BYTES_MAX {
            return Err(invalid(format!(
                "log record of {length} bytes; at most {RECORD_BYTES_MAX}"
            )));
        }
        let mut data = vec![0; length as usize];
        r.read_exact(&mut data)?;
        Ok(Self {
            kind,
            data: data.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    fn check<T: Encode + Decode + PartialEq + Debug>(value: &T) {
        let mut bytes = Vec::new();
        let written = value.encode(&mut bytes).unwrap();
        assert_eq!(written, bytes.len());
        assert_eq!(&T::decode(&bytes[..]).unwrap(), value);
        for cut in 0..bytes.len() {
            assert!(T::decode(&bytes[..cut]).is_err(), "{value:?} cut at {cut}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_a_cut_is_seen() {
        check(&Key { term: 3, index: 7 });
        check(&VoteRecord {
            term: 3,
            committed: true,
            node: 2,
        });
        for kind in [Kind::Blank, Kind::Pack, Kind::Members] {
            check(&Payload {
                kind,
                data: Bytes::from_static(b"bytes"),
            });
        }
    }

    #[test]
    fn damage_is_refused_before_memory_is_asked_for() {
        let huge = [&[VERSION, 1][..], &u32::MAX.to_be_bytes()].concat();
        assert!(Payload::decode(&huge[..]).unwrap_err().to_string().contains("at most"));
        assert!(
            Payload::decode(&[9, 1, 0, 0, 0, 0][..])
                .unwrap_err()
                .to_string()
                .contains("version 9")
        );
        assert!(
            Payload::decode(&[VERSION, 9, 0, 0, 0, 0][..])
                .unwrap_err()
                .to_string()
                .contains("kind 9")
        );
    }

    #[test]
    fn a_leaders_vote_overrides_a_candidates_of_the_same_term() {
        let candidate = VoteRecord {
            term: 5,
            committed: false,
            node: 3,
        };
        let leader = VoteRecord {
            term: 5,
            committed: true,
            node: 1,
        };
        assert!(candidate < leader);
        assert_eq!(VoteRecord::from(&RaftVote::from(&leader)), leader);
    }
}
