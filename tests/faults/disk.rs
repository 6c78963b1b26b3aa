//! Disks that can lose their power: ext4 in an image on a loop device, shut down without flushing its journal.

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
        let image = folder.join(format!("{name}.img"));
        let mount = folder.join(name);
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(IMAGE_BYTES).map_err(|error| error.to_string())?;
        std::fs::create_dir_all(&mount).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", &image.to_string_lossy()])?;
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

/// Is this machine able to do it? Else, what is missing.
pub fn can_cut() -> Result<(), String> {
    let user = run("id", &["-u"])?;
    if user != "0" {
        return Err(format!("needs root to mount loop devices; this is user {user}"));
    }
    run("mkfs.ext4", &["-V"]).and_then(|_| run("python3", &["--version"]))?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut disk = Disk::new(folder.path(), "probe")?;
    let cut = cut(std::slice::from_ref(&disk)).map(|_| ());
    disk.unmount()?;
    cut
}
