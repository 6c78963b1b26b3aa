//! The bytes of every frame, as clients were promised them.

use super::fixture::{EPOCH, SALT, draft, release_of};
use crate::base::size::Span;
use crate::gateway::frame::{self, Gap};
use crate::gateway::window::Entry;
use crate::gateway::{Transport, goodbye};
use crate::model::Priority::{Critical, Low};
use crate::model::{Acknowledge, Action, BroadcastId, Clause, Cursor, Trace};
use crate::state::{Release, ReleaseKind};

const AT: i64 = 1_800_000_000_000;

fn cursor() -> Cursor {
    Cursor {
        epoch: EPOCH,
        positions: [1, 2, 3, 4],
    }
}

fn full() -> std::sync::Arc<Release> {
    let mut draft = draft(Critical, "Go \"inside\".\nNow.");
    draft.audience.clauses.push(Clause {
        weddings: vec!["w-1".into()],
        on_site: vec!["larkfield".into()],
        ..Clause::default()
    });
    draft.data = Some(r#"{"any":[1.50,"json"]}"#.into());
    draft.action = Some(Action {
        label: "Map".into(),
        url: "/map".into(),
    });
    draft.acknowledge = Some(Acknowledge {
        within_ms: 15_000,
        answers: vec!["ok".into(), "need_help".into()],
        need: Vec::new(),
        escalate: Vec::new(),
    });
    draft.supersedes = Some(BroadcastId::new(AT, SALT, 40));
    release_of(42, draft, AT + 60_000, &[1])
}

const FULL: &str = r#"{"event":"broadcast","id":"01MC5HD80B8BN0000000000019","position":42,"priority":"critical","type":"system.test","title":"title","body":"Go \"inside\".\nNow.","data":{"any":[1.50,"json"]},"action":{"label":"Map","url":"/map"},"wedding":"w-1","venue":"larkfield","expires_at":"2027-01-15T08:01:00.000Z","acknowledge":{"within":"15s","answers":["ok","need_help"]},"supersedes":"01MC5HD80B8BN0000000000018","drill":false,"released_at":"2027-01-15T08:00:00.000Z"}"#;
const BARE: &str = r#"{"event":"broadcast","id":"ID","position":7,"priority":"low","type":"system.test","title":"title","body":"b","data":null,"action":null,"wedding":null,"venue":null,"expires_at":"2027-01-15T08:00:00.000Z","acknowledge":null,"supersedes":null,"drill":false,"released_at":"2027-01-15T08:00:00.000Z"}"#;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_broadcast_has_every_field() {
    let release = full();
    let id = release.broadcast.id.to_string();
    let supersedes = BroadcastId::new(AT, SALT, 40).to_string();
    let expected = FULL
        .replace("01MC5HD80B8BN0000000000019", &id)
        .replace("01MC5HD80B8BN0000000000018", &supersedes);
    assert_eq!(text(&frame::release(&release).1), expected);
    let bare = release_of(7, draft(Low, "b"), AT, &[1]);
    assert_eq!(
        text(&frame::release(&bare).1),
        BARE.replace("ID", &bare.broadcast.id.to_string())
    );
    let mut escalated = (*bare).clone();
    escalated.escalated = true;
    assert!(text(&frame::release(&escalated).1).ends_with(r#""escalated":true}"#));
    let mut draft = draft(Low, "b");
    draft.trace = Trace::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let traced = frame::release(&release_of(7, draft, AT, &[1])).1;
    let ending = r#""released_at":"2027-01-15T08:00:00.000Z","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#;
    assert!(text(&traced).ends_with(ending), "{}", text(&traced));
    let retracted = Release {
        kind: ReleaseKind::Retracted,
        ..(*bare).clone()
    };
    let expected = r#"{"event":"retracted","id":"ID","position":7,"priority":"low","drill":false,"released_at":"2027-01-15T08:00:00.000Z"}"#;
    assert_eq!(frame::release(&retracted).0, "retracted");
    assert_eq!(
        text(&frame::release(&retracted).1),
        expected.replace("ID", &bare.broadcast.id.to_string())
    );
}

/// An exercise is marked as one on whatever a client may show.
#[test]
fn every_frame_of_a_drill_says_so() {
    let mut exercise = draft(Low, "b");
    exercise.drill = true;
    let release = release_of(7, exercise, AT, &[1]);
    for kind in [ReleaseKind::Broadcast, ReleaseKind::Again, ReleaseKind::Retracted] {
        let release = Release {
            kind,
            ..(*release).clone()
        };
        assert!(
            text(&frame::release(&release).1).contains(r#","drill":true,"#),
            "{kind:?}"
        );
    }
}

#[test]
fn the_other_frames_are_short() {
    let others = ["http://b".to_owned()];
    let hello = frame::hello("7-1", 7, cursor(), Span::seconds(15), &others, &[], 3);
    assert_eq!(
        text(&hello),
        r#"{"event":"hello","session":"7-1","node":7,"cursor":"0000abcd.1.2.3.4","heartbeat":"15s","nodes":["http://b"],"backlog":3}"#
    );
    let load = [frame::Seats {
        url: "http://b".into(),
        sessions: 12,
    }];
    let hello = frame::hello("7-1", 7, cursor(), Span::seconds(15), &others, &load, 3);
    let shown = r#""nodes":["http://b"],"load":[{"url":"http://b","sessions":12}],"backlog":3}"#;
    assert!(text(&hello).ends_with(shown), "{}", text(&hello));
    let gap = frame::gap(&Gap {
        from: Cursor { epoch: 1, ..cursor() },
        to: cursor(),
        reason: frame::FOREIGN,
    });
    assert_eq!(
        text(&gap),
        r#"{"event":"gap","from":"00000001.1.2.3.4","to":"0000abcd.1.2.3.4","reason":"another_epoch"}"#
    );
    assert_eq!(
        text(&frame::leader(true, &others).1),
        r#"{"event":"degraded","nodes":["http://b"]}"#
    );
    assert_eq!(text(&frame::leader(false, &[]).1), r#"{"event":"restored","nodes":[]}"#);
    assert_eq!(
        text(&frame::goodbye(&goodbye::SLOW, &others)),
        r#"{"event":"goodbye","code":4008,"reason":"slow consumer: nothing was read for gateway.stall_max","reconnect_ms":1000,"nodes":["http://b"]}"#
    );
    assert!(text(&frame::goodbye(&goodbye::ERASED, &[])).contains(r#""reconnect_ms":null"#));
    assert_eq!(frame::ok(&"a".into()), r#"{"event":"ok","ref":"a"}"#);
    assert_eq!(
        frame::problem(Some(&7.into()), "TRY_AGAIN", "later", true),
        r#"{"event":"problem","ref":7,"code":"TRY_AGAIN","detail":"later","retryable":true}"#
    );
}

#[test]
fn each_transport_has_its_own_bytes() {
    let entry = Entry::new(release_of(7, draft(Low, "b"), AT, &[1]));
    let json = frame::release(&entry.release).1;
    let sse = [b"event: broadcast\ndata: ", &json[..], b"\n\n"].concat();
    let lines = [&json[..], b"\n"].concat();
    let length = (json.len() as u16).to_be_bytes();
    let websocket = [&[0x81, 126, length[0], length[1]], &json[..]].concat();
    for (transport, expected) in [
        (Transport::Sse, sse),
        (Transport::Lines, lines),
        (Transport::WebSocket, websocket),
    ] {
        assert_eq!(entry.frame(transport), &expected);
    }
    let of = |write: fn(Transport, &mut Vec<u8>)| {
        Transport::ALL.map(|transport| {
            let mut out = Vec::new();
            write(transport, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        })
    };
    let line = r#"{"event":"cursor","cursor":"0000abcd.1.2.3.4"}"#;
    assert_eq!(
        of(|transport, out| transport.cursor(out, cursor())),
        [
            format!("\u{FFFD}{}{line}", line.len() as u8 as char),
            "id: 0000abcd.1.2.3.4\n\n".into(),
            format!("{line}\n")
        ]
    );
    let pings = ["\u{FFFD}\0", ":\n\n", "{\"event\":\"ping\"}\n"];
    assert_eq!(of(Transport::heartbeat), pings);
    let [_, hello, _] = of(|transport, out| transport.frame(out, "hello", b"{}", Some(cursor())));
    assert_eq!(hello, "event: hello\nid: 0000abcd.1.2.3.4\ndata: {}\n\n");
    let mut long = Vec::new();
    Transport::WebSocket.frame(&mut long, "", &vec![b'x'; 70_000], None);
    assert_eq!(long[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
}
