//! A folder that a run works in, and secrets in it that nobody else on this machine can read.

use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Dropping one of our own removes it with all that it holds.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    is_ours: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Folder {
    /// A new one among the temporary files.
    pub fn temporary() -> Result<Self> {
        let name = format!("campanile-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = made(&std::env::temp_dir().join(name))?;
        Ok(Self { path, is_ours: true })
    }

    /// Somebody's, which stays.
    pub fn kept(path: &Path) -> Result<Self> {
        let path = made(path)?;
        Ok(Self { path, is_ours: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The whole path of a folder that exists now: it must not depend on a working folder.
fn made(path: &Path) -> Result<PathBuf> {
    fs::create_dir_all(path)
        .and_then(|()| path.canonicalize())
        .with_context(|| path.display().to_string())
}

/// Writes a line to a new file that only this user can read.
pub fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let mut options = File::options();
    let file = options.create_new(true).write(true).mode(0o600).open(path);
    file.and_then(|mut file| writeln!(file, "{secret}"))
        .with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::{Folder, write_secret};
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_folder_of_our_own_goes_with_its_secrets_and_a_kept_one_stays() {
        let folder = Folder::temporary().unwrap();
        let path = folder.path().to_owned();
        let file = path.join("key");
        write_secret(&file, "word").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&file).unwrap(), "word\n");
        assert!(write_secret(&file, "other").is_err(), "a secret is never written over");
        drop(Folder::kept(&path).unwrap());
        assert!(path.exists());
        drop(folder);
        assert!(!path.exists());
    }
}
