//! `campanile doctor` on this machine, whatever that is: it looks at everything, and leaves nothing behind.

use super::{campanile, data_in, err, json, out};
use std::net::TcpListener;

#[test]
fn the_doctor_looks_at_everything_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("api.listen={}", taken.local_addr().unwrap());
    let data = data_in(folder.path());
    let words = [
        "doctor",
        "--set",
        &data,
        "--set",
        &api,
        "--set",
        "cluster.listen=127.0.0.1:0",
    ];
    let output = campanile(&[&words[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert_eq!(json(&err(&output))["exit"], 1);
    let told = json(&out(&output));
    assert_eq!(told["ok"], false);
    let checks = told["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().map(|check| check["check"].as_str().unwrap()).collect();
    let expected = [
        "open files",
        "clock",
        "time zones",
        "memory",
        "TLS",
        "disk",
        "disk sync",
        "port",
        "port",
    ];
    assert_eq!(names, expected);
    let verdict = |at: usize| checks[at]["verdict"].as_str().unwrap();
    assert_eq!(
        (verdict(2), verdict(7), verdict(8)),
        ("fine", "failed", "fine"),
        "{told}"
    );
    assert!(checks[7]["try"].as_str().unwrap().contains("api.listen"), "{told}");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it leaves nothing behind"
    );
    let people = out(&campanile(&words));
    assert!(
        people.contains("failed   port") && people.contains("try: stop that one"),
        "{people}"
    );
    assert_eq!(campanile(&["doctor", "--set", "node.id=0"]).status.code(), Some(2));
}
