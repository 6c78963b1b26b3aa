//! A disk that goes away while its syncs are under way: a yes of the product's sync is never wrong, though the kernel's is.
//!
//! Run with the power cut, and like it: see [`super::power_cut`].

use super::disk::{Disk, cut};
use super::power_cut::{asked_for, say};
use campanile::storage::durable;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CUTS: usize = 15;
/// Records per write are as long as a small entry of the log.
const RECORD: [u8; 600] = [7; 600];
/// Disks cut together, and the time that each is written to before.
const DISKS: usize = 3;
const BEFORE: Duration = Duration::from_millis(150);

/// What a writer was told before its disk was gone.
#[derive(Clone, Copy, Default)]
struct Told {
    by_the_kernel: u64,
    by_the_product: u64,
}

#[test]
fn power_cut_never_takes_what_a_sync_has_promised() {
    let Some(_alone) = asked_for() else { return };
    let images = tempfile::tempdir().unwrap();
    let mut disks: Vec<Disk> = (1..=DISKS)
        .map(|id| Disk::new(images.path(), &format!("gone-{id}")).unwrap())
        .collect();
    let mut wrong = 0;
    for round in 0..CUTS {
        let told = write_until_cut(&disks, round);
        for (disk, told) in disks.iter_mut().zip(told) {
            disk.unmount().unwrap();
            disk.mount().unwrap();
            let kept = records(&file(disk, round));
            wrong += usize::from(kept < told.by_the_kernel);
            let promised = told.by_the_product;
            assert!(
                kept >= promised,
                "round {round}: {promised} records were promised, {kept} are there"
            );
        }
    }
    say(&format!(
        "{} disks cut under fdatasync: the kernel said yes to lost bytes {wrong} times, the product never",
        CUTS * DISKS
    ));
}

fn file(disk: &Disk, round: usize) -> std::path::PathBuf {
    disk.mount.join(format!("records-{round}"))
}

fn records(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len() / RECORD.len() as u64)
}

fn write_until_cut(disks: &[Disk], round: usize) -> Vec<Told> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let start = |disk| {
            let (path, stop) = (file(disk, round), &stop);
            threads.spawn(move || write(&path, stop))
        };
        let writers: Vec<_> = disks.iter().map(start).collect();
        super::harness::wait::maybe(BEFORE, || None::<()>);
        let done = cut(disks);
        // A disk that is gone ends its writer; where nothing was cut, nothing would.
        stop.store(done.is_err(), Ordering::Relaxed);
        done.unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

fn write(path: &Path, stop: &AtomicBool) -> Told {
    let options = File::options().create(true).append(true).read(true).clone();
    let mut file = options.open(path).unwrap();
    let mut told = Told::default();
    // the two halves of `durable::sync_data`, to count what the kernel alone says
    while !stop.load(Ordering::Relaxed) && file.write_all(&RECORD).is_ok() && file.sync_data().is_ok() {
        told.by_the_kernel += 1;
        if durable::still_there(&file).is_err() {
            break;
        }
        told.by_the_product += 1;
    }
    told
}
