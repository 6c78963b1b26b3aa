//! A file with a certificate or a key: read without waiting for anybody, and up to a bound.

use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// A chain has a few certificates of a few kilobytes each.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;
/// Rights of others to a file that is this user's own.
const OF_OTHERS: u32 = 0o077;
/// And to one that this user reads because its group may.
const OF_OTHERS_THAN_THE_GROUP: u32 = 0o037;

/// What there is to know of a file besides what is in it.
pub(super) struct Found {
    pub bytes: Vec<u8>,
    /// More users than need to have rights to it.
    pub is_open_to_others: bool,
}

/// A pipe or a device is refused: opening or reading one may never end.
pub(super) fn read(path: &str) -> io::Result<Found> {
    let mut options = File::options();
    let options = options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    (&file).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let detail = format!("it has more than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(ErrorKind::InvalidData, detail));
    }
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    Ok(Found {
        bytes,
        is_open_to_others: is_open_to_others(metadata.mode(), is_own),
    })
}

const fn is_open_to_others(mode: u32, is_own: bool) -> bool {
    let others = if is_own { OF_OTHERS } else { OF_OTHERS_THAN_THE_GROUP };
    mode & others != 0
}

#[cfg(test)]
mod tests {
    use super::{FILE_BYTES_MAX, is_open_to_others, read};
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs;

    #[test]
    fn what_might_never_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let name = path.to_str().unwrap();
        let refused = |name: &str| read(name).err().map(|error| error.to_string()).unwrap_or_default();
        fs::write(&path, vec![b'x'; FILE_BYTES_MAX as usize]).unwrap();
        assert_eq!(read(name).unwrap().bytes.len() as u64, FILE_BYTES_MAX);
        fs::write(&path, vec![b'x'; FILE_BYTES_MAX as usize + 1]).unwrap();
        assert!(refused(name).contains("more than 1048576 bytes"), "{}", refused(name));
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for other in [name, "/dev/zero", folder.path().to_str().unwrap()] {
            assert!(refused(other).contains("not a regular file"), "{}", refused(other));
        }
    }

    #[test]
    fn a_key_is_for_its_owner_or_for_the_group_that_it_is_read_through() {
        for (mode, is_own, expected) in [
            (0o100_600, true, false),
            (0o100_400, true, false),
            (0o100_640, true, true),
            (0o100_604, true, true),
            (0o100_620, true, true),
            (0o100_640, false, false),
            (0o100_660, false, true),
            (0o100_644, false, true),
        ] {
            assert_eq!(is_open_to_others(mode, is_own), expected, "{mode:o} {is_own}");
        }
    }
}
