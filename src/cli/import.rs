//! `campanile import`: a file or stdin, streamed to a node; counts and faults come back.

use super::arguments::Import;
use super::failure::Failure;
use super::nodes;
use super::output::{self, BAD, DIM, GOOD, count, plain};
use crate::net::client::streamed_body;
use bytes::Bytes;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// Read from the file at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks on their way; the reader waits beyond.
const CHUNKS_MAX: usize = 16;
/// An import takes this long at most; half a million lines take about a minute.
const DEADLINE: Duration = Duration::from_secs(3600);

pub async fn run(options: &Import, as_json: bool) -> Result<(), Failure> {
    let url = options.target.url.first().map_or("", String::as_str);
    let client = nodes::client(url, &options.target)?.with_deadline(DEADLINE);
    let (source, size) = open(&options.file)?;
    let bar = progress(size, as_json);
    let (chunks, body) = mpsc::channel(CHUNKS_MAX);
    let reading = {
        let bar = bar.clone();
        tokio::task::spawn_blocking(move || read(source, &chunks, &bar))
    };
    let headers = [("content-type", "application/x-ndjson")];
    let request = client.request(Method::POST, "/v1/import", &headers, streamed_body(body))?;
    let answer = client.send(request).await;
    bar.finish_and_clear();
    let answer = answer?;
    if !answer.is_success() {
        return Err(
            Failure::problem(answer.status, &answer.body).hint("run it again: importing twice changes nothing twice")
        );
    }
    // A node that answers early (a refusal) does not wait for the rest of the file; a good answer has read all of it.
    let read = reading
        .await
        .map_err(|error| Failure::failed(format!("the reader ended: {error}")))?;
    read.map_err(|error| Failure::failed(format!("{} cannot be read: {error}", options.file.display())))?;
    let report: Value = answer
        .json()
        .map_err(|error| Failure::failed(format!("the node's answer is not JSON: {error}")))?;
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or_default();
    if as_json {
        output::say(&report.to_string())?;
    } else {
        for line in lines(&report, options.faults_max) {
            output::say(&line)?;
        }
    }
    match number("faults_total") {
        0 => Ok(()),
        faults => Err(Failure::failed(format!(
            "{} {}; {} lines were not applied",
            count(faults),
            if faults == 1 { "fault" } else { "faults" },
            count(number("not_applied"))
        ))
        .hint("correct the lines and run it again: importing twice changes nothing twice")),
    }
}

fn open(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let unreadable = |error| Failure::usage(format!("{} cannot be read: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    Ok((Box::new(file), Some(size)))
}

fn progress(size: Option<u64>, as_json: bool) -> ProgressBar {
    if as_json {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (
            ProgressBar::new(size),
            "importing [{bar:40.cyan/dim}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "importing {spinner} {bytes}, {bytes_per_sec}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn read(mut source: Box<dyn Read + Send>, chunks: &mpsc::Sender<Bytes>, bar: &ProgressBar) -> std::io::Result<()> {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = source.read(&mut chunk)?;
        chunk.truncate(count);
        // The request has ended: its answer says why.
        if count == 0 || chunks.blocking_send(chunk.into()).is_err() {
            return Ok(());
        }
        bar.inc(count as u64);
    }
}

fn lines(report: &Value, faults_max: usize) -> Vec<String> {
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut lines = vec![format!(
        "{GOOD}imported{GOOD:#} {} of {} lines: {} created, {} replaced or unchanged",
        count(number(report, "applied")),
        count(number(report, "lines")),
        count(number(report, "created")),
        count(number(report, "replaced"))
    )];
    let kinds = report.get("kinds").and_then(Value::as_object).into_iter().flatten();
    let kinds: Vec<String> = kinds
        .filter_map(|(kind, lines)| lines.as_u64().filter(|lines| *lines > 0).map(|lines| (kind, lines)))
        .map(|(kind, lines)| format!("{kind} {}", count(lines)))
        .collect();
    if !kinds.is_empty() {
        lines.push(format!("{DIM}{}{DIM:#}", kinds.join(", ")));
    }
    let faults = report.get("faults").and_then(Value::as_array);
    let faults = faults.map_or(&[][..], Vec::as_slice);
    for fault in faults.iter().take(faults_max) {
        let text = |name: &str| plain(fault.get(name).and_then(Value::as_str).unwrap_or_default());
        let pointer = match text("pointer") {
            pointer if pointer.is_empty() => String::new(),
            pointer => format!("{pointer}: "),
        };
        lines.push(format!(
            "{BAD}line {}{BAD:#}: {pointer}{} ({})",
            count(number(fault, "line")),
            text("detail"),
            text("code")
        ));
    }
    let more = number(report, "faults_total").saturating_sub(faults.len().min(faults_max) as u64);
    if more > 0 {
        lines.push(format!("{DIM}and {} more faults{DIM:#}", count(more)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::lines;
    use serde_json::json;

    #[test]
    fn counts_and_faults_are_told_by_line() {
        let report = json!({"lines": 1200, "applied": 1000, "created": 990, "replaced": 10, "not_applied": 200,
            "kinds": {"user": 1000, "venue": 0}, "faults_total": 3, "faults": [
                {"line": 1003, "pointer": "/role", "code": "MISSING", "detail": "a member has a role"},
                {"line": 1004, "pointer": "", "code": "MALFORMED", "detail": "not JSON"}]});
        let told: Vec<String> = lines(&report, 1)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert_eq!(
            told,
            [
                "imported 1,000 of 1,200 lines: 990 created, 10 replaced or unchanged",
                "user 1,000",
                "line 1,003: /role: a member has a role (MISSING)",
                "and 2 more faults",
            ]
        );
    }
}
