//! A folder that a run works in, and secrets in it that nobody else on this machine can read.

use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
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
    let name = || path.display().to_string();
    ensure!(!path.exists(), "{} is there already", name());
    write_whole(path, &format!("{secret}\n"), 0o600).with_context(name)
}

/// Writes a file that is there as a whole or not at all, whatever cuts the writing off.
pub fn write_whole(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // What is there was cut off.
    remove(Path::new(&beside))?;
    let mut file = File::options().create_new(true).write(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// Removes a file where there is one.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::{Folder, write_secret, write_whole};
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

    #[test]
    fn what_was_cut_off_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("key"), folder.path().join("key.new"));
        fs::write(&beside, "wo").unwrap();
        write_secret(&path, "word").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "word\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!beside.exists());
        write_whole(&path, "other", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "other");
    }
}
