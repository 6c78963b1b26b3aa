//! What is in the two files: what is refused, when it counts, and when others are used.

use crate::base::clock;
use crate::net::tls::bench::{Bench, renew};
use crate::net::tls::{Certificate, CertificateError, Config, Reloaded};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

fn check_refused(config: &Config, expected: &str) {
    let error = Certificate::read(config).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn files_of_no_use_are_refused_in_words() {
    let bench = Bench::new();
    let config = &bench.config;
    assert!(Certificate::read(config).is_ok());
    let none = Config {
        certificate_file: "/nowhere.pem".into(),
        ..config.clone()
    };
    check_refused(&none, "tls.certificate_file /nowhere.pem: ");
    let swapped = Config {
        certificate_file: config.key_file.clone(),
        key_file: config.certificate_file.clone(),
        ..config.clone()
    };
    check_refused(&swapped, "it has no certificate in PEM");
    let twice = Config {
        key_file: config.certificate_file.clone(),
        ..config.clone()
    };
    check_refused(&twice, "it has no private key in PEM without a password");
    let other = Bench::new();
    let foreign = Config {
        key_file: other.config.key_file.clone(),
        ..config.clone()
    };
    assert!(matches!(
        Certificate::read(&foreign),
        Err(CertificateError::Foreign { .. })
    ));
    let whole = fs::read_to_string(&config.certificate_file).unwrap();
    fs::write(&config.certificate_file, whole.replacen("MII", "MIA", 1)).unwrap();
    check_refused(config, "its certificate 1 is broken");
}

#[test]
fn a_certificate_says_until_when_it_counts_and_for_whom() {
    let bench = Bench::new();
    let key = KeyPair::generate().unwrap();
    let write = |from: i32, until: i32| {
        let mut params = CertificateParams::new(vec!["node.example".into(), "10.0.0.1".into()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        fs::write(&bench.config.certificate_file, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&bench.config.key_file, key.serialize_pem()).unwrap();
        Certificate::read(&bench.config).unwrap()
    };
    let certificate = write(2000, 2001);
    assert_eq!(
        certificate.expires_at().map(clock::rfc3339).as_deref(),
        Some("2001-01-01T00:00:00.000Z")
    );
    assert!(!certificate.is_early() && write(3000, 3001).is_early());
    let mut params = CertificateParams::new(vec!["node.example".into()]).unwrap();
    params.not_after = date_time_ymd(2001, 1, 1);
    // What some tools make when they are asked for no more than a certificate that signs itself.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(&bench.config.certificate_file, params.self_signed(&key).unwrap().pem()).unwrap();
    assert!(Certificate::read(&bench.config).unwrap().expires_at().is_some());
    for (host, expected) in [
        ("node.example", true),
        ("NODE.example", true),
        ("10.0.0.1", true),
        ("other.example", false),
        ("10.0.0.2", false),
        ("", false),
    ] {
        assert_eq!(certificate.is_for(host), expected, "{host}");
    }
}

#[test]
fn settings_come_in_pairs() {
    let set = |certificate: &str, key: &str| Config {
        certificate_file: certificate.into(),
        key_file: key.into(),
        ..Config::default()
    };
    assert!(set("", "").faults().is_empty() && set("a", "b").faults().is_empty());
    assert_eq!(
        set("a", "").faults(),
        ["tls.certificate_file is set; it must come with tls.key_file"]
    );
    assert_eq!(
        set("", "b").faults(),
        ["tls.key_file is set; it must come with tls.certificate_file"]
    );
    assert_eq!((set("", "").scheme(), set("a", "b").scheme()), ("http", "https"));
}

#[test]
fn a_file_that_might_never_end_is_refused_at_once() {
    let bench = Bench::new();
    for (certificate_file, key_file) in [
        ("/dev/zero", &*bench.config.key_file),
        (&*bench.config.certificate_file, "/dev/zero"),
    ] {
        let config = Config {
            certificate_file: certificate_file.into(),
            key_file: key_file.into(),
            ..bench.config.clone()
        };
        check_refused(&config, "/dev/zero: it is not a regular file");
    }
}

#[test]
fn a_chain_that_is_still_written_is_not_used() {
    let bench = Bench::new();
    let acceptor = bench.acceptor();
    let shown = || acceptor.certificate().key.cert.len();
    assert_eq!((acceptor.reload().unwrap(), shown()), (Reloaded::Same, 1));
    renew(&bench.config, &["localhost"]);
    let whole = fs::read_to_string(&bench.config.certificate_file).unwrap();
    let chain = whole.repeat(3);
    // Each look finds more of it, cut between two certificates; by itself each piece could be used.
    for certificates in 1..=3 {
        fs::write(&bench.config.certificate_file, &chain[..certificates * whole.len()]).unwrap();
        assert!(Certificate::read(&bench.config).is_ok());
        assert_eq!((acceptor.reload().unwrap(), shown()), (Reloaded::Settling, 1));
    }
    assert_eq!((acceptor.reload().unwrap(), shown()), (Reloaded::Changed, 3));
    assert_eq!((acceptor.reload().unwrap(), shown()), (Reloaded::Same, 3));
}

#[test]
fn whether_others_may_read_the_key_is_what_the_last_look_has_found() {
    let bench = Bench::new();
    let set = |mode| fs::set_permissions(&bench.config.key_file, Permissions::from_mode(mode)).unwrap();
    set(0o644);
    let acceptor = bench.acceptor();
    assert!(acceptor.certificate().is_key_open());
    set(0o600);
    assert_eq!(acceptor.reload().unwrap(), Reloaded::Same);
    assert!(!acceptor.certificate().is_key_open());
}
