//! Disks that can lose their power, or fill up: ext4 in an image on a loop device. A cut shuts it down without flushing its
//! journal.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH` on every folder named, all at once; prints how many milliseconds lay between the
/// first that began and the last that was done.
const CUT: &str = "
import fcntl, os, struct, sys, threading, time
folders = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
ready, begun, done = threading.Barrier(len(folders)), [], []
def cut(folder):
    ready.wait()
    begun.append(time.monotonic())
    fcntl.ioctl(folder, 0x8004587D, struct.pack('I', 2))
    done.append(time.monotonic())
threads = [threading.Thread(target=cut, args=(folder,)) for folder in folders]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(done) == len(folders)
print(round((max(done) - min(begun)) * 1000, 3))
";

const IMAGE_BYTES: u64 = 512 << 20;
/// What is written at a time to fill a disk to its last block.
const BLOCK: [u8; 512] = [7; 512];

pub struct Disk {
    image: PathBuf,
    pub mount: PathBuf,
    mounted: bool,
}

/// Runs a tool; its complaint is the error.
fn run(tool: &str, arguments: &[&str]) -> Result<String, String> {
    let out = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{tool}: {error}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    Err(format!(
        "{tool} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&out.stderr).trim()
    ))
}

impl Disk {
    pub fn new(folder: &Path, name: &str) -> Result<Self, String> {
        Self::of(folder, name, IMAGE_BYTES)
    }

    /// One of so many bytes, none of them reserved for root.
    pub fn of(folder: &Path, name: &str, bytes: u64) -> Result<Self, String> {
        let image = folder.join(format!("{name}.img"));
        let mount = folder.join(name);
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        std::fs::create_dir_all(&mount).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", &image.to_string_lossy()])?;
        let mut disk = Self {
            image,
            mount,
            mounted: false,
        };
        disk.mount()?;
        Ok(disk)
    }

    pub fn mount(&mut self) -> Result<(), String> {
        run(
            "mount",
            &[
                "-o",
                "loop",
                &self.image.to_string_lossy(),
                &self.mount.to_string_lossy(),
            ],
        )?;
        self.mounted = true;
        Ok(())
    }

    /// Size and free bytes.
    pub fn room(&self) -> (u64, u64) {
        let room = rustix::fs::statvfs(&self.mount).unwrap();
        (room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize)
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }

    /// Somebody else's file grows until this much is free.
    pub fn fill(&self, leave: u64) {
        let file = File::options().create(true).append(true).open(self.filler()).unwrap();
        let (from, (_, free)) = (file.metadata().unwrap().len(), self.room());
        if free > leave {
            let none = rustix::fs::FallocateFlags::empty();
            rustix::fs::fallocate(&file, none, from, free - leave).unwrap();
        }
        file.sync_all().unwrap();
    }

    /// Somebody else's file takes all there is, and what is given back meanwhile.
    pub fn fill_up(&self) {
        self.fill(1 << 20);
        let mut file = File::options().append(true).open(self.filler()).unwrap();
        let mut grown = true;
        while std::mem::take(&mut grown) {
            loop {
                match file.write_all(&BLOCK) {
                    Ok(()) => grown = true,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
            // What others have freed can be taken once it is committed.
            file.sync_all().unwrap();
        }
    }

    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    pub fn unmount(&mut self) -> Result<(), String> {
        run("umount", &[&self.mount.to_string_lossy()])?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = self.unmount();
        }
    }
}

/// Cuts the power of all disks; how many milliseconds lay between the first and the last.
pub fn cut(disks: &[Disk]) -> Result<f64, String> {
    let mut arguments = vec!["-c", CUT];
    let mounts: Vec<String> = disks
        .iter()
        .map(|disk| disk.mount.to_string_lossy().into_owned())
        .collect();
    arguments.extend(mounts.iter().map(String::as_str));
    let said = run("python3", &arguments)?;
    said.parse().map_err(|error| format!("{said:?}: {error}"))
}

/// Is this machine able to mount such disks? Else, what is missing.
pub fn can_mount() -> Result<(), String> {
    probe().and_then(|(_folder, mut disk)| disk.unmount())
}

fn probe() -> Result<(tempfile::TempDir, Disk), String> {
    let user = run("id", &["-u"])?;
    if user != "0" {
        return Err(format!("needs root to mount loop devices; this is user {user}"));
    }
    run("mkfs.ext4", &["-V"])?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let disk = Disk::new(folder.path(), "probe")?;
    Ok((folder, disk))
}

/// Is this machine able to cut their power? Else, what is missing.
pub fn can_cut() -> Result<(), String> {
    run("python3", &["--version"])?;
    let (_folder, mut disk) = probe()?;
    let cut = cut(std::slice::from_ref(&disk)).map(|_| ());
    disk.unmount()?;
    cut
}
