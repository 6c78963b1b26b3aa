//! Every verdict, from figures.

use super::{
    Finding, Peer, Port, Running, Shown, Verdict, certificate, files, keeper, key, memory, no_folder, peer, port, room,
    syncs, zones,
};
use crate::config::Config;
use crate::storage::free::Volume;
use std::path::Path;
use std::time::Duration;

const GIB: u64 = 1 << 30;

#[track_caller]
fn check(finding: Finding, verdict: Verdict, part: &str) {
    assert_eq!(finding.verdict, verdict, "{finding:?}");
    assert!(finding.found.contains(part), "{finding:?}");
    assert_eq!(
        finding.advice.is_some(),
        verdict != Verdict::Fine,
        "what is wrong can be helped: {finding:?}"
    );
    assert_eq!(finding.json()["found"], finding.found.as_str());
}

#[test]
fn files_are_enough_for_the_phones() {
    let config = Config::default();
    check(files(None, &config), Verdict::Fine, "without a limit");
    check(files(Some(65_536), &config), Verdict::Fine, "65,536 are allowed");
    check(
        files(Some(4_096), &config),
        Verdict::Warning,
        "about 3,840 phones fit; the settings want 40,256",
    );
    check(files(Some(512), &config), Verdict::Failed, "512 are allowed");
}

#[test]
fn the_clock_has_a_keeper_and_zones_are_known() {
    check(keeper(Some("chrony")), Verdict::Fine, "kept by chrony");
    check(keeper(None), Verdict::Warning, "nothing was found");
    check(zones(&[]), Verdict::Fine, "known");
    check(zones(&["Europe/Zurich"]), Verdict::Failed, "not known: Europe/Zurich");
}

#[test]
fn memory_is_enough_for_the_settings() {
    let mut config = Config::default();
    check(memory(Some(4 * GIB), &config), Verdict::Fine, "4,096 MiB are free");
    check(memory(Some(GIB / 2), &config), Verdict::Warning, "512 MiB are free");
    check(memory(None, &config), Verdict::Warning, "cannot be read");
    config.gateway.sessions_max = 500_000;
    check(memory(Some(4 * GIB), &config), Verdict::Warning, "may take 8,");
}

#[test]
fn the_disk_has_room() {
    let volume = Volume {
        total: 100 * GIB,
        free: 50 * GIB,
    };
    check(
        room(Some((volume, 49 * GIB))),
        Verdict::Fine,
        "50,176 MiB of 102,400 may be taken",
    );
    check(room(Some((volume, GIB / 2))), Verdict::Warning, "512 MiB");
    check(room(Some((volume, 0))), Verdict::Failed, "it is full");
    check(room(None), Verdict::Warning, "cannot be read");
    check(
        no_folder(Path::new("/srv"), "denied"),
        Verdict::Failed,
        "/srv cannot be written to: denied",
    );
}

#[test]
fn the_disk_is_quick_enough_for_elections() {
    let config = Config::default();
    let millis = |each: &[u64]| {
        each.iter()
            .map(|millis| Duration::from_millis(*millis))
            .collect::<Vec<_>>()
    };
    let check = |each: &[u64], verdict: Verdict, part: &str| check(syncs(Ok(&millis(each)), &config), verdict, part);
    check(&[3, 1, 2], Verdict::Fine, "2.0 ms in the middle, 3.0 ms at worst, of 3");
    check(&[1, 1, 150], Verdict::Warning, "150 ms at worst");
    check(&[60, 60, 61], Verdict::Warning, "60 ms in the middle");
    check(&[1, 1, 411], Verdict::Failed, "as long as an election waits");
    super::tests::check(syncs(Err("it failed: EIO"), &config), Verdict::Failed, "EIO");
    super::tests::check(syncs(Ok(&[]), &config), Verdict::Failed, "nothing was measured");
}

#[test]
fn a_port_is_free_or_our_own() {
    let found = |state: Port, running: Running| port("api.listen", "127.0.0.1:8205", state, running);
    check(
        found(Port::Free, Running::Nothing),
        Verdict::Fine,
        "127.0.0.1:8205 (api.listen) is free",
    );
    check(
        found(Port::InUse, Running::ANode),
        Verdict::Fine,
        "a node runs here already",
    );
    check(
        found(Port::InUse, Running::Nothing),
        Verdict::Failed,
        "in use by another program",
    );
    check(
        found(Port::Wrong("no such address".into()), Running::Nothing),
        Verdict::Failed,
        "no such address",
    );
}

#[test]
fn other_nodes_are_there_and_on_time() {
    let known = |fault: Option<&str>, skew: Option<u64>| Peer {
        node: 2,
        address: "10.0.0.2:8206".into(),
        peer_fault: fault.map(str::to_owned),
        url: "http://10.0.0.2:8205".into(),
        skew: skew.map(Duration::from_secs),
    };
    check(
        peer(&known(None, Some(1))),
        Verdict::Fine,
        "node 2 at 10.0.0.2:8206 is reached; its clock is right",
    );
    check(peer(&known(None, Some(5))), Verdict::Warning, "differs by 5 s");
    check(peer(&known(None, Some(31))), Verdict::Failed, "differs by 31 s");
    check(
        peer(&known(None, None)),
        Verdict::Warning,
        "nothing answers at http://10.0.0.2:8205",
    );
    check(
        peer(&known(Some("refused"), None)),
        Verdict::Warning,
        "cannot be reached: refused",
    );
}

#[test]
fn a_certificate_counts_and_is_for_this_node() {
    const DAY: i64 = 24 * 3600 * 1_000;
    let (now, config) = (1_800_000_000_000, Config::default());
    let shown = |ends: Option<i64>, is_early: bool, foreign: &[&str]| {
        let shown = Shown {
            ends,
            is_early,
            is_key_open: false,
            foreign: foreign.iter().map(|host| (*host).to_owned()).collect(),
        };
        certificate(Some(Ok(shown)), now, &config)
    };
    check(
        shown(Some(now + 31 * DAY), false, &[]),
        Verdict::Fine,
        "counts until 2027-02-15",
    );
    check(
        shown(Some(now + 29 * DAY), false, &[]),
        Verdict::Warning,
        "ends on 2027-02-13",
    );
    check(shown(Some(now), false, &[]), Verdict::Failed, "has ended on 2027-01-15");
    check(shown(None, true, &[]), Verdict::Failed, "does not count yet");
    check(shown(None, false, &[]), Verdict::Fine, "cannot be told");
    check(
        shown(Some(now + 90 * DAY), false, &["a.example"]),
        Verdict::Failed,
        "not for a.example",
    );
    check(
        certificate(Some(Err("no file".into())), now, &config),
        Verdict::Failed,
        "no file",
    );
}

#[test]
fn a_key_is_the_nodes_alone() {
    let found = |is_key_open| {
        let shown = Shown {
            is_key_open,
            ..Shown::default()
        };
        key(Some(&Ok(shown))).unwrap()
    };
    check(found(false), Verdict::Fine, "nobody else");
    check(found(true), Verdict::Warning, "others on this machine");
    assert_eq!((key(None), key(Some(&Err("no file".into())))), (None, None));
}

#[test]
fn without_tls_it_matters_who_can_listen() {
    let mut config = Config::default();
    check(certificate(None, 0, &config), Verdict::Fine, "only this machine");
    config.api.listen = "10.0.0.1:8205".into();
    check(certificate(None, 0, &config), Verdict::Warning, "in the clear");
    config.api.url = Some("https://node.example".into());
    check(certificate(None, 0, &config), Verdict::Fine, "a proxy");
}
