//! `docs/API.md` is written by hand but for its tables of routes and codes; these tests keep them, and write them with `BLESS=1`.

use super::Node;
use crate::api::Code;
use crate::api::router::routes;
use axum::body::Body;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

fn table_of_routes() -> String {
    let mut table = "| address | method | |\n|---|---|---|\n".to_owned();
    for route in routes() {
        for (method, what) in route.about {
            let _ = writeln!(table, "| `{}` | {method} | {what} |", route.path);
        }
    }
    table
}

fn table_of_codes() -> String {
    let mut table = "| code | status | retryable | |\n|---|---|---|---|\n".to_owned();
    for code in Code::ALL {
        let retryable = if code.retryable() { "yes" } else { "no" };
        let (text, status, title) = (code.text(), code.status().as_u16(), code.title());
        let _ = writeln!(table, "| `{text}` | {status} | {retryable} | {title} |");
    }
    table
}

/// The page with this table between its two marks.
fn with(page: &str, name: &str, table: &str) -> String {
    let (start, end) = (
        format!("<!-- {name}: made by a test -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let (before, rest) = page.split_once(&start).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{start}{table}{end}{after}")
}

#[test]
fn the_page_of_the_api_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/API.md");
    let there = std::fs::read_to_string(&path).unwrap();
    let page = with(&with(&there, "routes", &table_of_routes()), "codes", &table_of_codes());
    #[allow(clippy::disallowed_methods)] // no setting: a word to this test
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page).unwrap();
        return;
    }
    assert!(
        there == page,
        "docs/API.md is old; write its tables with: BLESS=1 cargo test --lib api::tests::page"
    );
}

/// What the table says a route takes is what it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_takes_the_methods_that_its_page_names() {
    let node = Node::start().await;
    for route in routes() {
        let path = route.path.replace(['{', '}'], "");
        let answer = node.call("TRACE", &path, &[], Body::empty()).await.expect(405);
        let taken = answer.headers["allow"].to_str().unwrap().split(',').map(str::trim);
        let taken: BTreeSet<&str> = taken.filter(|method| *method != "HEAD").collect();
        let named: BTreeSet<&str> = route.about.iter().map(|(method, _)| *method).collect();
        assert_eq!(taken, named, "{}", route.path);
    }
    node.stop().await;
}
